"""How long somebody is held back who makes much work for the master.

Some work serves the one who asks and nobody else: to say how things are, to refuse what
finds no room, to read thousands of tiny frames. It is *dear*. Whoever causes dear work
while others have work too is held back after it, so that all dear work together takes
no more than a tenth of the master's time. Alone, nobody is held back; nor is the first
question of anybody, so a command is always answered at once.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ("Pace",)

# Seconds of rest for each second of work.
_REST: Final = 9.0
_MAX_REST_S: Final = 1.0

K = TypeVar("K", bound=Hashable)


class Pace(Generic[K]):
    """Who did dear work, and who is held back for it."""

    def __init__(self) -> None:
        # By who did dear work: the turn in which they had their last work.
        self._last: dict[K, int] = {}
        self._resting: set[K] = set()

    def worked(self, key: K, turn: int, seconds: float, *, is_dear: bool) -> float:
        """Note work; return for how many seconds *key* is to be held back.

        If that is not zero, call :meth:`rested` afterwards.

        Args:
            key: For whom.
            turn: Number of this turn of work; those of others are counted in between.
            seconds: What it took.
            is_dear: Whether it served nobody else.
        """
        last = self._last.get(key)
        if last is None and not is_dear:
            return 0.0
        self._last[key] = turn
        if last is None or not is_dear or turn - last <= 1:
            return 0.0
        self._resting.add(key)
        # Those who rest have all worked, so they share the tenth.
        return min(seconds * _REST * len(self._resting), _MAX_REST_S)

    def rested(self, key: K) -> None:
        """The rest is over."""
        self._resting.discard(key)

    def forget(self, key: K) -> None:
        """*key* is gone."""
        self._last.pop(key, None)
        self._resting.discard(key)
