"""uWSGI mules, from PyPI: one mule sends to the other; nothing is in the middle."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.stage import PeerError, Stage

__all__ = ("NAME", "start")

NAME = "uWSGI mules"

_ROOT = Path(__file__).parents[2]
_PROGRAMS = _ROOT / "benchmarks" / "programs"


@contextmanager
def start(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start everything; the programs read the scenario from their environment."""
    is_yielding = scenario.startswith("yielding")
    beside_python = Path(sys.executable).parent
    uwsgi = shutil.which("uwsgi", path=str(beside_python)) or shutil.which("uwsgi")
    if uwsgi is None:
        raise PeerError("no uwsgi here; the extra 'bench' installs it")
    if scenario == "raise":
        # Mule 1 has no program of its own: it only runs handlers.
        mules = [
            "--import=benchmarks.programs.uwsgi_signals",
            "--mule",
            f"--mule={_PROGRAMS / 'uwsgi_raiser.py'}",
        ]
    else:
        mules = [
            f"--mule={_PROGRAMS / 'uwsgi_receiver.py'}",
            f"--mule={_PROGRAMS / 'uwsgi_sender.py'}",
        ]
    # Quiet, because it prints a line at each message that finds the queue full: that
    # would measure the disk.
    stage.start(
        "uwsgi",
        uwsgi,
        "--master",
        "--no-orphans",
        f"--env=PYMULE_BENCH_YIELD={int(is_yielding)}",
        f"--socket={stage.socket}",
        f"--virtualenv={sys.prefix}",
        f"--pythonpath={_ROOT}",
        *mules,
        is_quiet=True,
    )
    # It is not stopped here: SIGTERM means reload to it, for ever. The end of the
    # stage kills the group.
    yield None
