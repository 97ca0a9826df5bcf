"""streaq: an asyncio library, on Redis streams, with acknowledgements."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager

from streaq import Worker

from benchmarks.libraries.lines import BUSY, SLOTS, Job, Line, is_slow, redis_url
from benchmarks.programs.job import work_async

__all__ = ("line", "worker")

# Its default is 16 tasks at a time.
worker = Worker(
    redis_url=redis_url(), queue_name=BUSY, concurrency=SLOTS if is_slow() else 32
)
worker.task(work_async, name="work")


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[Line]:
    """Open a queue."""
    ours = Worker(redis_url=redis_url(), queue_name=queue)
    task = ours.task(work_async, name="work")

    async def put(job: Job) -> None:
        await task.enqueue(*job)

    def put_many(jobs: Sequence[Job]) -> Awaitable[object]:
        done: Awaitable[object] = ours.enqueue_many(
            [task.enqueue(*job) for job in jobs]
        )
        return done

    async with ours:
        yield Line(put, put_many)
