"""uWSGI's mules when messages come at planned instants: mule 2 sends to mule 1.

Blocking programs, as all of uWSGI's mules are. What the queue has no room for is
dropped and ``mule_msg`` returns ``False``, so it is asked again until it is taken.
"""

import importlib
import os
import signal
from time import monotonic

from benchmarks.notes import PAYLOAD, WARM_UP, note
from benchmarks.pace import Arrivals, due_blocking, phases

__all__ = ("echo", "receiver", "round_tripper", "sender")

# Exists only inside uWSGI.
uwsgi = importlib.import_module("uwsgi")


def sender() -> None:
    """Send what is due."""
    for _ in range(WARM_UP):
        _send(PAYLOAD, 1)
    for at, phase in enumerate(phases()):
        for message in due_blocking(at, phase):
            _send(message, 1)


def receiver() -> None:
    """Look at the clock at each message."""
    for _ in range(WARM_UP):
        uwsgi.mule_get_msg()
    note("warm")
    arrivals = Arrivals()
    while not arrivals.is_over:
        arrivals.add(uwsgi.mule_get_msg(), monotonic())


def echo() -> None:
    """Send back what comes."""
    while True:
        _send(uwsgi.mule_get_msg(), 2)


def round_tripper() -> None:
    """Send what is due, each message when the one before is back."""
    for _ in range(WARM_UP):
        _send(PAYLOAD, 1)
        uwsgi.mule_get_msg()
    note("warm")
    arrivals = Arrivals()
    for at, phase in enumerate(phases()):
        for message in due_blocking(at, phase):
            _send(message, 1)
            arrivals.add(uwsgi.mule_get_msg(), monotonic())


def _send(message: bytes, mule: int) -> None:
    while not uwsgi.mule_msg(message, mule):
        pass


if __name__ == "__main__":
    roles = (receiver, sender)
    if os.environ["PYMULE_BENCH_WAY"] == "back":
        roles = (echo, round_tripper)
    roles[uwsgi.mule_id() - 1]()
    # A mule that returns is started again.
    signal.pause()
