"""One of several receivers or senders under uWSGI; the first mules receive."""

import importlib
import os
import signal
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, sleep

from benchmarks.notes import (
    COUNT,
    FOLDER,
    PAYLOAD,
    SCENARIO,
    WARM_UP,
    note,
    wait_for,
)
from benchmarks.shapes import Shape, Tally

__all__ = ("receive", "send")

# Exists only inside uWSGI.
uwsgi = importlib.import_module("uwsgi")
_SHAPE = Shape.parse(os.environ[SCENARIO])


def receive(mule: int) -> None:
    """Get what comes, from any farm, and tell how much that is."""
    mule_get_msg = uwsgi.mule_get_msg
    sizes, size = Tally(Path(os.environ[FOLDER]), _SHAPE.mules).sizes, 0
    note(f"up-{mule}")
    while True:
        size += len(mule_get_msg())
        sizes[mule] = size


def send(sender: int) -> None:
    """Send a share as fast as it goes."""
    wait_for("warm-up")
    _flood(_SHAPE.share(WARM_UP, sender))
    wait_for("go")
    start = monotonic()
    _flood(_SHAPE.share(int(os.environ[COUNT]), sender))
    note(f"sent-{sender}", start=start)


def _flood(number: int) -> None:
    # A farm by its name, as bytes: farm_msg would not say when the queue is full.
    farms: list[bytes | int] = [b"farm%d" % farm for farm in range(_SHAPE.farms)]
    mule_msg = uwsgi.mule_msg
    for target in islice(cycle(farms or [1]), number):
        while not mule_msg(PAYLOAD, target):
            sleep(0)


if __name__ == "__main__":
    if (number := uwsgi.mule_id()) <= _SHAPE.mules:
        receive(number - 1)
    send(number - 1 - _SHAPE.mules)
    # A mule that returns is started again.
    signal.pause()
