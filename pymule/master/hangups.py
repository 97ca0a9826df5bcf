"""Tells of peers that are gone although nothing is read from them.

A loop sees the end of a stream by reading it. Who is not read from, because it has more
in transit than there is room for, would so keep its place and its memory when it is
dead. The kernel tells of the end alone to those who ask for nothing else; an epoll that
has only such questions becomes readable with an answer.
"""

import asyncio
import contextlib
import select
from collections.abc import Callable

__all__ = ("Hangups",)


class Hangups:
    """Sockets of which nothing but the end matters; none of it when there are none.

    Args:
        loop: asyncio's or uvloop's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._on_hangup: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, on_hangup: Callable[[], None]) -> None:
        """Call *on_hangup* when the peer of the socket *fd* has gone; once."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._heard)
        if fd not in self._on_hangup:
            self._epoll.register(fd, select.EPOLLRDHUP)
        self._on_hangup[fd] = on_hangup

    def forget(self, fd: int) -> None:
        """*fd* is read from again, or is about to be closed; may be unknown."""
        if self._on_hangup.pop(fd, None) is None or self._epoll is None:
            return
        # It leaves by itself when it is closed.
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
        if not self._on_hangup:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _heard(self) -> None:
        if self._epoll is None:
            return
        for fd, _ in self._epoll.poll(0):
            on_hangup = self._on_hangup[fd]
            self.forget(fd)
            on_hangup()
