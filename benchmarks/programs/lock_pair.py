"""One task that asks and waits, again and again: locks of pymule, or a bare echo."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import cast

import uvloop

from benchmarks.notes import COUNT, FOLDER, PAYLOAD, WARM_UP, note
from pymule import Client

__all__ = ("echo", "echo_client", "lock_client")


class _Echo(asyncio.Protocol):
    """Writes back what it reads."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's; uvloop's is not of asyncio's class.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Asker(asyncio.Protocol):
    """Lets a task wait for the answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        assert len(data) == len(PAYLOAD)
        if self.answer is not None:
            self.answer.set_result(None)


async def echo() -> None:
    """Listen, and send back what comes."""
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(_Echo, str(_socket("echo")))
    await asyncio.Event().wait()


async def echo_client() -> None:
    """Ask twice, as who takes a lock and gives it back."""
    loop = asyncio.get_running_loop()
    line, asker = await loop.create_unix_connection(_Asker, str(_socket("echo")))

    async def twice() -> None:
        for _ in range(2):
            asker.answer = loop.create_future()
            line.write(PAYLOAD)
            await asker.answer

    await _measure(twice)


async def lock_client() -> None:
    """Take a lock that nobody else wants, and give it back."""
    async with Client() as client:

        async def once() -> None:
            async with client.lock("benchmark"):
                pass

        await _measure(once)


async def _measure(turn: Callable[[], Awaitable[None]]) -> None:
    for _ in range(WARM_UP):
        await turn()
    times = []
    for _ in range(int(os.environ[COUNT])):
        start = perf_counter()
        await turn()
        times.append(perf_counter() - start)
    note("measured", times=times)
    await asyncio.Event().wait()


def _socket(name: str) -> Path:
    return Path(os.environ[FOLDER], name)


if __name__ == "__main__":
    roles = {"echo": echo, "echo_client": echo_client, "lock_client": lock_client}
    uvloop.run(roles[sys.argv[1]]())
