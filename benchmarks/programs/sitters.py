"""Processes that only sit there, to be weighed: mules, and the bare one beside them."""

import asyncio
import os
import sys

import uvloop

from benchmarks.notes import note

__all__ = ("sit", "sit_bare")


async def sit() -> None:
    """Wait for a message that never comes, in a mule."""
    # Here, because the bare process loads this module, too.
    from pymule import mule_get_msg, mule_id  # noqa: PLC0415

    note(f"up-{mule_id()}", pid=os.getpid())
    await mule_get_msg()


async def sit_bare(name: str) -> None:
    """Wait for ever, in a process with a loop and nothing else."""
    note(f"up-{name}", pid=os.getpid())
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(sit_bare(sys.argv[1]))
