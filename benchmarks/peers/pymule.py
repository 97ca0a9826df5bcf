"""pymule: a daemon, a mule, and a client that sends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.shapes import Shape
from benchmarks.stage import Stage

__all__ = ("NAME", "daemon", "running_daemon", "share", "start")

NAME = "pymule"

_PROGRAMS = "benchmarks.programs.pymule_mule"
_APP = "benchmarks.programs.pymule_signals"
_RAISES = {"raise": 17, "raise to a def": 18}


@contextmanager
def daemon(stage: Stage, *programs: str, signal_only: int = 0) -> Iterator[int]:
    """Run a daemon with one mule for each of *programs*; yield its pid.

    Args:
        stage: Where.
        programs: Names in a module of ours.
        signal_only: How many mules come before them and have the signals' handlers.
    """
    mules = ["--mule"] * signal_only
    mules += [f"--mule={_PROGRAMS}:{program}" for program in programs]
    if signal_only:
        mules.append(f"--app={_APP}")
    with running_daemon(stage, *mules, "--socket", str(stage.socket)) as pid:
        yield pid


@contextmanager
def running_daemon(stage: Stage, *words: str) -> Iterator[int]:
    """Run ``pymuled`` with words that name the stage's socket; yield its pid."""
    pid = stage.start("pymuled", sys.executable, "-m", "pymule.cli.pymuled", *words)
    try:
        stage.wait_for_socket(stage.socket)
        yield pid
    finally:
        # At once: what is in the mules' hands is of no interest any more.
        stage.stop("pymuled", signal.SIGQUIT)


@contextmanager
def start(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start everything for *scenario*; yield the pid of the process in the middle."""
    if scenario in _RAISES:
        with daemon(stage, signal_only=1) as pid:
            number = str(_RAISES[scenario])
            stage.start_python("benchmarks.programs.pymule_raiser", number)
            yield pid
        return
    with daemon(stage, "count") as pid:
        stage.start_python("benchmarks.programs.pymule_sender", scenario)
        yield pid


@contextmanager
def share(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start all senders and mules of a shape; yield the pid of the daemon."""
    shape = Shape.parse(scenario)
    words = [f"--mule={_PROGRAMS}:share"] * shape.mules
    for farm in range(shape.farms):
        members = ",".join(str(mule + 1) for mule in shape.members(farm))
        words.append(f"--farm=farm{farm}:{members}")
    with running_daemon(stage, *words, "--socket", str(stage.socket)) as pid:
        for sender in range(shape.senders):
            stage.start_python("benchmarks.programs.pymule_shares", str(sender))
        yield pid
