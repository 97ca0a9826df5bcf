"""uWSGI mules, with a sender that gives up its core before it asks again.

Where cores are scarce, a sender that only asks again takes the receiver's; which of the
two is faster depends on the machine, so both are measured.
"""

from contextlib import AbstractContextManager

from benchmarks.peers import uwsgi
from benchmarks.stage import Stage

__all__ = ("NAME", "start")

NAME = "uWSGI, yielding"


def start(stage: Stage, _scenario: str) -> AbstractContextManager[int | None]:
    """Start everything; only a flood fills the queue."""
    return uwsgi.start(stage, "yielding flood")
