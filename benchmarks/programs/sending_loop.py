"""An event loop that sends at a rate, as a web server's does, and feels its pulse."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic, process_time
from typing import Final

import uvloop

from benchmarks.libraries.lines import BUSY, redis_url
from benchmarks.notes import PAYLOAD, note, wait_for
from benchmarks.pulse import Pulse
from benchmarks.report import floats, number
from pymule import mule_msg

__all__ = ("main", "nothing", "pymule", "redis")

Send = Callable[[], Awaitable[object]]

_WARM_UP_RATE: Final = 1_000
_WARM_UP_S: Final = 0.2
_TICK_S: Final = 0.001
_PAUSE_S: Final = 0.1
_CONNECTIONS: Final = 32


async def main(side: str) -> None:
    """Warm up, wait for the word, then send at each of the rates."""
    pulse = Pulse()
    async with {"nothing": nothing, "pymule": pymule, "redis": redis}[side]() as send:
        await _send_at(send, _WARM_UP_RATE, _WARM_UP_S)
        note("warm")
        plan = await asyncio.to_thread(wait_for, "go")
        found = {}
        for rate in floats(plan, "rates"):
            await asyncio.sleep(_PAUSE_S)
            pulse.take()
            cpu = process_time()
            late_s = await _send_at(send, rate, number(plan, "seconds"))
            used = process_time() - cpu
            delays, own = pulse.take()
            found[f"{rate:g}"] = {
                "delays": delays,
                "own": own,
                "cpu_s": used,
                "late_s": late_s,
            }
        note("measured", **found)


@asynccontextmanager
async def nothing() -> AsyncIterator[Send]:
    """Start a task for each message, which sends nothing."""

    async def send() -> None:
        pass

    yield send


@asynccontextmanager
async def pymule() -> AsyncIterator[Send]:
    """Send a confirmed message in each task."""
    yield lambda: mule_msg(PAYLOAD)


@asynccontextmanager
async def redis() -> AsyncIterator[Send]:
    """Push to a list in each task, over so many connections."""
    # Not everybody who sends has it.
    module = importlib.import_module("redis.asyncio")
    pool = module.BlockingConnectionPool.from_url(
        redis_url(), max_connections=_CONNECTIONS, timeout=None
    )
    async with module.Redis(connection_pool=pool) as client:
        yield lambda: client.lpush(BUSY, PAYLOAD)


async def _send_at(send: Send, rate: float, seconds: float) -> float:
    """Send at the planned times; return how long after the last one all had answers."""
    start = monotonic()
    count = int(rate * seconds)
    async with asyncio.TaskGroup() as sends:
        sent = 0
        while sent < count:
            await asyncio.sleep(_TICK_S)
            due = min(count, int((monotonic() - start) * rate))
            for _ in range(due - sent):
                sends.create_task(_one(send))
            sent = due
        last = monotonic()
    return monotonic() - last


async def _one(send: Send) -> None:
    await send()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
