"""How many instructions a message takes, counted by valgrind's callgrind.

Times differ from run to run by more than a regression that matters; counts by a
thousandth. A count depends on the build of Python, so it is divided by that of a course
of ordinary Python, which was counted in the same process.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.debian import install
from benchmarks.programs.guarded import COURSES, REFERENCE, UNIT

__all__ = (
    "PATHS",
    "Counts",
    "CountsError",
    "count",
    "import_over_asyncio",
    "planted",
    "why_no_counts",
)

PATHS: Final = tuple(name for name in COURSES if name not in {REFERENCE, UNIT})
"""The courses that are ours."""

Counts = Mapping[str, float]
"""By course: instructions a message."""


class CountsError(Exception):
    """valgrind did not do its part on this machine; the message says what it said."""


_ROOT: Final = Path(__file__).parent.parent
_PROGRAM: Final = "benchmarks.programs.guarded"
_IMPORT_PROGRAM: Final = "benchmarks.programs.guarded_import"
# Counts that end when a course is over: of what was before it, of its warm-up, of its
# passes and of three times as many.
_COUNTS_OF_ONE: Final = 4
_SUMMARY: Final = re.compile(r"^summary: (\d+)$", re.MULTILINE)


def why_no_counts() -> str | None:
    """Return why nothing can be counted here, or ``None``; installs valgrind."""
    if shutil.which("valgrind") is None and (reason := install("valgrind")) is not None:
        return f"there is no valgrind, and {reason}"
    return None


def count(
    courses: Sequence[str] = tuple(COURSES), planted: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Count the instructions of a message in each of *courses*.

    Args:
        courses: Their names.
        planted: By course: units of work to add to each message.

    Raises:
        CountsError: valgrind does not work here.
    """
    units = planted or {}
    words = [f"{name}:{units.get(name, 0)}" for name in courses]
    with tempfile.TemporaryDirectory(prefix="guard-") as folder:
        _run(Path(folder), _PROGRAM, words)
        numbers = range(1, 1 + _COUNTS_OF_ONE * len(words))
        parts = [_summary(Path(folder), number) for number in numbers]
    found = {}
    for number, name in enumerate(courses):
        _, _, less, more = parts[number * _COUNTS_OF_ONE :][:_COUNTS_OF_ONE]
        course = COURSES[name]
        found[name] = (more - less) / (2 * course.passes * course.messages)
    return found


def import_over_asyncio(*words: str) -> float:
    """Return what ``import pymule`` takes in addition to ``import asyncio``, over that.

    With the names that are used first.

    Raises:
        CountsError: valgrind does not work here.
    """
    with tempfile.TemporaryDirectory(prefix="guard-") as folder:
        # Compiled before, wherever compiled modules may not be written.
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", _IMPORT_PROGRAM, *words]
        subprocess.run(command, cwd=_ROOT, env=environ, check=True)  # noqa: S603
        _run(Path(folder), _IMPORT_PROGRAM, words, environ)
        _, asyncio, ours = (_summary(Path(folder), number) for number in (1, 2, 3))
    return ours / asyncio


def planted(counts: Counts, percent: float) -> dict[str, int]:
    """Return by path how many units of work are so many *percent* of its count."""
    return {
        name: max(1, round(counts[name] * percent / 100 / counts[UNIT]))
        for name in PATHS
        if name in counts
    }


def _run(
    folder: Path,
    program: str,
    words: Sequence[str],
    environ: Mapping[str, str] = os.environ,
) -> None:
    valgrind = (
        "valgrind",
        "--tool=callgrind",
        # A count ends, and another begins, at each call of it.
        "--dump-before=getppid",
        f"--callgrind-out-file={folder}/out",
    )
    done = subprocess.run(  # noqa: S603  (our own words, no shell)
        [*valgrind, sys.executable, "-m", program, *words],
        cwd=_ROOT,
        # The hashes of texts decide how often a dict looks twice.
        env={**environ, "PYTHONHASHSEED": "0"},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CountsError(f"valgrind: exit {done.returncode}: {done.stderr[-500:]}")


def _summary(folder: Path, number: int) -> int:
    path = folder / f"out.{number}"
    found = _SUMMARY.search(path.read_text()) if path.exists() else None
    if found is None:
        raise CountsError(f"valgrind: no count number {number}")
    return int(found[1])
