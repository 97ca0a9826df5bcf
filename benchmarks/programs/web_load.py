"""Asks a web server: at a fixed rate, and as fast as it answers."""

import asyncio
import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.notes import FOLDER, Note, note, wait_for
from benchmarks.precise import precise_loop
from benchmarks.programs.job_producer import all_done
from benchmarks.report import number
from benchmarks.sheet import WARM_UP_JOBS, sheet

__all__ = ("Client", "main")

_CONNECTIONS: Final = 32
_LENGTH: Final = b"content-length:"
_PAUSE_S: Final = 0.05


class Client(asyncio.Protocol):
    """A connection that is kept, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def request(self, method: str, path: str) -> asyncio.Future[bytes]:
        """Ask; return a future of the body of the answer."""
        assert self._transport is not None, "connected"
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        self._transport.write(head.encode())
        return self.expect()

    def expect(self) -> asyncio.Future[bytes]:
        """Return a future of the body of the next answer."""
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Take what came; the answer may be whole."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length_of(head):
            return
        self._received = b""
        assert self._answer is not None, "asked for"
        if head.startswith(b"HTTP/1.1 200 "):
            self._answer.set_result(body)
        else:
            self._answer.set_exception(RuntimeError(f"answer {head!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or EOFError("the server hung up"))


async def main() -> None:
    """Warm up, wait for the word, then ask in both ways."""
    clients = [await _connected() for _ in range(_CONNECTIONS)]
    for row in range(WARM_UP_JOBS):
        await clients[row % _CONNECTIONS].request("POST", f"/work/{row}/0")
    if wait_for("is_working")["is_working"]:
        await all_done(WARM_UP_JOBS)
    note("warm")
    plan = await asyncio.to_thread(wait_for, "go")
    note("offered", **await _offered(clients, plan))
    note("flooded", **await _flooded(clients, plan))


async def _connected() -> Client:
    path = Path(os.environ[FOLDER], "web")
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(Client, str(path))
    return client


async def _offered(clients: list[Client], plan: Note) -> dict[str, object]:
    """Ask at planned times, whatever became of the requests before."""
    total, period = int(number(plan, "offered")), 1 / number(plan, "rate")
    hashes = int(number(plan, "hashes"))
    free: asyncio.LifoQueue[Client] = asyncio.LifoQueue()
    for client in clients:
        free.put_nowait(client)
    await _used(clients[0])
    start = monotonic() + _PAUSE_S
    latencies: list[float] = []

    async def ask(row: int, planned: float) -> None:
        client = await free.get()
        await client.request("POST", f"/work/{row}/{hashes}")
        latencies.append(monotonic() - planned)
        free.put_nowait(client)

    async with asyncio.TaskGroup() as requests:
        for at in range(total):
            planned = start + at * period
            await asyncio.sleep(max(0.0, planned - monotonic()))
            requests.create_task(ask(WARM_UP_JOBS + at, planned))
    done = _done(WARM_UP_JOBS, WARM_UP_JOBS + total)
    return {"latencies": latencies, "done": done, **await _used(clients[0])}


async def _flooded(clients: list[Client], plan: Note) -> dict[str, object]:
    """Ask for so long, each connection again when it has its answer."""
    first = WARM_UP_JOBS + int(number(plan, "offered"))
    before = await _used(clients[0])
    start = monotonic()
    end = start + number(plan, "seconds")
    rows = _rows(first)
    async with asyncio.TaskGroup() as loops:
        for client in clients:
            loops.create_task(_ask_until(client, rows, end))
    seconds, asked = monotonic() - start, next(rows) - first
    after = await _used(clients[0])
    return {
        "requests": asked,
        "seconds": seconds,
        "done": _done(first, first + asked),
        "cpu_s": number(after, "cpu_s") - number(before, "cpu_s"),
        "delays": after["delays"],
        "own": after["own"],
    }


async def _ask_until(client: Client, rows: Iterator[int], end: float) -> None:
    while monotonic() < end:
        await client.request("POST", f"/work/{next(rows)}/0")


def _rows(first: int) -> Iterator[int]:
    return count(first)


def _done(first: int, end: int) -> int:
    return sum(map(bool, sheet().ended[first:end]))


async def _used(client: Client) -> Note:
    used: Note = json.loads(await client.request("GET", "/used"))
    return used


def _length_of(head: bytes) -> int:
    at = head.lower().index(_LENGTH) + len(_LENGTH)
    return int(head[at:].partition(b"\r\n")[0])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(main())
