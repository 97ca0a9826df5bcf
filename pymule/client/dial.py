"""How the asyncio client gets through to the master, and is greeted."""

import asyncio
import socket
from typing import Final

from pymule.client.reach import (
    HELLO_TIMEOUT_S,
    MAX_TRIES,
    SocketPath,
    Terms,
    connect,
    pause,
)
from pymule.errors import MasterUnavailableError
from pymule.sansio.verbs import Welcome

__all__ = ("Greeting", "dial")

_BACKLOG_FULL: Final = "its backlog is full"


async def dial(path: SocketPath) -> socket.socket:
    """Return a socket that is connected to *path*; be patient with a full backlog.

    Raises:
        MasterUnavailableError: Nobody answers, or not the right one.

    Cancelling is safe.
    """
    tries = 0
    while True:
        try:
            return connect(path)
        except BlockingIOError as exc:
            tries += 1
            if tries == MAX_TRIES:
                raise MasterUnavailableError(str(path), _BACKLOG_FULL) from exc
        await asyncio.sleep(pause(tries))


class Greeting:
    """What is awaited between HELLO and WELCOME."""

    def __init__(self, path: SocketPath) -> None:
        self._path = path
        self._welcome: asyncio.Future[Terms] = (
            asyncio.get_running_loop().create_future()
        )

    async def terms(self) -> Terms:
        """Return what WELCOME says.

        Raises:
            MasterUnavailableError: It did not come, or the connection ended.
            RemoteProtocolError: It does not say what it should.
        """
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                return await self._welcome
        except TimeoutError as exc:
            reason = f"no WELCOME within {HELLO_TIMEOUT_S:g} seconds"
            raise MasterUnavailableError(str(self._path), reason) from exc

    def welcomed(self, welcome: Welcome) -> None:
        """WELCOME came.

        Raises:
            RemoteProtocolError: It does not say what it should.
        """
        terms = Terms.read(welcome.value)
        if not self._welcome.done():
            self._welcome.set_result(terms)

    def failed(self, reason: str) -> None:
        """The connection ended, before WELCOME or after it."""
        if not self._welcome.done():
            error = MasterUnavailableError(str(self._path), reason)
            self._welcome.set_exception(error)
