"""A process that sends numbered messages until SIGTERM, and notes what it was told.

``python -m tests.chaos.sender NAME SOCKET NOTES PAUSE_S QUEUE...``

After a SIGKILL its successor goes on with the next number, which is in the notes.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final

from pymule.client.aio import Client
from pymule.errors import ConnectionLostError, MasterUnavailableError, RefusedError
from pymule.sansio.options import pack_options
from tests.chaos.history import Attempt, Confirm, Kind, Refuse
from tests.chaos.notes import Body, Notes, read

__all__ = ("main",)

_STREAM: Final = 40
_BATCH: Final = 20
# Longest delay, in seconds.
_DELAY_S: Final = 1.0
# The farm that refuses when it is full gets its messages one by one: of several, an
# error does not tell which were refused.
_REFUSING: Final = "farm:small"


class Sender:
    """One client that sends in various ways.

    Args:
        name: Of all processes that go on with each other's work.
        client: Connected.
        notes: Of this name alone.
        first: Number of the next message.
    """

    def __init__(self, name: str, client: Client, notes: Notes, first: int) -> None:
        self._name = name
        self._client = client
        self._notes = notes
        self._next = first
        self._draw = random.Random(f"{name} {first}")  # noqa: S311  (repeatable)
        self.is_told_to_stop = False

    async def run(self, queues: list[str], pause_s: float) -> None:
        """Send until told to stop, now this way and now that."""
        while not self.is_told_to_stop:
            queue = self._draw.choice(queues)
            ways = [self._one_by_one]
            if queue != _REFUSING:
                ways += [self._stream, self._batch]
            await self._draw.choice(ways)(queue)
            await asyncio.sleep(pause_s * self._draw.random() * 2)

    async def _one_by_one(self, queue: str) -> None:
        kind = self._draw.choice(list(Kind))
        for _ in range(10):
            delay_s = self._draw.random() * _DELAY_S if kind is Kind.DELAYED else 0.0
            first = self._attempt(queue, 1, kind, delay_s)
            body = Body(self._name, first, queue).pack()
            options = self._options(kind, first, queue, delay_s)
            try:
                await self._client.send(_where(queue), body, options)
            except RefusedError as exc:
                error = type(exc).__name__
                self._notes.add(
                    Refuse(self._name, first, 1, error, time.monotonic_ns())
                )
                await asyncio.sleep(0.02)
            except ConnectionLostError:
                # The next master refused what the one before may have taken.
                continue
            else:
                self._confirmed(first, 1)

    def _options(self, kind: Kind, number: int, queue: str, delay_s: float) -> bytes:
        match kind:
            case Kind.NAMED:
                return pack_options(message_id=f"{self._name} {number}")
            case Kind.DELAYED:
                return pack_options(delay=delay_s)
            case Kind.KEYED:
                return pack_options(key=f"{self._name} {queue}")
            case Kind.PLAIN:
                return b""

    async def _stream(self, queue: str) -> None:
        """Wait for none, then for all."""
        first = self._attempt(queue, _STREAM)
        try:
            for counter in range(first, first + _STREAM):
                body = Body(self._name, counter, queue).pack()
                await self._client.send(_where(queue), body, confirm=False)
            await self._client.flush()
        except (RefusedError, ConnectionLostError):
            # Nobody knows which.
            return
        self._confirmed(first, _STREAM)

    async def _batch(self, queue: str) -> None:
        first = self._attempt(queue, _BATCH)
        counters = range(first, first + _BATCH)
        bodies = [Body(self._name, counter, queue).pack() for counter in counters]
        try:
            await self._client.send_many(_where(queue), bodies)
        except (RefusedError, ConnectionLostError):
            return
        self._confirmed(first, _BATCH)

    def _attempt(
        self, queue: str, count: int, kind: Kind = Kind.PLAIN, delay_s: float = 0.0
    ) -> int:
        first = self._next
        self._next += count
        delay_ns = int(delay_s * 1e9)
        what = queue, kind, delay_ns
        now = time.monotonic_ns()
        self._notes.add(Attempt(self._name, first, count, *what, os.getpid(), now))
        return first

    def _confirmed(self, first: int, count: int) -> None:
        self._notes.add(Confirm(self._name, first, count, time.monotonic_ns()))


def _where(queue: str) -> str | None:
    return queue.removeprefix("farm:") if queue.startswith("farm:") else None


def _next_number(path: Path) -> int:
    attempts = [entry for entry in read([path]) if isinstance(entry, Attempt)]
    return attempts[-1].first + attempts[-1].count if attempts else 1


async def _send(
    name: str, socket: str, path: Path, pause_s: float, queues: list[str]
) -> None:
    client = Client(socket, name=name)
    sender = Sender(name, client, Notes(path), _next_number(path))
    stop = asyncio.Event()

    def told_to_stop() -> None:
        sender.is_told_to_stop = True
        stop.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop)
    while not stop.is_set():
        try:
            await client.__aenter__()
            break
        except MasterUnavailableError:
            await asyncio.sleep(0.05)
    try:
        await sender.run(queues, pause_s)
    finally:
        await client.close()


def main(words: list[str]) -> None:
    """Send until SIGTERM."""
    name, socket, path, pause_s, *queues = words
    asyncio.run(_send(name, socket, Path(path), float(pause_s), queues))


if __name__ == "__main__":
    main(sys.argv[1:])
