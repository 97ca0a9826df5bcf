"""huey: threads, on Redis."""

from contextlib import AbstractAsyncContextManager

from huey import RedisHuey

from benchmarks.libraries.huey_line import opened
from benchmarks.libraries.lines import BUSY, BlockingLine, redis_url
from benchmarks.programs.job import work

__all__ = ("consumer", "line")

consumer = RedisHuey(BUSY, url=redis_url(), results=False)
consumer.task(name="work")(work)


def line(queue: str) -> AbstractAsyncContextManager[BlockingLine]:
    """Open a queue."""
    return opened(RedisHuey(queue, url=redis_url(), results=False))
