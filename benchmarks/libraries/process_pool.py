"""``ProcessPoolExecutor``: its workers are children of the producer."""

import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager

from benchmarks.libraries.lines import SLOTS, BlockingLine, is_slow
from benchmarks.programs.job import work

__all__ = ("line",)


@asynccontextmanager
async def line(_queue: str) -> AsyncIterator[BlockingLine]:
    """Open the only queue that there is."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(SLOTS if is_slow() else 1, context) as pool:
        yield BlockingLine(lambda job: pool.submit(work, *job))
