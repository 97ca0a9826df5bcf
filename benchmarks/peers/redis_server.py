"""A Redis server over its Unix socket, Debian's package: for peers that need one."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.stage import PeerError, Stage

__all__ = ("SERVER", "find", "redis_running", "versions")

SERVER: Final = "redis-server"
"""What a stage calls its process; ``stage.pid_of`` tells which it is."""

# make bench unpacks it beside Python, where nobody installed it.
_UNPACKED: Final = Path(sys.prefix, "redis", "usr")


def redis_running(stage: Stage, *words: str) -> Path:
    """Start a server that keeps nothing on the disk; return the path of its socket.

    The end of the stage ends it.

    Args:
        stage: Where.
        words: More of its options, as in ``"--appendonly", "yes"``; files go to the
            state of the stage.

    Raises:
        PeerError: There is no Redis here.
    """
    command = find()
    if command is None:
        raise PeerError("no redis-server here; Debian's package of this name has it")
    socket = stage.folder / "redis"
    where = ["--port", "0", "--unixsocket", str(socket), "--dir", str(stage.state)]
    stage.start(SERVER, *command, *where, "--save", "", *words)
    stage.wait_for_socket(socket)
    return socket


def find() -> tuple[str, ...] | None:
    """Return the words that start it, if it is there."""
    if (installed := shutil.which(SERVER)) is not None:
        return (installed,)
    unpacked = shutil.which(SERVER, path=str(_UNPACKED / "bin"))
    if unpacked is None:
        return None
    libraries = ":".join(map(str, (_UNPACKED / "lib").glob("*-linux-gnu*")))
    return ("env", f"LD_LIBRARY_PATH={libraries}", unpacked)


def versions() -> dict[str, str]:
    """Return the version of the server, if it is there."""
    command = find()
    if command is None:
        return {}
    words = [*command, "--version"]
    said = subprocess.check_output(words, text=True)  # noqa: S603  (our own words)
    # Redis server v=7.0.15 sha=... malloc=... bits=64 build=...
    return {"Redis": said.partition("v=")[2].split()[0]}
