"""A conversation with the master over a socket that never blocks, without a loop.

It has no lock of its own: every call but :meth:`Wire.wait` is made under the lock of
its client. One thread at a time is in :meth:`Wire.wait`; if the wire is closed then,
that thread closes the descriptors, because a number that is given back while somebody
waits for it might be another's.
"""

import math
import os
import select
import socket
import threading
from typing import Final

from pymule.client.reach import SocketPath, connect
from pymule.errors import ConnectionLostError
from pymule.sansio.session import Role, Session, SessionState
from pymule.sansio.verbs import Hello, Verb

__all__ = ("Wire",)

# Not more: a greater buffer is asked of the kernel, and given back, for each read; that
# is three calls beside the one that reads.
_READ_BYTES: Final = 64 * 1024


class Wire:
    """One connection, from its HELLO on.

    Args:
        path: Of the master's socket.
        hello: What is said first.

    Raises:
        BlockingIOError: The master's backlog is full.
        MasterUnavailableError: Nobody listens there, or somebody else does.
    """

    def __init__(self, path: SocketPath, hello: Hello) -> None:
        self.session = Session(Role.CLIENT, Role.MASTER)
        self._socket = connect(path)
        # What the kernel did not take yet.
        self._out = bytearray(self.session.pack(hello))
        # When WELCOME came.
        self.greeted_at = math.inf
        try:
            self._nudges = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:
            self._socket.close()
            raise
        self._is_awaited = False
        self._is_closed = False

    @property
    def is_open(self) -> bool:
        """Whether WELCOME came and nothing ended the conversation."""
        return self.session.state is SessionState.OPEN

    @property
    def has_unsent(self) -> bool:
        """Whether the kernel has to take more before all is sent."""
        return bool(self._out)

    def send(self, data: bytes) -> None:
        """Send whole frames, as far as the kernel takes them now.

        Raises:
            OSError: The connection is broken.
        """
        self._out += data
        self.transmit()

    def transmit(self) -> None:
        """Send of the rest what the kernel takes now.

        Raises:
            OSError: The connection is broken.
        """
        while self._out:
            try:
                sent = self._socket.send(self._out)
            except BlockingIOError:
                return
            del self._out[:sent]

    def receive(self) -> list[Verb]:
        """Return what has come, without waiting.

        Raises:
            ConnectionLostError: Nothing more will come.
            OSError: The connection is broken.
            RemoteProtocolError: The master broke a rule.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            self.session.receive_eof()
            raise ConnectionLostError("the master closed the connection")
        return self.session.receive_data(data)

    def wait(self, lock: threading.Lock, timeout: float | None) -> None:
        """Wait, without the *lock*, until something can be received or sent.

        Returns early when another thread closes the connection or calls :meth:`nudge`.

        Args:
            lock: The client's.
            timeout: In seconds.
        """
        with lock:
            if self._is_closed:
                return
            self._is_awaited = True
            poll = select.poll()
            poll.register(self._nudges, select.POLLIN)
            poll.register(
                self._socket, select.POLLIN | (select.POLLOUT if self._out else 0)
            )
        is_nudged = False
        try:
            ready = poll.poll(None if timeout is None else timeout * 1000)
            is_nudged = any(fd == self._nudges for fd, _ in ready)
        finally:
            with lock:
                self._is_awaited = False
                if is_nudged:
                    os.eventfd_read(self._nudges)
                self._close_if_unused()

    def nudge(self) -> None:
        """Let who waits look again: there is more to send."""
        if not self._is_closed:
            os.eventfd_write(self._nudges, 1)

    def close(self, reason: str | None = None) -> None:
        """End the conversation; tell the master the *reason* if there is one."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if reason is not None and not self._out:
                self._socket.send(self.session.farewell(reason))
            # Wakes those who wait; closing alone would not.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The master is gone already.
            pass
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_closed and not self._is_awaited:
            self._let_go()

    def _let_go(self) -> None:
        if self._nudges >= 0:
            os.close(self._nudges)
            self._nudges = -1
        self._socket.close()

    def leave_to_parent(self) -> None:
        """Close only this process's copy: the conversation is the parent's."""
        self._is_closed = True
        self._let_go()
