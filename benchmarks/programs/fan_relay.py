"""The least that a process between a sender and so many receivers can do, bytes only.

It reads what comes, writes it to the receiver whose turn it is, and to the sender that
it has it; and it reads that the receiver is done. To wake a process that has slept long
costs the kernel more than one that has just run, and that is charged to who wakes it.
"""

import asyncio
import os
import struct
import sys
from pathlib import Path
from typing import Protocol, cast

import uvloop

from benchmarks.doorbell import Bell, Doorbell
from benchmarks.notes import COUNT, FOLDER, PAYLOAD, note
from benchmarks.programs.turn_takers import MANY, serve

__all__ = ("receiver", "relay", "sender")

_ANSWER = b"done"
# Of all messages of a turn, at their begin.
_SIZE = struct.Struct("=I")


class _Line(Protocol):
    """One end of a connection, as a callback sees it."""

    def write(self, data: bytes, /) -> None:
        """Send."""


class _Receivers(asyncio.Protocol):
    """The relay's side of each receiver; what they answer is read, and that is all."""

    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's; uvloop's is not of asyncio's class.
        self._lines.append(cast(_Line, transport))
        if len(self._lines) == int(os.environ[COUNT]):
            note("connected")


class _Sender(asyncio.Protocol):
    """The relay's side of the sender."""

    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines
        self._turn = 0
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sender = cast(_Line, transport)

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            (self._missing,) = _SIZE.unpack_from(data)
            self._turn = (self._turn + 1) % len(self._lines)
        self._missing -= len(data)
        self._lines[self._turn].write(data)
        if not self._missing:
            self._sender.write(_ANSWER)


class _Receiver(asyncio.Protocol):
    """Answers, and tells that it has a message."""

    def __init__(self) -> None:
        self._taken = Bell("taken")
        self._here = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = cast(_Line, transport)

    def data_received(self, data: bytes) -> None:
        self._here += len(data)
        messages, self._here = divmod(self._here, len(PAYLOAD))
        if messages:
            self._taken.ring(messages)
            self._line.write(_ANSWER)


class _Asker(asyncio.Protocol):
    """Lets a task wait for the answer."""

    def __init__(self) -> None:
        self.answer = asyncio.get_running_loop().create_future()

    def data_received(self, _data: bytes) -> None:
        self.answer.set_result(None)


async def relay() -> None:
    """Listen for receivers and for the sender."""
    loop = asyncio.get_running_loop()
    lines: list[_Line] = []
    await loop.create_unix_server(lambda: _Receivers(lines), _path("end"))
    await loop.create_unix_server(lambda: _Sender(lines), _path("middle"))
    await asyncio.Event().wait()


async def receiver() -> None:
    """Be one of the receivers."""
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(_Receiver, _path("end"))
    await asyncio.Event().wait()


async def sender() -> None:
    """Send as many as a turn has, each time when those before were taken."""
    loop = asyncio.get_running_loop()
    line, asker = await loop.create_unix_connection(_Asker, _path("middle"))
    taken = Doorbell("taken")

    async def ask(messages: int) -> None:
        size = messages * len(PAYLOAD)
        asker.answer = loop.create_future()
        line.write(_SIZE.pack(size) + bytes(size - _SIZE.size))
        await asker.answer
        await taken.heard(messages)

    await serve(lambda _: ask(1), lambda _: ask(MANY))


def _path(name: str) -> str:
    return str(Path(os.environ[FOLDER], name))


if __name__ == "__main__":
    roles = {"receiver": receiver, "relay": relay, "sender": sender}
    uvloop.run(roles[sys.argv[1]]())
