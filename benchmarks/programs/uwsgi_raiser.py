"""Raises a signal under uWSGI, again and again: mule 2, by way of the master."""

import importlib
import signal
from time import monotonic, sleep

from benchmarks.marks import WARM_UP_TURNS, Marks
from benchmarks.notes import PERIOD_S, note, wait_for
from benchmarks.programs.uwsgi_signals import NUMBER

__all__ = ("drip",)

# Exists only inside uWSGI.
raise_signal = importlib.import_module("uwsgi").signal


def drip() -> None:
    """Raise it when its handler has run and everybody has gone to sleep again."""
    marks = Marks()
    latencies = []
    for turn in range(marks.size):
        if turn == WARM_UP_TURNS:
            note("warm")
            wait_for("go")
        raised = monotonic()
        raise_signal(NUMBER)
        sleep(PERIOD_S)
        while not marks[turn]:
            sleep(PERIOD_S)
        latencies.append(marks[turn] - raised)
    note("received", latencies=latencies[WARM_UP_TURNS:])


if __name__ == "__main__":
    drip()
    # A mule that returns is started again.
    signal.pause()
