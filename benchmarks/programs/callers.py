"""Senders that wait for the master's answer, and the same over a bare echo.

One call after the other, a thousand calls at once, and calls with a thousand messages.
"""

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, process_time
from typing import Final

import uvloop

from benchmarks.cpu import cpu_s
from benchmarks.notes import COUNT, FOLDER, PAYLOAD, WARM_UP, Note, note, wait_for
from pymule import farm_msg, farm_msgs, sync

__all__ = ("MANY", "echo", "echo_blocking", "pymule", "pymule_blocking")

MANY: Final = 1000
"""Calls at once, and messages of one call."""

_FARM: Final = "busy"
_BATCH: Final = [PAYLOAD] * MANY
# So many times the messages for calls with many, so that they take about as long.
_CALLS: Final = 20

Call = Callable[[], Awaitable[object]]
BlockingCall = Callable[[], object]


class _Times:
    """Notes what each kind of call took, of this process and of who answers."""

    def __init__(self) -> None:
        go = wait_for("go")
        self._answering = int(str(go["answering"]))
        self._found: dict[str, Note] = {}

    @contextmanager
    def of(self, kind: str, messages: int) -> Iterator[None]:
        """Measure the block, in which so many messages are sent."""
        start, own, other = monotonic(), process_time(), cpu_s(self._answering)
        yield
        self._found[kind] = {
            "messages": messages,
            "seconds": monotonic() - start,
            "sender_cpu_s": process_time() - own,
            "answering_cpu_s": cpu_s(self._answering) - other,
        }

    def tell(self) -> None:
        """Leave the note."""
        note("measured", kinds=self._found)


class _Asker(asyncio.Protocol):
    """Lets tasks wait for as many bytes as they have sent, in their order."""

    def __init__(self) -> None:
        self._here = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def data_received(self, data: bytes) -> None:
        self._here += len(data)
        while self._waiting and self._waiting[0][0] <= self._here:
            size, answer = self._waiting.popleft()
            self._here -= size
            answer.set_result(None)

    async def answer(self, size: int) -> None:
        """Wait for the next bytes, so many."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((size, answer))
        await answer


async def pymule() -> None:
    """Send to a farm, on uvloop."""
    await _measure(lambda: farm_msg(_FARM, PAYLOAD), lambda: farm_msgs(_FARM, _BATCH))


async def echo() -> None:
    """Send the same bytes to a process that sends them back."""
    loop = asyncio.get_running_loop()
    line, asker = await loop.create_unix_connection(_Asker, _echo_path())
    many = b"".join(_BATCH)

    async def ask(data: bytes) -> None:
        line.write(data)
        await asker.answer(len(data))

    await _measure(lambda: ask(PAYLOAD), lambda: ask(many))


def pymule_blocking() -> None:
    """Send to a farm, without a loop."""
    _measure_blocking(
        lambda: sync.farm_msg(_FARM, PAYLOAD), lambda: sync.farm_msgs(_FARM, _BATCH)
    )


def echo_blocking() -> None:
    """Send the same bytes to a process that sends them back, without a loop."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(_echo_path())
    many = b"".join(_BATCH)

    def ask(data: bytes) -> None:
        line.sendall(data)
        missing = len(data)
        while missing:
            missing -= len(line.recv(missing))

    _measure_blocking(lambda: ask(PAYLOAD), lambda: ask(many))


async def _measure(one: Call, many: Call) -> None:
    for _ in range(WARM_UP):
        await one()
    note("warm")
    times = await asyncio.to_thread(_Times)
    count = int(os.environ[COUNT])
    with times.of("one call after the other", count):
        for _ in range(count):
            await one()
    with times.of("1,000 calls at once", count):
        for _ in range(count // MANY):
            await asyncio.gather(*(one() for _ in range(MANY)))
    with times.of("calls with 1,000 messages", count * _CALLS):
        for _ in range(count * _CALLS // MANY):
            await many()
    times.tell()


def _measure_blocking(one: BlockingCall, many: BlockingCall) -> None:
    for _ in range(WARM_UP):
        one()
    note("warm")
    times = _Times()
    count = int(os.environ[COUNT])
    with times.of("one call after the other", count):
        for _ in range(count):
            one()
    with times.of("calls with 1,000 messages", count * _CALLS):
        for _ in range(count * _CALLS // MANY):
            many()
    times.tell()


def _echo_path() -> str:
    return str(Path(os.environ[FOLDER], "echo"))


if __name__ == "__main__":
    role = sys.argv[1]
    if role in {"pymule", "echo"}:
        uvloop.run({"pymule": pymule, "echo": echo}[role]())
    else:
        {"pymule_blocking": pymule_blocking, "echo_blocking": echo_blocking}[role]()
