"""How a producer sees a queue, whichever library it is of."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.notes import FOLDER, SCENARIO

__all__ = (
    "BUSY",
    "DISK",
    "NOBODY",
    "SLOTS",
    "TEXT",
    "BlockingLine",
    "Job",
    "Library",
    "Line",
    "is_slow",
    "redis_url",
)

Job = tuple[int, float, int, str]
"""Arguments of a job: its row, seconds to sleep, hashes to make, and a text."""

BUSY: Final = "busy"
"""The queue that the worker takes from."""
NOBODY: Final = "nobody"
"""A queue from which nothing is taken, to measure the sending alone."""
DISK: Final = "disk"
"""In the round's folder, leads to one that is on a disk."""
TEXT: Final = "x" * 96
"""With it the arguments of a job have some 128 bytes."""
SLOTS: Final = 8
"""How many slow jobs run at a time."""


@dataclass(frozen=True, slots=True)
class Line:
    """A queue of an asyncio library.

    Attributes:
        put: Sends one job.
        put_many: Sends many in one call, where the library has such a call.
        is_gathered: Whether many at once are faster than one after the other.
    """

    put: Callable[[Job], Awaitable[object]]
    put_many: Callable[[Sequence[Job]], Awaitable[object]] | None = None
    is_gathered: bool = True


@dataclass(frozen=True, slots=True)
class BlockingLine:
    """A queue of a library whose calls block; the attributes are those of a line."""

    put: Callable[[Job], object]
    put_many: Callable[[Sequence[Job]], object] | None = None


class Library(Protocol):
    """A module of this package."""

    def line(self, queue: str, /) -> AbstractAsyncContextManager[Line | BlockingLine]:
        """Open a queue."""


def redis_url() -> str:
    """Return where the Redis server of this round is."""
    return f"unix://{Path(os.environ[FOLDER], 'redis')}"


def is_slow() -> bool:
    """Tell whether the jobs of this round are slow ones, which want other settings."""
    return os.environ[SCENARIO] == "slow"
