"""How long somebody is held back who makes much work for the master.

Some work serves the one who asks and nobody else: to say how things are, to refuse what
finds no room, to read thousands of tiny frames, to greet a process again and again. It
is *dear*. Whoever causes dear work while others have work too is held back after it, so
that all dear work together takes no more than a tenth of the master's time. Alone,
nobody is held back; nor is the first question of anybody, so a command is always
answered at once.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ("Pace",)

# Seconds of rest for each second of work.
_REST: Final = 9.0
_MAX_REST_S: Final = 60.0
# So long after somebody else had work, there may be more of it: a process with many
# connections gives others a turn only when all of these had theirs.
_COMPANY_S: Final = 10.0
# Of the others nothing is known, and their next question is a first one.
_REMEMBERED: Final = 1024

K = TypeVar("K", bound=Hashable)


class Pace(Generic[K]):
    """Who did dear work lately, and when more of it may be done."""

    def __init__(self) -> None:
        # By who did dear work: the turn in which they had their last work, and until
        # when they are not alone.
        self._last: OrderedDict[K, tuple[int, float]] = OrderedDict()
        self._free_at = 0.0

    def worked(
        self, key: K, turn: int, seconds: float, now: float, *, is_dear: bool
    ) -> float:
        """Note work; return for how many seconds *key* is to be held back.

        Args:
            key: For whom.
            turn: Number of this turn of work; those of others are counted in between.
            seconds: What it took.
            now: Monotonic seconds.
            is_dear: Whether it served nobody else.
        """
        last, company_until = self._last.get(key, (turn, 0.0))
        if key not in self._last:
            if is_dear:
                self._remember(key, turn)
            return 0.0
        if turn - last > 1:
            company_until = now + _COMPANY_S
        self._last[key] = turn, company_until
        self._last.move_to_end(key)
        if not is_dear or now >= company_until:
            return 0.0
        latest = now + _MAX_REST_S
        self._free_at = min(max(self._free_at, now) + seconds * _REST, latest)
        return self._free_at - now

    def _remember(self, key: K, turn: int) -> None:
        self._last[key] = turn, 0.0
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
