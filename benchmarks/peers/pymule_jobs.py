"""pymule as a job library: a farm of mules, and one whose queue is paused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.libraries.lines import BUSY, NOBODY, SLOTS
from benchmarks.peers.producers import start_producer
from benchmarks.peers.pymule import running_daemon
from benchmarks.stage import PeerError, Stage

__all__ = ("FUNCTIONS", "MEMORY", "VARIANTS", "PymuleJobs")


@dataclass(frozen=True, slots=True)
class PymuleJobs:
    """One way to use it; the attributes are those of a job library.

    Attributes:
        durability: Of the farms' queues.
    """

    NAME: str
    module: str
    durability: str
    survives: str
    settings: str = "1 mule, one job at a time"

    @contextmanager
    def start(self, stage: Stage, scenario: str) -> Iterator[int | None]:
        """Start the daemon; yield its pid."""
        count = SLOTS if scenario == "slow" else 1
        path = stage.folder / "pymule.toml"
        path.write_text(self._configuration(stage, count))
        with running_daemon(stage, "-c", str(path)) as pid:
            _pause(stage)
            for mule in range(1, count + 1):
                stage.wait(f"up-{mule}")
            start_producer(stage, scenario, self)
            yield pid

    def python(self) -> tuple[str, ...]:
        """Return the words that start a Python which has it."""
        return (sys.executable,)

    def _configuration(self, stage: Stage, count: int) -> str:
        is_durable = self.durability != "memory"
        lines = [f"socket = {json.dumps(str(stage.socket))}"]
        lines += [f"state_dir = {json.dumps(str(stage.state))}"] * is_durable
        program = f"benchmarks.libraries.{self.module}:main"
        lines += ["[[mule]]", f'program = "{program}"', f"count = {count}"]
        for farm in (BUSY, NOBODY):
            mules = list(range(1, count + 1))
            lines += ["[[farm]]", f'name = "{farm}"', f"mules = {mules}"]
            lines += [f'durability = "{self.durability}"']
        return "\n".join(lines)


MEMORY: Final = PymuleJobs(
    "pymule", "pymule_messages", "memory", "a worker's death; not the daemon's"
)
FUNCTIONS: Final = PymuleJobs(
    "pymule @mulefunc",
    "pymule_functions",
    "memory",
    "a worker's death; not the daemon's",
    "1 mule, 8 calls at a time",
)
VARIANTS: Final = (
    MEMORY,
    PymuleJobs("pymule, process", "pymule_messages", "process", "kill -9 of all"),
    PymuleJobs("pymule, disk", "pymule_messages", "disk", "a power cut"),
    FUNCTIONS,
)


def _pause(stage: Stage) -> None:
    words = ("pause", f"farm:{NOBODY}", "--socket", str(stage.socket))
    done = subprocess.run(  # noqa: S603  (our own words, no shell)
        (sys.executable, "-m", "pymule.cli.pymule", *words),
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise PeerError(f"pymule pause: {done.stderr.strip()}")
