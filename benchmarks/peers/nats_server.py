"""A NATS server, from PyPI, on a port of its own: for the peers that need one."""

import json
import shutil
import sys
from pathlib import Path
from typing import Final

from benchmarks.stage import PeerError, Stage

__all__ = ("SERVER", "nats_running")

SERVER: Final = "nats"
"""What a stage calls its process."""


def nats_running(stage: Stage, more: str = "") -> str:
    """Start a server; return its address. The end of the stage ends it.

    Args:
        stage: Where.
        more: Lines of its configuration.

    Raises:
        PeerError: There is no server here.
    """
    beside_python = Path(sys.executable).parent
    server = shutil.which("nats-server", path=str(beside_python))
    server = server or shutil.which("nats-server")
    if server is None:
        raise PeerError("no nats-server here; the extra 'bench' installs it")
    config = stage.folder / "nats.conf"
    where = f"ports_file_dir: {str(stage.folder)!r}"
    config.write_text(f"host: 127.0.0.1\nport: -1\n{where}\n{more}")
    stage.start(SERVER, server, "-c", str(config))
    stage.wait_for_file("nats-server_*.ports")
    ports = next(stage.folder.glob("nats-server_*.ports"))
    return str(json.loads(ports.read_text())["nats"][0])
