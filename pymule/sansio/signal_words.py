"""The words of signals that mules and workers share with the master.

Apart from its machines, which they must not load.
"""

from enum import Enum, IntEnum
from typing import Final

__all__ = ("SIGNALS", "Outcome", "Overlap")

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
