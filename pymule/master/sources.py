"""What raises signals by itself: timers, cron entries and file monitors."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from pymule.master.ticker import Ticker
from pymule.sansio.timers import Timer, TimerId, TimerTable, check_timer
from pymule.sansio.verbs import JsonObject

__all__ = ("Sources",)

_TICK: Final = "tick"

Changed = Callable[[int, Iterable[str], bool], None]
"""Signal, paths, and whether they are all."""


class Sources:
    """The sources of all signals; each belongs to a signal, a timer also to an owner.

    Args:
        ticker: For the deadlines of timers.
        on_tick: Called with the signal that is due.
        on_changed: Called with the signal of a file monitor, and what changed.
    """

    def __init__(
        self,
        ticker: Ticker[tuple[str, int]],
        on_tick: Callable[[int], None],
        on_changed: Changed,
    ) -> None:
        self._ticker = ticker
        self._on_tick = on_tick
        self._on_changed = on_changed
        self._timers = TimerTable()
        # By signal, what its registration said.
        self._sources: dict[int, JsonObject] = {}

    @property
    def timers(self) -> Iterable[Timer]:
        """All timers that are armed."""
        return self._timers.timers.values()

    # With a signal

    def check(self, source: JsonObject) -> None:
        """Check what a registration asks for.

        Raises:
            ValueError: It cannot be.
        """
        match source.get("kind"):
            case "timer":
                _timer_of(source)
            case kind:
                raise ValueError(f"source of kind {kind!r}; allowed: 'timer'")

    def add(self, signal: int, source: JsonObject) -> None:
        """Let *source*, which was checked, raise *signal*."""
        self._sources[signal] = source
        every, iterations = _timer_of(source)
        self._arm(
            self._timers.add(
                signal, every, iterations, _owner_of(signal), time.monotonic()
            )
        )

    def remove(self, signal: int) -> None:
        """Nobody has a handler for *signal* any more, or another one."""
        if self._sources.pop(signal, None) is not None:
            self.owner_gone(_owner_of(signal))

    def describe(self, signal: int) -> JsonObject | None:
        """Return what raises *signal* by itself."""
        return self._sources.get(signal)

    # With an owner

    def add_timer(self, signal: int, value: JsonObject, owner: str) -> TimerId:
        """Arm a timer that a program sets; return its id.

        Raises:
            ValueError: It cannot be.
        """
        every, iterations = _timer_of(value)
        timer = self._timers.add(signal, every, iterations, owner, time.monotonic())
        self._arm(timer)
        return timer.id

    def cancel_timer(self, number: object) -> bool:
        """Disarm a timer; tell whether it was armed.

        Raises:
            ValueError: It is no id.
        """
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"timer {number!r}; allowed: the id of a timer")  # noqa: TRY004  (a peer's)
        self._ticker.disarm((_TICK, number))
        return self._timers.cancel(TimerId(number))

    def owner_restarts(self, owner: str) -> None:
        """The process of *owner* ended, and another will come."""
        self._timers.owner_restarts(owner)

    def settled(self, owner: str) -> None:
        """The new process of *owner* has set what it sets at its start."""
        self._disarm(self._timers.drop(owner, only_orphans=True))

    def owner_gone(self, owner: str) -> None:
        """The timers of *owner* end with it."""
        self._disarm(self._timers.drop(owner, only_orphans=False))

    # Time

    def due(self, kind: str, number: int) -> bool:
        """A deadline has come; tell whether it was one of ours."""
        if kind != _TICK:
            return False
        timer = self._timers.due(TimerId(number), time.monotonic())
        if timer is not None:
            if timer.left != 0:
                self._arm(timer)
            self._on_tick(timer.signal)
        return True

    def _arm(self, timer: Timer) -> None:
        self._ticker.arm((_TICK, timer.id), timer.next_at)

    def _disarm(self, timers: Iterable[TimerId]) -> None:
        for number in timers:
            self._ticker.disarm((_TICK, number))

    def close(self) -> None:
        """Raise nothing more."""


def _owner_of(signal: int) -> str:
    return f"signal{signal}"


def _timer_of(value: JsonObject) -> tuple[float, int]:
    """Return the seconds between two ticks, and how many there are.

    Raises:
        ValueError: They are none.
    """
    every, iterations = value.get("every"), value.get("iterations", 0)
    if isinstance(every, bool) or not isinstance(every, int | float):
        raise ValueError(f"every {every!r}; allowed: seconds")  # noqa: TRY004  (a peer's)
    if isinstance(iterations, bool) or not isinstance(iterations, int):
        raise ValueError(f"iterations {iterations!r}; allowed: an integer")  # noqa: TRY004  (a peer's)
    check_timer(every, iterations)
    return float(every), iterations
