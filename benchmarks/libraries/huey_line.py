"""huey's queue as a producer sees it, whatever keeps it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from huey import Huey

from benchmarks.libraries.lines import BlockingLine
from benchmarks.programs.job import work

__all__ = ("opened",)


@asynccontextmanager
async def opened(huey: Huey) -> AsyncIterator[BlockingLine]:
    """Return the queue of *huey*."""
    task = huey.task(name="work")(work)
    yield BlockingLine(lambda job: task(*job))
