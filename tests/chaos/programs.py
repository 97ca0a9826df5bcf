"""Runs the programs of this package for the tests: in processes of their own.

So each may mount in a namespace of its own, and whatever happens to a test, nothing of
the program is left.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

__all__ = ("SKIPPED", "Ended", "run_program")

SKIPPED: Final = 77
"""Exit status of a program that cannot run here; it has printed why."""

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended."""

    status: int
    output: str
    errors: str

    @property
    def outcome(self) -> Mapping[str, object]:
        """What it told; skips the test if it could not run."""
        if self.status == SKIPPED:
            pytest.skip(self.errors.strip())
        assert self.output.startswith("{"), self.errors[-5000:]
        told: Mapping[str, object] = json.loads(self.output)
        return told

    @property
    def breaches(self) -> Mapping[str, int]:
        """What the checker found."""
        found = self.outcome["breaches"]
        assert isinstance(found, dict)
        return found

    def assert_good(self) -> Mapping[str, object]:
        """See that nothing was wrong; return what it told."""
        assert not self.outcome["problems"], f"{self.output}\n{self.errors[-3000:]}"
        assert self.status == 0
        return self.outcome


def run_program(module: str, *words: object) -> Ended:
    """Run ``python -m MODULE WORDS``; end it and all its processes if interrupted."""
    # It is not the coverage of pymule that these runs are for, and it slows them down.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    with subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
        [sys.executable, "-m", module, *map(str, words)],
        cwd=_ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            # Not later: its number would be anybody's. The mules end with their master.
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Ended(process.returncode, output, errors)
