"""pymule: a daemon, a mule, and a client that sends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stage import Stage

__all__ = ("NAME", "daemon", "start")

NAME = "pymule"

_PROGRAMS = "benchmarks.programs.pymule_mule"
_RECEIVERS = {"flood": "count", "drip": "listen"}


@contextmanager
def daemon(stage: Stage, *programs: str) -> Iterator[int]:
    """Run a daemon with one mule for each of *programs*; yield its pid."""
    mules = [f"--mule={_PROGRAMS}:{program}" for program in programs]
    words = ["-m", "pymule.cli.pymuled", *mules, "--socket", str(stage.socket)]
    pid = stage.start("pymuled", sys.executable, *words)
    try:
        stage.wait_for_socket(stage.socket)
        yield pid
    finally:
        # At once: what is in the mules' hands is of no interest any more.
        stage.stop("pymuled", signal.SIGQUIT)


@contextmanager
def start(stage: Stage, scenario: str) -> Iterator[int | None]:
    """Start everything for *scenario*; yield the pid of the process in the middle."""
    with daemon(stage, _RECEIVERS[scenario]) as pid:
        stage.start_python("benchmarks.programs.pymule_sender", scenario)
        yield pid
