"""The receiver under uWSGI: mule 1."""

import importlib
import os
import signal
from time import monotonic, process_time

from benchmarks.notes import COUNT, SCENARIO, WARM_UP, latency_of, lateness_of, note

__all__ = ("count", "listen")

# Exists only inside uWSGI.
mule_get_msg = importlib.import_module("uwsgi").mule_get_msg


def count() -> None:
    """Get a flood, as the manual shows it."""
    number, size = int(os.environ[COUNT]), 0
    for _ in range(WARM_UP):
        mule_get_msg()
    note("warm")
    cpu = process_time()
    for _ in range(number):
        size += len(mule_get_msg())
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)


def listen() -> None:
    """Get a drip, and look at the clock at each message."""
    number = int(os.environ[COUNT])
    latencies, lateness = [], []
    for _ in range(WARM_UP):
        mule_get_msg()
    note("warm")
    for _ in range(number):
        message = mule_get_msg()
        latencies.append(latency_of(message, monotonic()))
        lateness.append(lateness_of(message))
    note("received", latencies=latencies, lateness=lateness)


if __name__ == "__main__":
    {"flood": count, "drip": listen}[os.environ[SCENARIO]]()
    # A mule that returns is started again.
    signal.pause()
