"""How the files of a journal grow and shrink, while its thread has time or must.

What is committed grows the WAL. A checkpoint brings it into the database, for two
fsyncs, and lets the WAL begin anew; it is due when nothing is queued for a moment, and
when the WAL is big. What was deleted leaves free pages, which are given back in small
steps, each of which takes little of the WAL: else a disk that is full could not be
emptied.
"""

import os
import sqlite3
from typing import Final

from pymule.master.journal_file import WAL_NAME, JournalFile, is_full
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_space import RESERVE_BYTES
from pymule.master.journal_turn import Statement

__all__ = ("PAGES_BYTES", "Pages")

PAGES_BYTES: Final = 3 * 4096
"""What a transaction costs in the WAL beside its payload, roughly."""

_CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
# So many small ones, each with its fsync, fill 3 MiB: a WAL that stays below the size
# at which it is cut is written in place, in two thirds of the time of one that grows.
_SYNCED_COMMITS: Final = 400
_BIG_WAL_BYTES: Final = 64 * 1024 * 1024
_STEP_PAGES: Final = 256
# Of so many free pages, and of a file with few others, nothing is given back.
_FREE_PAGES: Final = 256
_FREE_SHARE: Final = 0.25
# A megabyte each; about what a checkpoint has written already.
_STEPS: Final = 16


class Pages:
    """Writes to the two files of *lock*'s directory, and looks after their sizes."""

    def __init__(self, file: JournalFile, lock: JournalLock) -> None:
        self.commits = 0
        # Sizes of the files, as of the last look.
        self.bytes = 0
        self.wal_bytes = 0
        # Bytes in the WAL that are not in the database, about, and how many of the
        # transactions there were synced.
        self.grown = 1
        self._synced = 0
        self._file = file
        self._lock = lock
        self._free_pages = 0
        self._paths = (str(file.path), str(lock.path / WAL_NAME))
        self._inodes = self._look()

    @property
    def is_untidy(self) -> bool:
        """Whether there is something to do when nothing is queued."""
        return bool(self.grown) or self.has_free

    @property
    def has_free(self) -> bool:
        """Whether so much of the file is free that it is given back."""
        return self._free_pages > _FREE_PAGES

    def commit(
        self, statements: list[Statement], size: int, *, is_synced: bool
    ) -> bool:
        """Do *statements* in one transaction; tell whether there was room.

        Args:
            statements: With records of *size* bytes.
            size: Roughly.
            is_synced: Return when the disk has it.
        """
        if self._try(statements, is_synced=is_synced):
            self.grown += size + PAGES_BYTES
            return True
        # After a checkpoint the WAL begins anew, in the room that it has already.
        self.checkpoint()
        if self._try(statements, is_synced=is_synced):
            self.grown += size + PAGES_BYTES
            return True
        return False

    def _try(self, statements: list[Statement], *, is_synced: bool) -> bool:
        try:
            self._file.run(statements, is_synced=is_synced)
        except sqlite3.Error as exc:
            self._bear(exc)
            return False
        self.commits += 1
        self._synced += is_synced
        return True

    def _bear(self, error: sqlite3.Error) -> None:
        if not is_full(error, self._lock.path):
            raise error

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """Bring the WAL into the database, if there is room for it."""
        if self._wal_size() > _BIG_WAL_BYTES:
            mode = "TRUNCATE"
        try:
            self._file.checkpoint(mode)
            self.grown = self._synced = 0
        except sqlite3.Error as exc:
            self._bear(exc)
        self._free_pages = self._file.free_pages()

    def checkpoint_if_big(self) -> None:
        """Do it if it cannot wait until nothing is queued."""
        if self.grown > _CHECKPOINT_BYTES:
            self.checkpoint()
            self.shrink()
        elif self._synced >= _SYNCED_COMMITS:
            self.checkpoint()

    def tidy(self) -> None:
        """Do one thing that could wait until nothing is queued."""
        if self._free_pages > _FREE_PAGES:
            self._give_back()
        elif self.grown:
            is_big = self._wal_size() > RESERVE_BYTES
            self.checkpoint("TRUNCATE" if is_big else "PASSIVE")

    def shrink(self) -> None:
        """Give back some of what is free, if that is much of the file."""
        pages = self._file.path.stat().st_size // 4096
        for _ in range(_STEPS):
            if self._free_pages < max(_FREE_PAGES, _FREE_SHARE * pages):
                break
            self._give_back()

    def make_room(self) -> None:
        """Give back all that the files have and do not need."""
        while self._give_back():
            pass
        # Less is left in place: others would take it, and we could not write acks.
        is_enough = self._wal_size() >= RESERVE_BYTES
        self.checkpoint("TRUNCATE" if is_enough else "PASSIVE")

    def _give_back(self) -> bool:
        """Give back some free pages; tell whether that was possible."""
        before = self._file.free_pages()
        if before:
            try:
                self._file.vacuum(_STEP_PAGES)
            except sqlite3.Error as exc:
                self._bear(exc)
            self.grown += PAGES_BYTES
        self._free_pages = self._file.free_pages()
        return self._free_pages < before

    def check(self) -> None:
        """See whether the files are still those that were opened.

        Raises:
            OSError: They were removed or replaced.
        """
        if self._look() != self._inodes:
            raise OSError("its files were replaced while it was in use")

    def _look(self) -> list[tuple[int, int]]:
        infos = [os.stat(path) for path in self._paths]  # noqa: PTH116  (at each commit; a Path takes longer than the call)
        self.bytes, self.wal_bytes = (info.st_size for info in infos)
        return [(info.st_dev, info.st_ino) for info in infos]

    def _wal_size(self) -> int:
        return (self._lock.path / WAL_NAME).stat().st_size
