"""The receiver under uWSGI: mule 1."""

import importlib
import os
import signal
from time import monotonic, process_time

from benchmarks.notes import COUNT, WARM_UP, note

__all__ = ("count",)

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


if __name__ == "__main__":
    count()
    # A mule that returns is started again.
    signal.pause()
