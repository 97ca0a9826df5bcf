"""The least that two hops can cost on uvloop: client, relay and receiver, bytes only.

No messages, no acknowledgement, no coroutine for each message: protocol callbacks that
pass on what they get, over Unix sockets.
"""

import asyncio
import os
import sys
from pathlib import Path
from time import monotonic

import uvloop

from benchmarks.notes import (
    COUNT,
    FOLDER,
    PAYLOAD,
    PERIOD_S,
    WARM_UP,
    latency_of,
    lateness_of,
    nap_before,
    note,
    stamped,
    wait_for,
)

__all__ = ("client", "receiver", "relay")

_SIZE = len(PAYLOAD)


class _Receiver(asyncio.Protocol):
    """Cuts the stream into messages and looks at the clock at each."""

    def __init__(self) -> None:
        self._number = int(os.environ[COUNT])
        self._warm = WARM_UP
        self._rest = b""
        self._latencies: list[float] = []
        self._lateness: list[float] = []

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % _SIZE
        for start in range(0, whole, _SIZE):
            self._message_received(data[start : start + _SIZE])
        self._rest = data[whole:]

    def _message_received(self, message: bytes) -> None:
        if self._warm:
            self._warm -= 1
            if not self._warm:
                note("warm")
            return
        self._latencies.append(latency_of(message, monotonic()))
        self._lateness.append(lateness_of(message))
        if len(self._latencies) == self._number:
            note("received", latencies=self._latencies, lateness=self._lateness)


class _Relay(asyncio.Protocol):
    """Writes to *onward* what it reads."""

    def __init__(self, onward: asyncio.WriteTransport) -> None:
        self._onward = onward

    def data_received(self, data: bytes) -> None:
        self._onward.write(data)


async def receiver() -> None:
    """Listen at the end of the line."""
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(_Receiver, str(_socket("end")))
    await asyncio.Event().wait()


async def relay() -> None:
    """Listen in the middle, and pass on to the end."""
    loop = asyncio.get_running_loop()
    onward, _ = await loop.create_unix_connection(asyncio.Protocol, str(_socket("end")))
    await loop.create_unix_server(lambda: _Relay(onward), str(_socket("middle")))
    await asyncio.Event().wait()


async def client() -> None:
    """Send one message in a while, at a planned time."""
    number = int(os.environ[COUNT])
    loop = asyncio.get_running_loop()
    line, _ = await loop.create_unix_connection(
        asyncio.Protocol, str(_socket("middle"))
    )
    line.writelines([PAYLOAD] * WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    planned = monotonic() + PERIOD_S
    for _ in range(number):
        await asyncio.sleep(nap_before(planned))
        while (now := monotonic()) < planned:  # noqa: ASYNC110  (only time passes)
            await asyncio.sleep(0)
        line.write(stamped(planned, now))
        planned += PERIOD_S
    # The last bytes leave in the next turn of the loop.
    await asyncio.Event().wait()


def _socket(name: str) -> Path:
    return Path(os.environ[FOLDER], name)


if __name__ == "__main__":
    uvloop.run({"receiver": receiver, "relay": relay, "client": client}[sys.argv[1]]())
