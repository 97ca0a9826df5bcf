"""What sends jobs in each scenario, whichever library they are of."""

from typing import Final, Protocol

from benchmarks.stage import Stage

__all__ = ("Producing", "start_producer")

_PROGRAMS: Final = {
    "jobs": "benchmarks.programs.job_producer",
    "slow": "benchmarks.programs.slow_producer",
}


class Producing(Protocol):
    """A job library."""

    @property
    def module(self) -> str:
        """In ``benchmarks.libraries``."""

    def python(self) -> tuple[str, ...]:
        """Return the words that start a Python which has the library."""


def start_producer(stage: Stage, scenario: str, library: Producing) -> None:
    """Start what sends jobs through *library*.

    In the scenario ``web`` that is the web server, which the benchmark starts.
    """
    if scenario in _PROGRAMS:
        words = ("-m", _PROGRAMS[scenario], library.module)
        stage.start("producer", *library.python(), *words)
