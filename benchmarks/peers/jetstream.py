"""NATS JetStream on one server, from PyPI, with its own asyncio client."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.stage import PeerError, Stage

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
        beside_python = Path(sys.executable).parent
        server = shutil.which("nats-server", path=str(beside_python))
        server = server or shutil.which("nats-server")
        if server is None:
            raise PeerError("no nats-server here; the extra 'bench' installs it")
        config = stage.folder / "nats.conf"
        config.write_text(
            f"host: 127.0.0.1\nport: -1\nports_file_dir: {str(stage.folder)!r}\n"
            f"jetstream {{ store_dir: {str(stage.state)!r},"
            f" sync_interval: {self.sync_interval} }}\n"
        )
        pid = stage.start("nats", server, "-c", str(config))
        stage.wait_for_file("nats-server_*.ports")
        retention = "limits" if self.is_at_its_best else "workqueue"
        stage.start_python(_PROGRAM, "receive", retention)
        # The stream must be there before somebody publishes.
        stage.wait("subscribed")
        role = f"{scenario}_batches" if self.is_at_its_best else scenario
        stage.start_python(_PROGRAM, role)
        yield pid


# Its default is to sync after two minutes.
LAZY: Final = JetStream("JetStream", "2m")
SYNCED: Final = JetStream("JetStream, sync always", "always")
BATCHED: Final = JetStream(
    "JetStream, sync always, batches", "always", is_at_its_best=True
)
VARIANTS: Final = (LAZY, SYNCED, BATCHED)
