"""SAQ: an asyncio library, on Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from benchmarks.libraries.lines import BUSY, SLOTS, Line, is_slow, redis_url
from benchmarks.programs.job import work_async

__all__ = ("SETTINGS", "line", "work")


async def work(
    _context: object, *, row: int, nap_s: float, hashes: int, text: str
) -> None:
    """Do a job."""
    await work_async(row, nap_s, hashes, text)


SETTINGS: Final = {
    "queue": RedisQueue(Redis.from_url(redis_url()), name=BUSY),
    "functions": [work],
    "concurrency": SLOTS if is_slow() else 32,
}
"""What ``saq`` runs; its default is 10 jobs at a time."""
_NAMES: Final = ("row", "nap_s", "hashes", "text")


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[Line]:
    """Open a queue."""
    ours = RedisQueue(Redis.from_url(redis_url()), name=queue)
    await ours.connect()
    try:
        yield Line(
            lambda job: ours.enqueue("work", **dict(zip(_NAMES, job, strict=True)))
        )
    finally:
        await ours.disconnect()
