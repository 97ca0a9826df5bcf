"""Where clients come in: the socket, who accepts from it, and a watch of its name.

When the file of the socket is removed or renamed, nobody can find the master any more,
though it serves those who are there. Then the socket is made anew, with its lock, and
with the directory if that is gone as well. What fails there is tried again at a reload.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

from pymule.errors import SocketInUseError, SocketSetupError
from pymule.master.inodes import NameWatch
from pymule.master.listener import Acceptor, Credentials, SocketClaim
from pymule.master.logs import log

__all__ = ("Reception",)

_LOGGER: Final = logging.getLogger("pymule.master")


class Reception:
    """Accepts clients from the socket of *claim*, wherever that has gone.

    Args:
        loop: asyncio's or uvloop's.
        claim: Closed by :meth:`close`.
        on_accept: Owns the socket it gets, which is non-blocking; returns whether it
            lets the newcomer in.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        claim: SocketClaim,
        on_accept: Callable[[socket.socket, Credentials], bool],
    ) -> None:
        self._loop = loop
        self._claim = claim
        self._on_accept = on_accept
        self._acceptor: Acceptor | None = None
        self._watch: NameWatch | None = None
        self._is_open = False

    @property
    def path(self) -> str:
        """Where clients find the master."""
        return self._claim.path

    def open(self) -> None:
        """Accept from now on."""
        self._is_open = True
        self._acceptor = Acceptor(self._loop, self._claim.socket, self._on_accept)
        # Without a watch a reload looks.
        with contextlib.suppress(OSError):
            self._watch = NameWatch.of(self.path, self._loop, self.look)

    def look(self) -> None:
        """See whether the socket can be found, and make it anew if not."""
        if not self._is_open or self._claim.is_there():
            return
        self.stop()
        try:
            self._claim.renew()
        except (SocketInUseError, SocketSetupError) as exc:
            log(_LOGGER, logging.ERROR, "socket lost", error=exc)
            self._is_open = True
            return
        log(_LOGGER, logging.WARNING, "socket was removed; made anew", path=self.path)
        self.open()

    def stop(self) -> None:
        """Accept no more; those who connect wait. A second call is fine."""
        self._is_open = False
        if self._watch is not None:
            self._watch.close()
        if self._acceptor is not None:
            self._acceptor.close()
        self._watch = self._acceptor = None

    def close(self) -> None:
        """Remove the socket and give up its lock."""
        self.stop()
        self._claim.close()
