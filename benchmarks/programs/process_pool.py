"""``ProcessPoolExecutor``: this process submits, its child handles."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, wait
from time import monotonic, process_time
from typing import Final

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for
from benchmarks.tied import tie_to_parent

__all__ = ("flood", "handle")

_NUMBER: Final = int(os.environ[COUNT])
_seen = {"messages": 0, "size": 0, "cpu": 0.0}


def handle(message: bytes) -> None:
    """Do what a receiver does for each message."""
    _seen["messages"] += 1
    if _seen["messages"] <= WARM_UP:
        _seen["cpu"] = process_time()
        return
    _seen["size"] += len(message)
    if _seen["messages"] == WARM_UP + _NUMBER:
        cpu_s = process_time() - _seen["cpu"]
        note("received", at=monotonic(), size=_seen["size"], cpu_s=cpu_s)


def flood(pool: ProcessPoolExecutor) -> None:
    """Submit as fast as it goes, then wait for all results."""
    wait([pool.submit(handle, PAYLOAD) for _ in range(WARM_UP)])
    note("warm")
    wait_for("go")
    cpu, start = process_time(), monotonic()
    wait([pool.submit(handle, PAYLOAD) for _ in range(_NUMBER)])
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


if __name__ == "__main__":
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=tie_to_parent,
        initargs=(os.getpid(),),
    ) as one:
        flood(one)
