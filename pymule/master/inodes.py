"""Hear when a file loses its name: inotify(7) on the file itself, not its directory.

So nothing is heard of the neighbours, and nothing wakes the master in vain. Not by
:mod:`pymule.master.filemon`, which costs a thread.
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from typing import Final, Self

__all__ = ("NameWatch",)

_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
# IN_ATTRIB: the count of links changes, too, when one of a file in use is removed.
_ATTRIB_OR_MOVE_SELF: Final = 0x004 | 0x800
# More than the events of one file that fit into one another.
_EVENTS_BYTES: Final = 4096


class NameWatch:
    """A watch of one file, until :meth:`close`.

    Args:
        fd: An inotify descriptor.
        loop: asyncio's or uvloop's.
        on_touched: Called when the file was renamed or removed, or its mode, owner or
            times were changed. It may close the watch.
    """

    def __init__(
        self, fd: int, loop: asyncio.AbstractEventLoop, on_touched: Callable[[], object]
    ) -> None:
        self._fd = fd
        self._loop = loop
        self._on_touched = on_touched
        self._is_open = True
        loop.add_reader(fd, self._touched)

    @classmethod
    def of(
        cls,
        path: str,
        loop: asyncio.AbstractEventLoop,
        on_touched: Callable[[], object],
    ) -> Self:
        """Watch what is at *path* now.

        Raises:
            OSError: There is nothing, or the kernel has no watch left.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        fd = _checked(libc.inotify_init1(_NONBLOCK_CLOEXEC))
        try:
            name = os.fsencode(path)
            _checked(libc.inotify_add_watch(fd, name, _ATTRIB_OR_MOVE_SELF))
        except OSError:
            os.close(fd)
            raise
        return cls(fd, loop, on_touched)

    def close(self) -> None:
        """Hear no more; a second call is fine."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)

    def _touched(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _EVENTS_BYTES)
        self._on_touched()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
