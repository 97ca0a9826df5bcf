"""pymule, with queues in memory, in a journal, and in one that is synced."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.pymule import running_daemon
from benchmarks.stage import Stage

__all__ = (
    "DISK",
    "MEMORY",
    "PROCESS",
    "VARIANTS",
    "Durable",
    "configuration",
    "versions",
)

_PROGRAMS: Final = "benchmarks.programs.pymule_mule"


@dataclass(frozen=True, slots=True)
class Durable:
    """One durability, of all queues.

    Attributes:
        durability: As in the configuration.
    """

    NAME: str
    durability: str

    @contextmanager
    def start(self, stage: Stage, scenario: str) -> Iterator[int | None]:
        """Start everything; the mule does the same in each scenario."""
        path = configuration(stage, self.durability, "count")
        with running_daemon(stage, "-c", str(path)) as pid:
            stage.start_python("benchmarks.programs.pymule_sender", scenario)
            yield pid


MEMORY: Final = Durable("pymule, memory", "memory")
PROCESS: Final = Durable("pymule, process", "process")
DISK: Final = Durable("pymule, disk", "disk")
VARIANTS: Final = (MEMORY, PROCESS, DISK)


def configuration(stage: Stage, durability: str, program: str, **keys: int) -> Path:
    """Write a file for one mule that runs *program*; return its path.

    Args:
        stage: Where.
        durability: Of the queues.
        program: A name in a module of ours.
        keys: More keys of the queue that all mules share.
    """
    state = f"state_dir = {json.dumps(str(stage.state))}\n"
    bounds = "".join(f"{key} = {value}\n" for key, value in keys.items())
    path = stage.folder / f"{program}.toml"
    path.write_text(
        f"socket = {json.dumps(str(stage.socket))}\n"
        f"{state if durability != 'memory' else ''}"
        f'[shared]\ndurability = "{durability}"\n{bounds}'
        f'[[mule]]\nprogram = "{_PROGRAMS}:{program}"\ndurability = "{durability}"\n'
    )
    return path


def versions() -> dict[str, str]:
    """Return the version of what the journal is made of."""
    return {"SQLite": sqlite3.sqlite_version}
