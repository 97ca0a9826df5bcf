"""``ProcessPoolExecutor`` with one process and a submit for each message."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stage import Stage

__all__ = ("NAME", "start")

NAME = "ProcessPoolExecutor"


@contextmanager
def start(stage: Stage, _scenario: str) -> Iterator[int | None]:
    """Start the sender, which starts the receiver."""
    stage.start_python("benchmarks.programs.process_pool")
    yield None
