"""Several of ZeroMQ's senders and receivers: a socket for each farm, or for all."""

import importlib
import os
import signal
import sys
from itertools import cycle, islice
from pathlib import Path
from time import monotonic
from typing import Any, Final

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

# Exists only where the extra ``bench`` is.
zmq: Final = importlib.import_module("zmq")
_FOLDER: Final = Path(os.environ[FOLDER])
_SHAPE: Final = Shape.parse(os.environ[SCENARIO])


def send(sender: int) -> None:
    """Send a share as fast as it goes."""
    context = zmq.Context()
    farms = range(_SHAPE.farms) or [0]
    pushes = [_connected(context, _SHAPE.members(farm)) for farm in farms]
    wait_for("warm-up")
    for push in islice(cycle(pushes), _SHAPE.share(WARM_UP, sender)):
        push.send(PAYLOAD)
    wait_for("go")
    start = monotonic()
    for push in islice(cycle(pushes), _SHAPE.share(int(os.environ[COUNT]), sender)):
        push.send(PAYLOAD)
    note(f"sent-{sender}", start=start)
    # Not closed: a receiver without room would lose what the kernel still holds.
    signal.pause()


def receive(mule: int) -> None:
    """Get what comes."""
    pull = zmq.Context().socket(zmq.PULL)
    pull.bind(_address(mule))
    sizes, size = Tally(_FOLDER, _SHAPE.mules).sizes, 0
    note(f"up-{mule}")
    while True:
        size += len(pull.recv())
        sizes[mule] = size


def _address(mule: int) -> str:
    return f"ipc://{_FOLDER}/zmq-{mule}"


# ``Any``: see above.
def _connected(context: Any, mules: list[int]) -> Any:
    push = context.socket(zmq.PUSH)
    for mule in mules:
        push.connect(_address(mule))
    return push


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](int(sys.argv[2]))
