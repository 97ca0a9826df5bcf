"""ZeroMQ's sender and its receiver, in two processes, with its default limits.

A sender waits when a thousand messages are under way on either side; none is dropped.
"""

import asyncio
import importlib
import os
import signal
import sys
from time import monotonic, process_time
from typing import Any, Final

import uvloop

from benchmarks.notes import COUNT, FOLDER, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("receive", "receive_async", "send", "send_async")

# Exists only where the extra ``bench`` is.
zmq: Final = importlib.import_module("zmq")
_ADDRESS: Final = f"ipc://{os.environ[FOLDER]}/zmq"


def send() -> None:
    """Send as fast as it goes."""
    number = int(os.environ[COUNT])
    push = zmq.Context().socket(zmq.PUSH)
    push.connect(_ADDRESS)
    for _ in range(WARM_UP):
        push.send(PAYLOAD)
    wait_for("go")
    cpu, start = process_time(), monotonic()
    for _ in range(number):
        push.send(PAYLOAD)
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)
    # Not closed: a receiver without room would lose what the kernel still holds.
    signal.pause()


def receive() -> None:
    """Get a flood."""
    number, size = int(os.environ[COUNT]), 0
    pull = zmq.Context().socket(zmq.PULL)
    pull.bind(_ADDRESS)
    for _ in range(WARM_UP):
        pull.recv()
    note("warm")
    cpu = process_time()
    for _ in range(number):
        size += len(pull.recv())
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)


async def send_async() -> None:
    """Send as fast as it goes."""
    number = int(os.environ[COUNT])
    push = _context().socket(zmq.PUSH)
    push.connect(_ADDRESS)
    for _ in range(WARM_UP):
        await push.send(PAYLOAD)
    await asyncio.to_thread(wait_for, "go")
    cpu, start = process_time(), monotonic()
    for _ in range(number):
        await push.send(PAYLOAD)
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)
    await asyncio.Event().wait()


async def receive_async() -> None:
    """Get a flood."""
    number, size = int(os.environ[COUNT]), 0
    pull = _context().socket(zmq.PULL)
    pull.bind(_ADDRESS)
    for _ in range(WARM_UP):
        await pull.recv()
    note("warm")
    cpu = process_time()
    for _ in range(number):
        size += len(await pull.recv())
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)


# ``Any``: see above.
def _context() -> Any:
    return importlib.import_module("zmq.asyncio").Context()


if __name__ == "__main__":
    loops = {"send_async": send_async, "receive_async": receive_async}
    if (role := sys.argv[1]) in loops:
        uvloop.run(loops[role]())
    else:
        {"send": send, "receive": receive}[role]()
