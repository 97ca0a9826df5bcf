"""The words of signals that mules and workers share with the master.

Apart from its machines, which they must not load.
"""

from enum import Enum, IntEnum
from typing import Final

__all__ = ("SIGNALS", "Outcome", "Overlap", "check_number")

SIGNALS: Final = 256
"""There are the signals 0 to 255."""


class Outcome(IntEnum):
    """How a handler went, as its process tells."""

    DONE = 0
    FAILED = 1
    RETURNED = 2


class Overlap(Enum):
    """What a tick does while the one before it is due or runs."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


def check_number(number: object) -> int:
    """Return *number* if a signal can have it.

    Raises:
        TypeError: It is no integer.
        ValueError: It is out of range.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"signal {number!r}; allowed: an integer from 0 to 255")
    if not 0 <= number < SIGNALS:
        raise ValueError(f"signal {number}; allowed: 0 to {SIGNALS - 1}")
    return number
