"""A web application that hands over a job for each request, or none."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import process_time
from typing import Final

from fastapi import BackgroundTasks, FastAPI

from benchmarks.libraries.lines import BUSY, TEXT, BlockingLine
from benchmarks.programs.job import work
from benchmarks.programs.job_producer import library
from benchmarks.pulse import Pulse

__all__ = ("BACKGROUND", "NOTHING", "SIDE", "app")

SIDE: Final = "PYMULE_BENCH_SIDE"
"""Names a module of the libraries, or one of the next two."""
NOTHING: Final = "nothing"
BACKGROUND: Final = "background"


@asynccontextmanager
async def _no_library(app: FastAPI) -> AsyncIterator[None]:
    app.state.pulse = Pulse()
    yield


@asynccontextmanager
async def _with_library(app: FastAPI) -> AsyncIterator[None]:
    app.state.pulse = Pulse()
    async with library(os.environ[SIDE]).line(BUSY) as line:
        if isinstance(line, BlockingLine):
            # FastAPI runs a def in a thread, as calls that block want it.
            def put_blocking(row: int, hashes: int) -> dict[str, int]:
                line.put((row, 0.0, hashes, TEXT))
                return {"job": row}

            app.post("/work/{row}/{hashes}")(put_blocking)
        else:

            async def put(row: int, hashes: int) -> dict[str, int]:
                await line.put((row, 0.0, hashes, TEXT))
                return {"job": row}

            app.post("/work/{row}/{hashes}")(put)
        yield


async def _drop(row: int, hashes: int) -> dict[str, int]:
    del hashes
    return {"job": row}


async def _run_here(
    row: int, hashes: int, background: BackgroundTasks
) -> dict[str, int]:
    background.add_task(work, row, 0.0, hashes, TEXT)
    return {"job": row}


async def _used() -> dict[str, object]:
    """Return what the process has used, and the delays of its loop since last time."""
    delays, own = app.state.pulse.take()
    return {"cpu_s": process_time(), "delays": delays, "own": own}


def _built(side: str) -> FastAPI:
    built = FastAPI(
        lifespan=_no_library if side in {NOTHING, BACKGROUND} else _with_library
    )
    built.get("/used")(_used)
    if side == NOTHING:
        built.post("/work/{row}/{hashes}")(_drop)
    elif side == BACKGROUND:
        built.post("/work/{row}/{hashes}")(_run_here)
    return built


app = _built(os.environ[SIDE])
