"""Room on the disk: a file to give up when there is none, to make again later."""

import contextlib
import os
from typing import Final

from pymule.master.journal_lock import JournalLock

__all__ = ("RESERVE_BYTES", "RESERVE_NAME", "Space")

RESERVE_NAME: Final = "journal.reserve"
RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Enough for some hundred turns of acks; all that are queued are one turn."""

_AMPLE_BYTES: Final = 512 * 1024 * 1024


class Space:
    """The reserve of a state directory.

    Args:
        lock: Of the directory.
    """

    def __init__(self, lock: JournalLock) -> None:
        self._lock = lock
        self.has_reserve = False
        # Whether there was more room than a second of writing takes, when last looked.
        self.is_ample = False
        self.make_reserve()
        self.look()

    def make_reserve(self) -> bool:
        """Make the reserve if it is not there; tell whether it is there now."""
        if not self.has_reserve:
            try:
                self.has_reserve = self._make()
            except OSError:
                self.give_up()
        return self.has_reserve

    def _make(self) -> bool:
        is_there = self._lock.has(RESERVE_NAME)
        path = self._lock.path / RESERVE_NAME
        fd = os.open(path, os.O_RDWR) if is_there else self._lock.create(RESERVE_NAME)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        finally:
            os.close(fd)
        return True

    def give_up(self) -> None:
        """Remove the reserve."""
        with contextlib.suppress(OSError):
            self._lock.remove(RESERVE_NAME)
        self.has_reserve = False

    def has_room(self, size: int) -> bool:
        """Tell whether *size* bytes fit, and the reserve besides."""
        return self.make_reserve() and self.look() >= size

    def look(self) -> int:
        """Return how many bytes are free for this user."""
        info = os.statvfs(self._lock.path)
        blocks = info.f_bavail if os.geteuid() else info.f_bfree
        free = blocks * info.f_frsize
        self.is_ample = free > _AMPLE_BYTES
        return free
