"""Senders that go on when what they sent was taken: so many messages stay queued.

What the master spends meanwhile is noted; all that a turn asks of it is the same,
however much is queued, and however many mules or farms there are.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from time import monotonic

import uvloop

from benchmarks.cpu import cpu_s
from benchmarks.doorbell import Bell, Doorbell
from benchmarks.notes import COUNT, PAYLOAD, note, wait_for
from pymule import farm_msg, farm_msgs, flush, mule_msg, mule_msgs

__all__ = ("MANY", "above", "across", "serve")

MANY = 1000
"""Messages of a call with many."""

_BATCH = [PAYLOAD] * MANY
_WARM_UP_TURNS = 100
_WARM_UP_TURNS_WITH_MANY = 3
# More than are ever taken, so that all that is taken came alone. It takes long to queue
# a million like that.
_APART = 100_000
# The end of the benchmark comes first.
_PATIENCE_S = 600.0

Turn = Callable[[int], Awaitable[None]]
"""Sends what its number says, and waits until it was taken."""


async def above() -> None:
    """Send to queues of mules that take as much as comes, above what is there."""
    depth = int(os.environ[COUNT])
    apart = min(depth, _APART)
    for _ in range(apart):
        await mule_msg(PAYLOAD, 1, confirm=False)
        # One message in each turn of the loop: none is in a batch.
        await asyncio.sleep(0)
    for _ in range((depth - apart) // MANY):
        await mule_msgs(_BATCH, 1, confirm=False)
    for _ in range(max(depth // MANY, 1)):
        await mule_msgs(_BATCH, 2, confirm=False)
    await flush()
    call_one, one_taken = Bell("called-one"), Doorbell("taken-one")
    call_many, many_taken = Bell("called-many"), Doorbell("taken-many")

    async def one(_number: int) -> None:
        await mule_msg(PAYLOAD, 1)
        call_one.ring()
        await one_taken.heard()

    async def many(_number: int) -> None:
        await mule_msgs(_BATCH, 2)
        call_many.ring()
        await many_taken.heard()

    await serve(one, many)


async def across() -> None:
    """Send to so many farms in turn, whose mules take what comes."""
    farms = int(os.environ[COUNT])
    taken = Doorbell("taken")

    async def one(number: int) -> None:
        await farm_msg(f"farm{number % farms}", PAYLOAD)
        await taken.heard()

    async def many(number: int) -> None:
        await farm_msgs(f"farm{number % farms}", _BATCH)
        await taken.heard(MANY)

    await serve(one, many)


async def serve(one: Turn, many: Turn) -> None:
    """Take turns of one message, or of many, as often as the benchmark asks for it."""
    for number in range(_WARM_UP_TURNS):
        await one(number)
    for number in range(_WARM_UP_TURNS_WITH_MANY):
        await many(number)
    note("warm")
    for at in itertools.count():
        # Rarely looked at: others are measured meanwhile.
        go = await asyncio.to_thread(
            wait_for, f"go-{at}", within=_PATIENCE_S, step=0.05
        )
        turns, master = int(str(go["turns"])), int(str(go["master"]))
        turn = many if go["is_many"] else one
        before, start = cpu_s(master), monotonic()
        for number in range(turns):
            await turn(number)
        seconds = monotonic() - start
        note(f"measured-{at}", seconds=seconds, master_cpu_s=cpu_s(master) - before)


if __name__ == "__main__":
    uvloop.run({"above": above, "across": across}[sys.argv[1]]())
