"""NATS without JetStream: a subject, its own asyncio client, nothing acknowledged."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.nats_server import SERVER, nats_running
from benchmarks.stage import Stage

__all__ = ("NAME", "start")

NAME = "NATS core"

_PROGRAM = "benchmarks.programs.nats_core_pair"


@contextmanager
def start(stage: Stage, _scenario: str) -> Iterator[int | None]:
    """Start everything; yield the pid of the server."""
    address = nats_running(stage)
    stage.start_python(_PROGRAM, "receive", address)
    # What is published before somebody subscribed is gone.
    stage.wait("subscribed")
    stage.start_python(_PROGRAM, "send", address)
    yield stage.pid_of(SERVER)
