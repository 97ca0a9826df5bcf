"""Which jobs of a round are slow: its sender and the benchmark both know that."""

from typing import Final

from benchmarks.libraries.lines import SLOTS

__all__ = (
    "FAST_S",
    "PERIOD_S",
    "SLOW_EACH",
    "SLOW_S",
    "TOGETHER_S",
    "ideal_s",
    "is_fast",
    "nap_of",
)

TOGETHER_S: Final = 0.05
"""What each of the jobs takes that are sent together."""
FAST_S: Final = 0.001
SLOW_S: Final = 0.1
SLOW_EACH: Final = 10
"""Of the mixed jobs, every tenth is slow."""
PERIOD_S: Final = 0.0025
"""Between two mixed jobs, which keeps a bit more than half of the slots busy."""


def is_fast(place: int) -> bool:
    """Tell what the mixed job at this place is, from 0."""
    return place % SLOW_EACH != SLOW_EACH - 1


def nap_of(place: int) -> float:
    """Return how long the mixed job at this place takes."""
    return FAST_S if is_fast(place) else SLOW_S


def ideal_s(count: int) -> float:
    """Return how long so many jobs that are sent together take at least."""
    return -(-count // SLOTS) * TOGETHER_S
