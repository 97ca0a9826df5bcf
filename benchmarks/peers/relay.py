"""A bare uvloop relay: what two hops cost when nothing is done in the middle."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stage import Stage

__all__ = ("NAME", "start")

NAME = "bare relay"

_PROGRAM = "benchmarks.programs.relay"


@contextmanager
def start(stage: Stage, _scenario: str) -> Iterator[int | None]:
    """Start receiver, relay and client, each when its predecessor listens."""
    stage.start_python(_PROGRAM, "receiver")
    stage.wait_for_socket(stage.folder / "end")
    pid = stage.start_python(_PROGRAM, "relay")
    stage.wait_for_socket(stage.folder / "middle")
    stage.start_python(_PROGRAM, "client")
    yield pid
