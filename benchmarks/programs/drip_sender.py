"""pymule's senders of messages at planned instants, outside of the mules."""

import asyncio
import sys

import uvloop

from benchmarks.notes import PAYLOAD, WARM_UP
from benchmarks.pace import due, due_blocking, phases
from pymule import flush, mule_msg, sync

__all__ = ("sender", "sender_blocking")


async def sender() -> None:
    """Send what is due to mule 1, on uvloop."""
    for _ in range(WARM_UP):
        await mule_msg(PAYLOAD, 1, confirm=False)
    await flush()
    for at, phase in enumerate(phases()):
        async for message in due(at, phase):
            await mule_msg(message, 1, confirm=False)
    # The last bytes leave in the next turn of the loop.
    await asyncio.Event().wait()


def sender_blocking() -> None:
    """Send what is due to mule 1, each message when the one before is confirmed."""
    for _ in range(WARM_UP):
        sync.mule_msg(PAYLOAD, 1)
    for at, phase in enumerate(phases()):
        for message in due_blocking(at, phase):
            sync.mule_msg(message, 1)


if __name__ == "__main__":
    if sys.argv[1] == "blocking":
        sender_blocking()
    else:
        uvloop.run(sender())
