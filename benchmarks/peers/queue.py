"""``multiprocessing.Queue``: a pipe, a lock, pickle, and a thread that writes."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stage import Stage

__all__ = ("NAME", "start")

NAME = "multiprocessing.Queue"


@contextmanager
def start(stage: Stage, _scenario: str) -> Iterator[int | None]:
    """Start the sender, which starts the receiver."""
    stage.start_python("benchmarks.programs.queue_pair")
    yield None
