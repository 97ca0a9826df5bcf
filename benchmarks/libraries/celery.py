"""Celery: a pool of processes, on Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from celery import Celery

from benchmarks.libraries.lines import BUSY, BlockingLine, is_slow, redis_url
from benchmarks.programs.job import work

__all__ = ("app", "line")

app = Celery("benchmark", broker=redis_url().replace("unix:", "redis+socket:"))
app.conf.task_ignore_result = True
app.conf.task_default_queue = BUSY
# Its documents ask for a prefetch of 1 and late acknowledgements where tasks are slow,
# and for a large prefetch where they are short.
app.conf.task_acks_late = is_slow()
app.conf.worker_prefetch_multiplier = 1 if is_slow() else 64
_task = app.task(work, name="work")


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[BlockingLine]:
    """Open a queue."""
    yield BlockingLine(lambda job: _task.apply_async(job, queue=queue))
