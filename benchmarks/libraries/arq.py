"""arq: an asyncio library, on Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.libraries.lines import BUSY, SLOTS, Job, Line, is_slow, redis_url
from benchmarks.programs.job import work_async

__all__ = ("WorkerSettings", "line", "work")


async def work(_context: object, *job: *Job) -> None:
    """Do a job."""
    await work_async(*job)


class WorkerSettings:
    """What ``arq`` runs; its default is 10 jobs at a time."""

    functions: Final = (work,)
    redis_settings = RedisSettings.from_dsn(redis_url())
    queue_name = BUSY
    max_jobs = SLOTS if is_slow() else 32


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[Line]:
    """Open a queue."""
    pool = await create_pool(WorkerSettings.redis_settings, default_queue_name=queue)
    try:
        yield Line(lambda job: pool.enqueue_job("work", *job))
    finally:
        await pool.aclose()
