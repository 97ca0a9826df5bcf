"""Who sends to whom where there is more than one of them, and how much came to each.

Light, as the notes are: programs of every peer import it, uWSGI's mules too.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ("Shape", "Tally")

_WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """So many processes of each kind; a scenario in text is the three numbers.

    Attributes:
        farms: All mules are in a single one; of many, each has two neighbours, and
            their messages are sent in turn. Without any, all messages are mule 1's.
    """

    senders: int
    mules: int
    farms: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str()`` made."""
        return cls(*map(int, text.split()))

    def __str__(self) -> str:
        return f"{self.senders} {self.mules} {self.farms}"

    def members(self, farm: int) -> list[int]:
        """Return the mules of a farm; both are counted from 0."""
        if self.farms == 1:
            return list(range(self.mules))
        return sorted({farm % self.mules, (farm + 1) % self.mules})

    def share(self, count: int, sender: int) -> int:
        """Return how many of *count* messages a sender has, counted from 0."""
        return len(range(sender, count, self.senders))


class Tally:
    """The bytes that each mule has had, in memory that all processes of a round see."""

    def __init__(self, folder: Path, mules: int) -> None:
        # Whoever is first makes the file.
        fd = os.open(folder / "tally", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, mules * _WORD_BYTES)
        self.sizes = memoryview(mmap.mmap(fd, 0)).cast("Q")
        os.close(fd)

    def total(self) -> int:
        """Return the bytes that came to all of them until now."""
        return sum(self.sizes)
