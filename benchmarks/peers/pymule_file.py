"""pymule, with a configuration file: how mules start, farms, bounds."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.peers.pymule import running_daemon
from benchmarks.stage import PeerError, Stage

__all__ = (
    "FORKSERVER",
    "SPAWN",
    "daemon_with",
    "method_keys",
    "refusal_of",
    "wait_until_ready",
)

SPAWN: Final = "spawn"
FORKSERVER: Final = "forkserver"

_LOOK_S: Final = 0.05
_ROOT: Final = Path(__file__).parents[2]


@contextmanager
def daemon_with(stage: Stage, text: str) -> Iterator[int]:
    """Run a daemon whose file has *text* behind its socket; yield its pid."""
    path = stage.folder / "pymule.toml"
    path.write_text(f"socket = {json.dumps(str(stage.socket))}\n{text}")
    with running_daemon(stage, "-c", str(path)) as pid:
        yield pid


def method_keys(method: str, *preload: str) -> str:
    """Return the lines of a file whose mules start by *method*, for its top."""
    if method == SPAWN:
        return ""
    return f"start_method = {json.dumps(method)}\npreload = {json.dumps(preload)}\n"


def wait_until_ready(stage: Stage, *, within: float) -> None:
    """Block until the daemon says that each mule is up or has failed once.

    Raises:
        PeerError: It does not, within so many seconds.
    """
    deadline = time.monotonic() + within
    while "pymuled ready" not in (stage.folder / "pymuled.log").read_text():
        if time.monotonic() > deadline:
            raise PeerError(f"not all mules are ready within {within:g} s")
        time.sleep(_LOOK_S)


def refusal_of(text: str) -> str | None:
    """Return why this pymule does not know a file with *text*, or ``None``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pymule.toml")
        path.write_text(text)
        words = (sys.executable, "-m", "pymule.cli.pymuled", "--check", "-c", str(path))
        done = subprocess.run(  # noqa: S603  (our own words, no shell)
            words, cwd=_ROOT, capture_output=True, check=False, text=True
        )
    return done.stderr.strip().partition("\n")[0] if done.returncode else None
