"""What is known of each job of a round, in memory that all of its processes share.

Light, as the notes are: every worker imports it. A job has a row, by its number; nobody
makes a system call to fill it in, and no two jobs write to the same place.
"""

# memoryview takes no argument when the program runs, only for the type checker.
from __future__ import annotations

import mmap
import os
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Final

from benchmarks.notes import COUNT, FOLDER

__all__ = ("WARM_UP_JOBS", "Sheet", "sheet")

WARM_UP_JOBS: Final = 50
"""The first rows are for jobs that are not measured."""
_DOUBLE_BYTES: Final = 8
_COLUMNS: Final = 4


class Sheet:
    """A table in a file of the round's folder; 0 is what is not known yet.

    Args:
        folder: Of the round; whoever is first makes the file.
        count: Jobs that are measured.

    Attributes:
        size: Rows, those of the warm-up included.
        planned: When each job was to be sent.
        began: When its first line ran.
        ended: When it was done.
        worker: The pid of the process that ran it.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.size = WARM_UP_JOBS + count
        fd = os.open(folder / "sheet", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, _COLUMNS * self.size * _DOUBLE_BYTES)
        cells = memoryview(mmap.mmap(fd, 0)).cast("d")
        os.close(fd)
        self.planned, self.began, self.ended, self.worker = (
            cells[at * self.size : (at + 1) * self.size] for at in range(_COLUMNS)
        )
        self._done = 0

    def done_before(self, end: int) -> int:
        """Return the first row whose job is not done, or *end* if that comes first.

        Rows that were done are not looked at again.
        """
        while self._done < end and self.ended[self._done]:
            self._done += 1
        return self._done

    def count_done(self) -> int:
        """Return how many measured jobs are done, wherever they are."""
        return sum(map(bool, self.ended[WARM_UP_JOBS:]))

    def measured(self, column: memoryview[float]) -> list[float]:
        """Return a column without the rows of the warm-up."""
        return list(column[WARM_UP_JOBS:])

    def plan(self, first: int, at: float, count: int = 1) -> None:
        """Note that so many jobs from *first* on are to be sent at that instant."""
        for row, instant in enumerate(repeat(at, count), start=first):
            self.planned[row] = instant


@cache
def sheet() -> Sheet:
    """Return the sheet of the round that this process is part of."""
    return Sheet(Path(os.environ[FOLDER]), int(os.environ[COUNT]))
