"""Timers that raise signals: when each ticks next, and whose it is.

The nth tick of a timer is planned at ``start + n * every`` and never moves, however
late the one before was. Ticks that nobody could deliver in time, because the master
was stopped or suspended, become one.

A timer has an *owner*: a mule or a worker that set it in its program, or nobody. When
its process ends it is an *orphan* and ticks on; the successor that sets the same timer
adopts it, with its plan, so that a restart neither loses nor doubles a tick.
"""

from typing import Final, NewType

from pymule.sansio.slots import slots

__all__ = (
    "MAX_EVERY_S",
    "MAX_TIMERS",
    "MIN_EVERY_S",
    "Timer",
    "TimerId",
    "TimerTable",
    "check_timer",
)

TimerId = NewType("TimerId", int)
"""Number of a timer, never used twice by one master."""

MAX_EVERY_S: Final = 1e9
"""Longest time between two ticks, 31 years: an instant that can be waited for."""
MIN_EVERY_S: Final = 0.001
"""Shortest time between two ticks: one tick of the wheel."""
# What JSON readers of the status take.
_MAX_ITERATIONS: Final = 2**53

MAX_TIMERS: Final = 100_000
"""Timers of all owners together."""


@slots(eq=False)
class Timer:
    """A timer that is armed.

    Args:
        id: Its number.
        signal: What it raises.
        every: Seconds from tick to tick; 0 for one tick at once.
        left: How many ticks are left; ``None`` for no end.
        owner: ``muleN``, ``workerN``, or ``""``.
        next_at: When the next tick is planned, monotonic seconds.
    """

    id: TimerId
    signal: int
    every: float
    left: int | None
    owner: str
    next_at: float
    start: float
    iterations: int
    ticks: int = 0
    # Ticks that were so late that the one after was due as well.
    missed: int = 0
    is_orphan: bool = False


class TimerTable:
    """All timers of a master."""

    def __init__(self) -> None:
        self.timers: dict[TimerId, Timer] = {}
        self._owned: dict[str, dict[TimerId, None]] = {}
        # By what they are, those whose process ended.
        self._orphans: dict[tuple[str, int, float, int], list[TimerId]] = {}
        self._last_id = 0

    def add(
        self, signal: int, every: float, iterations: int, owner: str, now: float
    ) -> Timer:
        """Arm a timer, or adopt the same one of the owner's last process.

        Args:
            signal: What it raises.
            every: Seconds from now to its first tick, and from tick to tick.
            iterations: How often it ticks; 0 is without end.
            owner: Whose it is.
            now: Monotonic seconds.

        Raises:
            ValueError: It would tick without a pause, or less than never, or be one
                too many.
        """
        check_timer(every, iterations)
        if orphans := self._orphans.get((owner, signal, every, iterations)):
            timer = self.timers[orphans.pop()]
            timer.is_orphan = False
            return timer
        if len(self.timers) >= MAX_TIMERS:
            raise ValueError(f"{MAX_TIMERS} timers are armed; no more are allowed")
        self._last_id += 1
        timer = Timer(
            TimerId(self._last_id),
            signal,
            every,
            iterations or None,
            owner,
            now + every,
            now,
            iterations,
        )
        self.timers[timer.id] = timer
        if owner:
            self._owned.setdefault(owner, {})[timer.id] = None
        return timer

    def due(self, number: TimerId, now: float) -> Timer | None:
        """A timer ticks; return it, with its next tick planned.

        It is gone from the table after its last tick. ``None`` for one that was
        cancelled, or is not due yet.
        """
        timer = self.timers.get(number)
        if timer is None or timer.next_at > now:
            return None
        timer.ticks += 1
        if timer.left is not None:
            timer.left -= 1
        if timer.left == 0:
            self._forget(timer)
            return timer
        # Counted from the start, so that no error adds up.
        planned = int((now - timer.start) / timer.every) + 1
        if timer.start + planned * timer.every <= now:
            planned += 1
        timer.missed += planned - timer.ticks - timer.missed - 1
        timer.next_at = timer.start + planned * timer.every
        return timer

    def cancel(self, number: TimerId) -> bool:
        """Disarm a timer; tell whether it was armed."""
        timer = self.timers.get(number)
        if timer is not None:
            self._forget(timer)
        return timer is not None

    def owner_restarts(self, owner: str) -> None:
        """A process of *owner* ended and another will come."""
        for number in self._owned.get(owner, ()):
            timer = self.timers[number]
            if not timer.is_orphan:
                timer.is_orphan = True
                self._orphans.setdefault(_key(timer), []).append(number)

    def drop(self, owner: str, *, only_orphans: bool) -> list[TimerId]:
        """Disarm the timers of *owner*, or those that nobody adopted; return them."""
        gone = [
            self.timers[number]
            for number in self._owned.get(owner, ())
            if self.timers[number].is_orphan or not only_orphans
        ]
        for timer in gone:
            self._forget(timer)
        return [timer.id for timer in gone]

    def _forget(self, timer: Timer) -> None:
        del self.timers[timer.id]
        if timer.is_orphan:
            self._orphans[_key(timer)].remove(timer.id)
        if timer.owner:
            owned = self._owned[timer.owner]
            del owned[timer.id]
            if not owned:
                del self._owned[timer.owner]


def _key(timer: Timer) -> tuple[str, int, float, int]:
    return timer.owner, timer.signal, timer.every, timer.iterations


def check_timer(every: float, iterations: int) -> None:
    """Check what is asked of a timer.

    Raises:
        ValueError: It would tick without a pause, never, or less than never.
    """
    if not 0 <= iterations <= _MAX_ITERATIONS:
        raise ValueError(
            f"{iterations} iterations; allowed: from 0, which has no end, to"
            f" {_MAX_ITERATIONS}"
        )
    if every == 0 and iterations == 1:
        return
    if not MIN_EVERY_S <= every <= MAX_EVERY_S:
        raise ValueError(
            f"a timer of {every} seconds; allowed: from {MIN_EVERY_S} to"
            f" {MAX_EVERY_S:.0f}, or 0 for one iteration"
        )
