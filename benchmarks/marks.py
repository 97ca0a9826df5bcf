"""Instants that one process of a round notes and another one sees, without a wait.

Light, as the notes are, and for the same reason. A signal carries nothing, so this is
how who raised it learns when its handler ran.
"""

import mmap
import os
from pathlib import Path
from typing import Final

from benchmarks.notes import COUNT, FOLDER

__all__ = ("WARM_UP_TURNS", "Marks")

WARM_UP_TURNS: Final = 200
_DOUBLE_BYTES: Final = 8


class Marks:
    """An array of instants in a file of the round's folder, 0 for those to come.

    Attributes:
        size: Turns to play, those that are not measured included.
    """

    def __init__(self) -> None:
        self.size = WARM_UP_TURNS + int(os.environ[COUNT])
        # Whoever is first makes the file.
        fd = os.open(Path(os.environ[FOLDER], "marks"), os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, self.size * _DOUBLE_BYTES)
        self._instants = memoryview(mmap.mmap(fd, 0)).cast("d")
        os.close(fd)
        self._next = 0

    def __getitem__(self, turn: int) -> float:
        return self._instants[turn]

    def add(self, at: float) -> None:
        """Note the next one."""
        self._instants[self._next] = at
        self._next += 1
