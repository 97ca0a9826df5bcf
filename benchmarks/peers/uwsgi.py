"""uWSGI mules, from PyPI: one mule sends to the other; nothing is in the middle."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.shapes import Shape
from benchmarks.stage import PeerError, Stage

__all__ = ("NAME", "share", "start")

NAME = "uWSGI mules"

_ROOT = Path(__file__).parents[2]
_PROGRAMS = _ROOT / "benchmarks" / "programs"


@contextmanager
def start(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start everything; the programs read the scenario from their environment."""
    is_yielding = scenario.startswith("yielding")
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
    _run(stage, f"--env=PYMULE_BENCH_YIELD={int(is_yielding)}", *mules)
    yield None


@contextmanager
def share(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start all processes of a shape; senders give up their core to wait."""
    shape = Shape.parse(scenario)
    words = [f"--mule={_PROGRAMS / 'uwsgi_shares.py'}"] * (shape.mules + shape.senders)
    for farm in range(shape.farms):
        members = ",".join(str(mule + 1) for mule in shape.members(farm))
        words.append(f"--farm=farm{farm}:{members}")
    _run(stage, *words)
    yield None


def _run(stage: Stage, *words: str) -> None:
    beside_python = Path(sys.executable).parent
    uwsgi = shutil.which("uwsgi", path=str(beside_python)) or shutil.which("uwsgi")
    if uwsgi is None:
        raise PeerError("no uwsgi here; the extra 'bench' installs it")
    # Quiet, because it prints a line at each message that finds the queue full: that
    # would measure the disk.
    stage.start(
        "uwsgi",
        uwsgi,
        "--master",
        "--no-orphans",
        f"--socket={stage.socket}",
        f"--virtualenv={sys.prefix}",
        f"--pythonpath={_ROOT}",
        *words,
        is_quiet=True,
    )
    # Nobody stops it: SIGTERM means reload to it, for ever. The end of the stage kills
    # the group.
