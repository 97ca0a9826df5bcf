"""Who of those that connect has a place.

Theory of operation. There are *limit* places. Admins, who are the *household*, may take
them all. Any other user may have as many as are still free: alone, half of them;
together with a second one that floods too, a third each. So whoever comes later finds
room. A few places more are for processes of the household that have none yet: a command
that asks how things are is such a process, also while another process of the same user
floods.
"""

from collections import Counter
from typing import Final

__all__ = ("SPARE_PLACES", "Occupancy")

SPARE_PLACES: Final = 8
"""Places beside *limit*, for newcomers of the household."""


class Occupancy:
    """Counts who is connected, by user and by process."""

    def __init__(self) -> None:
        self.taken = 0
        self._by_user: Counter[int] = Counter()
        self._by_process: Counter[int] = Counter()

    def refusal(
        self, uid: int, pid: int, limit: int, *, is_household: bool
    ) -> str | None:
        """Return why somebody has no place, or ``None``.

        Args:
            uid: Who.
            pid: Which process.
            limit: Places for everybody, now.
            is_household: Whether that is an admin.
        """
        free = limit - self.taken
        if is_household:
            spare = SPARE_PLACES if self.is_new(pid) else 0
            if free + spare > 0:
                return None
        elif free > self._by_user[uid]:
            return None
        elif free > 0:
            return (
                f"user {uid} has {self._by_user[uid]} connections and {free} are left;"
                f" max_clients is {limit}"
            )
        return f"{self.taken} clients are connected; max_clients is {limit}"

    def is_new(self, pid: int) -> bool:
        """Whether a process has no place yet."""
        return not self._by_process[pid]

    def has_many(self, pid: int) -> bool:
        """Whether a process has more than one place."""
        return self._by_process[pid] > 1

    def take(self, uid: int, pid: int) -> None:
        """Somebody has a place now."""
        self.taken += 1
        self._by_user[uid] += 1
        self._by_process[pid] += 1

    def leave(self, uid: int, pid: int) -> None:
        """Somebody who had a place left."""
        self.taken -= 1
        for counter, key in ((self._by_user, uid), (self._by_process, pid)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
