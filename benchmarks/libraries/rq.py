"""RQ: a process forked for each job, on Redis."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis import Redis
from rq import Queue

from benchmarks.libraries.lines import BlockingLine, Job, redis_url
from benchmarks.programs.job import work

__all__ = ("line",)


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[BlockingLine]:
    """Open a queue."""
    with Redis.from_url(redis_url()) as redis:
        ours = Queue(queue, connection=redis)

        def put_many(jobs: Sequence[Job]) -> object:
            return ours.enqueue_many([Queue.prepare_data(work, job) for job in jobs])

        yield BlockingLine(lambda job: ours.enqueue(work, *job), put_many)
