"""dramatiq: threads, on Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.libraries.lines import BUSY, NOBODY, BlockingLine, redis_url
from benchmarks.programs.job import work

__all__ = ("line",)

dramatiq.set_broker(RedisBroker(url=redis_url()))
_actors = {
    queue: dramatiq.actor(work, actor_name=queue, queue_name=queue)
    for queue in (BUSY, NOBODY)
}


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[BlockingLine]:
    """Open a queue."""
    actor = _actors[queue]
    yield BlockingLine(lambda job: actor.send(*job))
