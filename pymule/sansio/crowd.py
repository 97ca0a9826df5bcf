"""What all clients together have in transit, and who has too much of it.

In transit is what the master keeps for a client beside the queues: bytes of a frame
that is not whole, batches that wait for their answer, answers that were not read. When
half of the limit is in use, nothing more is read from those who have more than an equal
share of the other half; so the limit holds, and a client that has little in transit is
not concerned by what others do.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ("Crowd",)

# Of half of the limit: below that, those who were held back are let go.
_RELIEF: Final = 0.75

K = TypeVar("K", bound=Hashable)


class Crowd(Generic[K]):
    """How much each client has in transit.

    What waits for an answer is counted elsewhere and comes as an argument.

    Args:
        limit: Bytes for all of them.
    """

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._half = limit / 2
        self._weights: dict[K, int] = {}

    def is_too_heavy(self, key: K, weight: int, waiting: int, all_waiting: int) -> bool:
        """Note the *weight* of *key*; return whether it has to be held back.

        Args:
            key: A client.
            weight: What it has in transit, in bytes, that does not wait.
            waiting: What waits for its answer.
            all_waiting: The same of all clients.
        """
        self.total += weight - self._weights.get(key, 0)
        self._weights[key] = weight
        if self.total + all_waiting <= self._half:
            return False
        return weight + waiting > self._half / len(self._weights)

    def is_relieved(self, all_waiting: int) -> bool:
        """Whether those who were held back can go on."""
        return self.total + all_waiting < self._half * _RELIEF

    def forget(self, key: K) -> None:
        """A client is gone."""
        self.total -= self._weights.pop(key, 0)
