"""``multiprocessing.Queue``: this process sends, its child receives."""

# Queue takes no argument when the program runs, only for the type checker.
from __future__ import annotations

import multiprocessing
import os
from multiprocessing.queues import Queue
from time import monotonic, process_time

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for
from benchmarks.tied import tie_to_parent

__all__ = ("count", "flood")


def count(queue: Queue[bytes], parent: int) -> None:
    """Get a flood."""
    tie_to_parent(parent)
    number, size = int(os.environ[COUNT]), 0
    for _ in range(WARM_UP):
        queue.get()
    note("warm")
    cpu = process_time()
    for _ in range(number):
        size += len(queue.get())
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)


def flood(queue: Queue[bytes]) -> None:
    """Send as fast as it goes; a thread of the queue writes, and is waited for."""
    number = int(os.environ[COUNT])
    for _ in range(WARM_UP):
        queue.put(PAYLOAD)
    wait_for("go")
    cpu, start = process_time(), monotonic()
    for _ in range(number):
        queue.put(PAYLOAD)
    queue.close()
    queue.join_thread()
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pipe: Queue[bytes] = context.Queue()
    receiver = context.Process(target=count, args=(pipe, os.getpid()), daemon=True)
    receiver.start()
    flood(pipe)
    receiver.join()
