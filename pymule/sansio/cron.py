"""When cron entries are due, and how often they tick.

Two ways to write one, with different rules:

- five fields as in crontab(5): ``"30 2 * * mon-fri"``;
- uWSGI's five integers: ``(30, 2, -1, -1, -1)``. A number from 0 on is meant exactly,
  -1 is any, and -n every value that n divides: day -2 is 2, 4, 6 and so on, where
  ``*/2`` is 1, 3, 5.

When day and weekday are both given, one of them is enough. In crontab(5) a field is not
given if it begins with ``*``, with uWSGI if it is negative; then both must match.

Where clocks change, both do as Debian's cron. An entry whose minute or hour is ``*``,
``*/n`` or negative follows the clock on the wall: what it skips does not run, what it
repeats runs twice. Any other is meant for a time of the day: one that is skipped runs
right after the gap, once, and one that is repeated runs the first time only.

cronsim knows the rules of crontab(5) and finds the minutes of the wall clock; the zone
is applied here. By itself cronsim 2.8 misses the beginning of an hour where clocks move
by half an hour (Lord Howe), and during a repeated hour it may answer with the past.

Source: Debian's cron(8), "Notes", for changes of the clock; uWSGI
``core/master_utils.c``, ``uwsgi_cron_task_needs_execution``, for the integers.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from cronsim import CronSim, CronSimError

__all__ = ("MAX_TICKS", "CronSpec", "CronTable", "Misfire")

K = TypeVar("K", bound=Hashable)

MAX_TICKS: Final = 1440
"""Most ticks of one entry at a time, a day of minutes; what exceeds it is lost."""

_MINUTE: Final = timedelta(minutes=1)
_LATE: Final = timedelta(seconds=60)
# Debian's cron, too, takes less for a correction and more for another time.
_OTHER_TIME: Final = timedelta(hours=3)
# What datetime can tell apart.
_RESOLUTION: Final = timedelta(microseconds=1)
# Four times as long as five fields that list every value.
_MAX_TEXT: Final = 1500
# From here all 28 years of weekdays and leap days come before the century's exception.
_ANY_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001  (of the clock on the wall)

_ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(NamedTuple):
    """What one of the five may be: in a text, and as an integer."""

    name: str
    allowed: str
    first: int
    last: int
    # The n of -n at most.
    period: int


_FIELDS: Final = (
    _Field("minute", "0-59", 0, 59, 60),
    _Field("hour", "0-23", 0, 23, 24),
    _Field("day", "1-31, L and LW (last day, last weekday)", 1, 31, 31),
    _Field("month", "1-12 and jan-dec", 1, 12, 12),
    _Field("weekday", "0-7 and sun-sat, 5L (last Friday), 5#2 (second)", 0, 7, 7),
)
_NAMES: Final = " ".join(each.name for each in _FIELDS)


@dataclass(frozen=True, slots=True)
class CronSpec:
    """At which minutes an entry is due; made by ``parse`` or ``of_integers``."""

    # As it was given. Two specs are equal if these are.
    value: str | tuple[int, ...]
    _crontab: str = field(repr=False, compare=False)
    # Day and weekday must match, although neither begins with a star.
    _needs_both: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            next(self._walls(_ANY_DAY))
        except (CronSimError, StopIteration):
            raise ValueError(
                f"cron {self.value!r} never matches; allowed: days that the months have"
            ) from None

    @classmethod
    def parse(cls, text: str) -> "CronSpec":
        """Read five fields as in crontab(5), or one of ``@hourly`` and its like.

        Raises:
            ValueError: Says what was found and what is allowed.
        """
        if len(text) > _MAX_TEXT:
            raise ValueError(
                f"cron entry of {len(text)} characters; allowed: {_MAX_TEXT}"
            )
        text = " ".join(text.split())
        crontab = _ALIASES.get(text, text)
        fields = crontab.split()
        if len(fields) != len(_FIELDS):
            raise ValueError(
                f"cron {text!r} has {len(fields)} fields; allowed: "
                f"{len(_FIELDS)} ({_NAMES}), or one of {', '.join(_ALIASES)}"
            )
        for position, found in enumerate(fields):
            _check_field(text, position, found)
        return cls(text, crontab)

    @classmethod
    def of_integers(
        cls, minute: int, hour: int, day: int, month: int, weekday: int
    ) -> "CronSpec":
        """Take the numbers of uWSGI's ``add_cron``.

        Raises:
            ValueError: Says what was found and what is allowed.
        """
        value = (minute, hour, day, month, weekday)
        fields = [
            _of_integer(value, each, number)
            for each, number in zip(_FIELDS, value, strict=True)
        ]
        return cls(value, " ".join(fields), day < 0 or weekday < 0)

    @classmethod
    def from_json(cls, value: object) -> "CronSpec":
        """Read what :meth:`to_json` made.

        Raises:
            ValueError: Says what was found and what is allowed.
        """
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, list) and len(value) == len(_FIELDS):
            return cls.of_integers(*value)
        raise ValueError(
            f"cron {value!r}; allowed: a text or {len(_FIELDS)} integers ({_NAMES})"
        )

    def to_json(self) -> str | list[int]:
        """Return the text, or the list of integers, that it was made of."""
        return self.value if isinstance(self.value, str) else list(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def next_after(self, when: datetime) -> datetime:
        """Return the first minute that is due, always later than *when*.

        Args:
            when: Aware; the answer is in the same zone.
        """
        zone = when.tzinfo
        if zone is None:
            raise AssertionError(f"{when} is in no zone")
        now = when.astimezone(UTC)
        if self._is_for_a_time_of_day():
            due = self._next_time_of_day(now, zone)
        else:
            due = self._next_on_the_wall(now, zone)
        return due.astimezone(zone)

    def _is_for_a_time_of_day(self) -> bool:
        minute, hour, *_ = self._crontab.split()
        return not minute.startswith("*") and not hour.startswith("*")

    def _next_time_of_day(self, now: datetime, zone: tzinfo) -> datetime:
        walls = self._walls(_wall(now, zone))
        # A repeated hour begins with walls whose only run is past.
        return next(at for wall in walls if (at := _only_run(wall, zone)) > now)

    def _next_on_the_wall(self, now: datetime, zone: tzinfo) -> datetime:
        start = _wall(now, zone)
        due = self._first_run(start, now, zone)
        # Shortly before clocks go back, what is past on the wall is to come again.
        repeated = _instant(start, zone, fold=1) - _instant(start, zone, fold=0)
        if repeated > timedelta(0):
            due = min(due, self._first_run(start - repeated, now, zone))
        return due

    def _first_run(self, start: datetime, now: datetime, zone: tzinfo) -> datetime:
        runs = (at for wall in self._walls(start) for at in _runs(wall, zone))
        return next(at for at in runs if at > now)

    def _walls(self, after: datetime) -> Iterator[datetime]:
        """Yield the minutes that match on a clock which nobody changes."""
        walls = CronSim(self._crontab, after)
        if self._needs_both:
            walls.day_and = True
        return walls


def _check_field(text: str, position: int, found: str) -> None:
    alone = ["*"] * len(_FIELDS)
    alone[position] = found
    try:
        CronSim(" ".join(alone), _ANY_DAY)
    except CronSimError:
        kind = _FIELDS[position]
        raise ValueError(
            f"cron {text!r}: {kind.name} {found!r}; allowed: {kind.allowed}, "
            "*, and with them lists (1,5), ranges (1-5) and steps (*/5)"
        ) from None


def _of_integer(value: tuple[object, ...], kind: _Field, number: object) -> str:
    """Return one of uWSGI's integers as a field of crontab(5)."""
    # A bool is an integer for Python, and for nobody who reads a cron entry.
    if type(number) is int:
        if number == -1:
            return "*"
        if kind.first <= number <= kind.last:
            return str(number)
        if -kind.period <= number < 0:
            # The multiples of n; from 0 on that is */n, and no time of the day.
            start = f"{-number}-{kind.last}" if kind.first else "*"
            return f"{start}/{-number}"
    raise ValueError(
        f"cron {value}: {kind.name} {number!r}; allowed: {kind.first} to {kind.last}, "
        f"-1 (any), -2 to -{kind.period} (every multiple)"
    )


def _wall(at: datetime, zone: tzinfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _instant(wall: datetime, zone: tzinfo, fold: int) -> datetime:
    # In UTC, because datetimes of one zone are compared by what the wall shows.
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _runs(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Return when the clock shows *wall*: never, once (said twice), or twice."""
    both = (_instant(wall, zone, fold) for fold in (0, 1))
    return [at for at in both if _wall(at, zone) == wall]


def _only_run(wall: datetime, zone: tzinfo) -> datetime:
    """Return when the clock first shows *wall*, or else what follows the gap."""
    while not (runs := _runs(wall, zone)):
        wall += _MINUTE
    return runs[0]


class Misfire(Enum):
    """What becomes of ticks that are more than 60 seconds late.

    The machine slept, the process was stopped, or the clock was set forward.
    """

    ONCE = "once"
    """One tick for all of them."""
    SKIP = "skip"
    """None of them."""
    ALL = "all"
    """Each of them, up to :data:`MAX_TICKS`."""


@dataclass(slots=True)
class _Entry:
    spec: CronSpec
    zone: tzinfo
    misfire: Misfire
    # In UTC. Whatever matched before has ticked, or never will.
    planned: datetime

    def plan_after(self, when: datetime) -> None:
        self.planned = self.spec.next_after(when.astimezone(self.zone)).astimezone(UTC)

    def take_ticks(self, now: datetime) -> int:
        """Return how many there are until *now*, and plan the next one."""
        is_late = self.planned < now - _LATE
        if is_late and self.misfire is not Misfire.ALL:
            # Not one by one: a year has half a million minutes.
            self.plan_after(now - _LATE - _RESOLUTION)
        ticks = 0
        while self.planned <= now and ticks < MAX_TICKS:
            ticks += 1
            self.plan_after(self.planned)
        if self.planned <= now:
            self.plan_after(now)
        return max(ticks, 1) if is_late and self.misfire is Misfire.ONCE else ticks


class CronTable(Generic[K]):
    """When each cron entry ticks next, whatever happens to the wall clock.

    The caller sleeps until :meth:`next_due`, or until the clock is set, calls
    :meth:`pop_due` and asks again. All instants are aware.

    An entry never ticks in the minute in which it was added. If the clock goes back by
    less than three hours, all plans stay, so nothing ticks twice; if it goes back
    further, it shows another time, and everything is planned anew.
    """

    def __init__(self) -> None:
        self._entries: dict[K, _Entry] = {}
        # The latest that the clock has shown since everything was planned anew; what it
        # showed before the first entry came has planned nothing.
        self._latest = datetime.min.replace(tzinfo=UTC)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def add(
        self, key: K, spec: CronSpec, zone: tzinfo, misfire: Misfire, now: datetime
    ) -> None:
        """Plan an entry, in place of another of the same key.

        With the same spec and zone as before its plan stays: nothing is lost or
        doubled when a successor brings the same entries.
        """
        self.clock_set(now)
        entry = self._entries.get(key)
        if entry and (entry.spec, entry.zone) == (spec, zone):
            entry.misfire = misfire
            return
        self.remove(key)
        self._entries[key] = entry = _Entry(spec, zone, misfire, planned=now)
        entry.plan_after(now)

    def remove(self, key: K) -> bool:
        """Forget *key*; tell whether it was there."""
        return self._entries.pop(key, None) is not None

    def next_due(self) -> datetime | None:
        """Return when to call :meth:`pop_due` next, in UTC; ``None`` if never."""
        return min((entry.planned for entry in self._entries.values()), default=None)

    def pop_due(self, now: datetime) -> list[tuple[K, int]]:
        """Return the keys that are due, and how many ticks of each.

        They come in the order of their plans, equal ones as they were added.
        """
        self.clock_set(now)
        due = [item for item in self._entries.items() if item[1].planned <= now]
        due.sort(key=lambda item: item[1].planned)
        ticks = ((key, entry.take_ticks(now)) for key, entry in due)
        return [(key, count) for key, count in ticks if count]

    def clock_set(self, now: datetime) -> None:
        """Tell that the clock was set to *now*; ``add`` and ``pop_due`` find out, too.

        Nothing ticks here: what a clock set forward has passed is for ``pop_due``.
        """
        if now + _OTHER_TIME > self._latest:
            self._latest = max(self._latest, now)
            return
        self._latest = now
        for entry in self._entries.values():
            entry.plan_after(now)
