"""NATS JetStream on one server, from PyPI, with its own asyncio client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.peers.nats_server import SERVER, nats_running
from benchmarks.stage import Stage

__all__ = ("BATCHED", "LAZY", "SYNCED", "VARIANTS", "JetStream")

_PROGRAM: Final = "benchmarks.programs.jetstream_pair"


@dataclass(frozen=True, slots=True)
class JetStream:
    """One way to run it.

    Attributes:
        sync_interval: When it syncs a stream's files, as its own configuration has it.
        is_at_its_best: Whether a flood is one of atomic batches, into a log; else it is
            one of messages, into a queue, from which those that are done are removed.
    """

    NAME: str
    sync_interval: str
    is_at_its_best: bool = False

    @contextmanager
    def start(self, stage: Stage, scenario: str) -> Iterator[int | None]:
        """Start everything; a receiver does the same in each scenario."""
        address = nats_running(
            stage,
            f"jetstream {{ store_dir: {str(stage.state)!r},"
            f" sync_interval: {self.sync_interval} }}\n",
        )
        retention = "limits" if self.is_at_its_best else "workqueue"
        stage.start_python(_PROGRAM, "receive", address, retention)
        # The stream must be there before somebody publishes.
        stage.wait("subscribed")
        role = f"{scenario}_batches" if self.is_at_its_best else scenario
        stage.start_python(_PROGRAM, role, address)
        yield stage.pid_of(SERVER)


# Its default is to sync after two minutes.
LAZY: Final = JetStream("JetStream", "2m")
SYNCED: Final = JetStream("JetStream, sync always", "always")
BATCHED: Final = JetStream(
    "JetStream, sync always, batches", "always", is_at_its_best=True
)
VARIANTS: Final = (LAZY, SYNCED, BATCHED)
