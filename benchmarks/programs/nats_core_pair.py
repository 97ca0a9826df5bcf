"""NATS's sender and its receiver, in two processes, on uvloop.

``python -m benchmarks.programs.nats_core_pair ROLE ADDRESS``.
"""

import asyncio
import importlib
import os
import sys
from time import monotonic, process_time
from typing import Any, Final

import uvloop

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("receive", "send")

_SUBJECT: Final = "bench"


async def send(address: str) -> None:
    """Publish as fast as it goes, then wait until the server has all."""
    client = await _connect(address)
    await _publish(client, WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    cpu, start = process_time(), monotonic()
    await _publish(client, int(os.environ[COUNT]))
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


async def receive(address: str) -> None:
    """Handle each message in the callback of the subscription."""
    number = int(os.environ[COUNT])
    messages, size, cpu = 0, 0, 0.0

    async def handle(message: Any) -> None:
        nonlocal messages, size, cpu
        messages += 1
        if messages <= WARM_UP:
            if messages == WARM_UP:
                note("warm")
                cpu = process_time()
            return
        size += len(message.data)
        if messages == WARM_UP + number:
            note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)

    client = await _connect(address)
    # No limit: its client drops what is above it, and a message that is lost fails the
    # round.
    await client.subscribe(
        _SUBJECT, cb=handle, pending_msgs_limit=-1, pending_bytes_limit=-1
    )
    await client.flush()
    note("subscribed")
    await asyncio.Event().wait()


# ``Any``: the client is there only when the extra ``bench`` is.
async def _connect(address: str) -> Any:
    return await importlib.import_module("nats").connect(address)


async def _publish(client: Any, number: int) -> None:
    for _ in range(number):
        await client.publish(_SUBJECT, PAYLOAD)
    await client.flush()


if __name__ == "__main__":
    roles = {"send": send, "receive": receive}
    uvloop.run(roles[sys.argv[1]](sys.argv[2]))
