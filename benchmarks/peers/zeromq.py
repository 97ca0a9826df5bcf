"""ZeroMQ, from PyPI: PUSH to PULL over a Unix socket, nobody in the middle."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.shapes import Shape
from benchmarks.stage import Stage

__all__ = ("ASYNC", "BLOCKING", "VARIANTS", "ZeroMQ", "share")


@dataclass(frozen=True, slots=True)
class ZeroMQ:
    """One of its two interfaces.

    Attributes:
        suffix: Of the names of roles.
    """

    NAME: str
    suffix: str

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start the receiver and the sender; neither waits for the other."""
        program = "benchmarks.programs.zeromq_pair"
        stage.start_python(program, f"receive{self.suffix}")
        stage.start_python(program, f"send{self.suffix}")
        yield None


BLOCKING: Final = ZeroMQ("ZeroMQ, blocking", "")
ASYNC: Final = ZeroMQ("ZeroMQ, asyncio", "_async")
VARIANTS: Final = (BLOCKING, ASYNC)


@contextmanager
def share(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start all senders and receivers of a shape, with the blocking interface."""
    shape = Shape.parse(scenario)
    program = "benchmarks.programs.zeromq_shares"
    for mule in range(shape.mules):
        stage.start_python(program, "receive", str(mule))
    for sender in range(shape.senders):
        stage.start_python(program, "send", str(sender))
    yield None
