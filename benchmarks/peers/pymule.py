"""pymule: a daemon, a mule, and a client that sends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stage import Stage

__all__ = ("NAME", "daemon", "running_daemon", "start")

NAME = "pymule"

_PROGRAMS = "benchmarks.programs.pymule_mule"
_APP = "benchmarks.programs.pymule_signals"
_RECEIVERS = {"flood": "count", "drip": "listen"}
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
    with daemon(stage, _RECEIVERS[scenario]) as pid:
        stage.start_python("benchmarks.programs.pymule_sender", scenario)
        yield pid
