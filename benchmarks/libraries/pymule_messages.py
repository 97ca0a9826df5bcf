"""pymule: messages for a farm, and what its mules run."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from struct import Struct
from typing import Final

from benchmarks.libraries.lines import Job, Line
from benchmarks.notes import note
from benchmarks.programs.job import work_async
from pymule import farm_msg, farm_msgs, mule_get_msg, mule_id

__all__ = ("line", "main")

# 128 bytes.
_JOB: Final = Struct("=qdq104s")


async def main() -> None:
    """Do jobs, one after the other."""
    note(f"up-{mule_id()}")
    while True:
        row, nap_s, hashes, text = _JOB.unpack(await mule_get_msg())
        await work_async(row, nap_s, hashes, text)


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[Line]:
    """Open a queue."""

    def put_many(jobs: Sequence[Job]) -> Awaitable[object]:
        return farm_msgs(queue, map(_packed, jobs))

    yield Line(lambda job: farm_msg(queue, _packed(job)), put_many)


def _packed(job: Job) -> bytes:
    row, nap_s, hashes, text = job
    return _JOB.pack(row, nap_s, hashes, text.encode())
