"""What raises signals by itself: timers, cron entries and file monitors."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from pymule.master.filemon import FileMonitors
from pymule.master.logs import log
from pymule.master.ticker import Deadline, Ticker
from pymule.master.wallclock import WallClock
from pymule.master.zones import zone_of
from pymule.sansio.cron import MAX_TICKS, CronSpec, CronTable, Misfire
from pymule.sansio.timers import Timer, TimerId, TimerTable, check_timer
from pymule.sansio.verbs import JsonObject

__all__ = ("Sources",)

_LOGGER: Final = logging.getLogger("pymule.master")
_TICK: Final = "tick"
_KINDS: Final = ("timer", "cron", "filemon")
# In the key of a file monitor, before the number of its signal.
_PREFIX: Final = "signal:"


class Sources:
    """The sources of all signals; each belongs to a signal, a timer also to an owner.

    Args:
        ticker: For the deadlines of timers.
        monitors: Watch files, for others too.
        clock: Returns a clock on the wall that calls what it is given.
        on_tick: Called with the signal that is due.
    """

    def __init__(
        self,
        ticker: Ticker[Deadline],
        monitors: FileMonitors,
        clock: Callable[[Callable[[], None]], WallClock],
        on_tick: Callable[[int], None],
    ) -> None:
        self._ticker = ticker
        self._monitors = monitors
        self._on_tick = on_tick
        self._timers = TimerTable()
        self._crons: CronTable[int] = CronTable()
        self._clock = clock(self._crons_due)
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
            case "cron":
                _cron_of(source)
            case "filemon":
                _path_of(source)
            case kind:
                raise ValueError(f"source of kind {kind!r}; allowed: {_KINDS}")

    def add(self, signal: int, source: JsonObject) -> None:
        """Let *source*, which was checked, raise *signal*."""
        self._sources[signal] = source
        match source["kind"]:
            case "timer":
                self.add_timer(signal, source, _owner_of(signal))
            case "cron":
                spec, zone, misfire = _cron_of(source)
                now = datetime.now(UTC)
                self._crons.add(signal, spec, zone_of(zone), misfire, now)
                self._arm_clock()
            case _:
                path, is_recursive = _path_of(source)
                self._monitors.add(f"{_PREFIX}{signal}", path, recursive=is_recursive)

    def remove(self, signal: int) -> None:
        """Nobody has a handler for *signal* any more, or another one."""
        source = self._sources.pop(signal, None)
        match source and source["kind"]:
            case "timer":
                self.owner_gone(_owner_of(signal))
            case "cron":
                self._crons.remove(signal)
                self._arm_clock()
            case "filemon":
                self._monitors.remove(f"{_PREFIX}{signal}")
            case _:
                pass

    @staticmethod
    def signal_of(key: str) -> int | None:
        """Return the signal of the file monitor *key*, unless it is another's."""
        return int(key.removeprefix(_PREFIX)) if key.startswith(_PREFIX) else None

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

    def _crons_due(self) -> None:
        for signal, ticks in self._crons.pop_due(datetime.now(UTC)):
            if ticks == MAX_TICKS:
                log(
                    _LOGGER,
                    logging.WARNING,
                    "ticks missed",
                    signal=signal,
                    run=ticks,
                    reason="more were missed than are made up for",
                )
            for _ in range(ticks):
                self._on_tick(signal)
        self._arm_clock()

    def _arm_clock(self) -> None:
        due = self._crons.next_due()
        self._clock.arm(None if due is None else due.timestamp())

    def _arm(self, timer: Timer) -> None:
        self._ticker.arm((_TICK, timer.id), timer.next_at)

    def _disarm(self, timers: Iterable[TimerId]) -> None:
        for number in timers:
            self._ticker.disarm((_TICK, number))

    def close(self) -> None:
        """Raise nothing more."""
        self._clock.close()


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


def _cron_of(value: JsonObject) -> tuple[CronSpec, str | None, Misfire]:
    """Return the entry, the name of its zone, and what becomes of missed ticks.

    Raises:
        ValueError: They are none.
    """
    zone, misfire = value.get("tz"), value.get("misfire", "once")
    if zone is not None and not isinstance(zone, str):
        raise ValueError(f"tz {zone!r}; allowed: the name of a time zone, or null")
    # Not later, when nobody could be told.
    zone_of(zone)
    return CronSpec.from_json(value.get("spec")), zone, Misfire(misfire)


def _path_of(value: JsonObject) -> tuple[str, bool]:
    """Return the path to watch, and whether what is below it is, too.

    Raises:
        ValueError: It is none.
    """
    path = value.get("path")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise ValueError(f"path {path!r}; allowed: an absolute path")
    return path, value.get("recursive") is True
