"""The sender under uWSGI: mule 2, which hands messages to mule 1.

When mule 1's queue is full, ``mule_msg`` returns ``False`` and drops the message, so a
sender that wants to lose nothing has to ask again until it is taken.
"""

import importlib
import os
import signal
from time import monotonic, process_time, sleep

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("flood",)

# Exists only inside uWSGI.
mule_msg = importlib.import_module("uwsgi").mule_msg


def flood() -> None:
    """Send as fast as it goes."""
    number = int(os.environ[COUNT])
    _warm_up()
    cpu, start = process_time(), monotonic()
    if os.environ["PYMULE_BENCH_YIELD"] == "1":
        for _ in range(number):
            while not mule_msg(PAYLOAD, 1):
                sleep(0)
    else:
        for _ in range(number):
            while not mule_msg(PAYLOAD, 1):
                pass
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


def _warm_up() -> None:
    for _ in range(WARM_UP):
        while not mule_msg(PAYLOAD, 1):
            pass
    wait_for("go")


if __name__ == "__main__":
    flood()
    # A mule that returns is started again.
    signal.pause()
