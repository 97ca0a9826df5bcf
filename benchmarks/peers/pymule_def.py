"""pymule, with a handler that is a ``def``: the link hands it to a thread."""

from contextlib import AbstractContextManager

from benchmarks.peers import pymule
from benchmarks.stage import Stage

__all__ = ("NAME", "start")

NAME = "pymule, a def handler"


def start(stage: Stage, _scenario: str) -> AbstractContextManager[int | None]:
    """Start everything; only a raise has a handler."""
    return pymule.start(stage, "raise to a def")
