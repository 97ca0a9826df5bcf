"""The least that two hops can cost on uvloop: client, relay and receiver, bytes only.

No messages, no acknowledgement, no coroutine for each message: protocol callbacks that
pass on what they get, over Unix sockets. The echo sends it back the same way.
"""

import asyncio
import os
import sys
from pathlib import Path
from time import monotonic
from typing import Protocol, cast

import uvloop

from benchmarks.notes import FOLDER, PAYLOAD, WARM_UP, note
from benchmarks.pace import Arrivals, due, phases

__all__ = ("echo", "receiver", "relay", "round_tripper", "sender")

_SIZE = len(PAYLOAD)


class _Line(Protocol):
    """One end of a connection, as a callback sees it."""

    def write(self, data: bytes, /) -> None:
        """Send."""


class _Receiver(asyncio.Protocol):
    """Cuts the stream into messages and looks at the clock at each."""

    def __init__(self) -> None:
        self._warm = WARM_UP
        self._rest = b""
        self._arrivals = Arrivals()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % _SIZE
        for start in range(0, whole, _SIZE):
            self._message_received(data[start : start + _SIZE])
        self._rest = data[whole:]

    def _message_received(self, message: bytes) -> None:
        if not self._warm:
            self._arrivals.add(message, monotonic())
            return
        self._warm -= 1
        if not self._warm:
            note("warm")


class _Echo(asyncio.Protocol):
    """Writes back what it reads."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's; uvloop's is not of asyncio's class.
        self._line = cast(_Line, transport)

    def data_received(self, data: bytes) -> None:
        self._line.write(data)


class _Passing(asyncio.Protocol):
    """Writes to the line beyond what it reads, once there is one."""

    def __init__(self, beyond: _Line | None = None) -> None:
        self.beyond = beyond

    def data_received(self, data: bytes) -> None:
        assert self.beyond is not None, "the client was here first"
        self.beyond.write(data)


class _Forth(_Passing):
    """The way there, which shows the way back where it ends."""

    def __init__(self, beyond: _Line, back: _Passing) -> None:
        super().__init__(beyond)
        self._back = back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._back.beyond = cast(_Line, transport)


async def receiver() -> None:
    """Listen at the end of the line."""
    await _listen_at_end(_Receiver)


async def echo() -> None:
    """Listen at the end of the line, and send back what comes."""
    await _listen_at_end(_Echo)


async def relay() -> None:
    """Listen in the middle, and pass on to the end and back."""
    loop = asyncio.get_running_loop()
    line, back = await loop.create_unix_connection(_Passing, str(_socket("end")))
    await loop.create_unix_server(lambda: _Forth(line, back), str(_socket("middle")))
    await asyncio.Event().wait()


async def sender() -> None:
    """Send what is due."""
    await _send(asyncio.Protocol)


async def round_tripper() -> None:
    """Send what is due, and see when it is back."""
    await _send(_Receiver)


async def _send(reader: type[asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    line, _ = await loop.create_unix_connection(reader, str(_socket("middle")))
    line.writelines([PAYLOAD] * WARM_UP)
    for at, phase in enumerate(phases()):
        async for message in due(at, phase):
            line.write(message)
    # The last bytes leave in the next turn of the loop.
    await asyncio.Event().wait()


async def _listen_at_end(reader: type[asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(reader, str(_socket("end")))
    await asyncio.Event().wait()


def _socket(name: str) -> Path:
    return Path(os.environ[FOLDER], name)


if __name__ == "__main__":
    roles = (echo, receiver, relay, round_tripper, sender)
    uvloop.run({role.__name__: role for role in roles}[sys.argv[1]]())
