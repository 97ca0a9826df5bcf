"""Cron entries against a model that looks at each minute, and the table of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.sansio.cron import CronSpec, CronTable, Misfire

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
HORIZON: Final = 36 * 60

MONTH_NAMES: Final = [
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
]
WEEKDAY_NAMES: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

# The zone, and when its clocks change, each way.
CHANGES: Final = (
    (ZoneInfo("Europe/Berlin"), datetime(2026, 3, 29, 1, tzinfo=UTC)),
    (ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    (ZoneInfo("America/New_York"), datetime(2026, 3, 8, 7, tzinfo=UTC)),
    (ZoneInfo("America/New_York"), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    # By half an hour.
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 4, 4, 15, tzinfo=UTC)),
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    # At midnight.
    (ZoneInfo("America/Santiago"), datetime(2026, 4, 5, 3, tzinfo=UTC)),
    (ZoneInfo("America/Santiago"), datetime(2026, 9, 6, 4, tzinfo=UTC)),
    # A whole day that never was.
    (ZoneInfo("Pacific/Apia"), datetime(2011, 12, 30, 10, tzinfo=UTC)),
    # Never.
    (UTC, datetime(2026, 3, 29, 1, tzinfo=UTC)),
    (timezone(timedelta(hours=5, minutes=45)), datetime(2026, 1, 1, tzinfo=UTC)),
)


@dataclass(frozen=True)
class Entry:
    """What a cron entry means, in the plainest words."""

    value: str | tuple[int, int, int, int, int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    one_day_is_enough: bool
    follows_the_wall: bool

    def spec(self) -> CronSpec:
        if isinstance(self.value, str):
            return CronSpec.parse(self.value)
        return CronSpec.of_integers(*self.value)

    def has_date(self, wall: datetime) -> bool:
        by_day = wall.day in self.days
        weekday = wall.isoweekday()
        by_weekday = not self.weekdays.isdisjoint({weekday, weekday % 7})
        one, both = by_day or by_weekday, by_day and by_weekday
        return wall.month in self.months and (one if self.one_day_is_enough else both)

    def matches(self, wall: datetime) -> bool:
        has_time = wall.hour in self.hours and wall.minute in self.minutes
        return has_time and self.has_date(wall)

    def is_due(self, at: datetime, zone: tzinfo) -> bool:
        now, before = at.astimezone(zone), (at - MINUTE).astimezone(zone)
        wall, start = now.replace(tzinfo=None), before.replace(tzinfo=None)
        if self.follows_the_wall:
            return self.matches(wall)
        if now.fold:
            return False
        # More than one if the clock was set forward.
        passed = (wall - start) // MINUTE
        walls = (wall - number * MINUTE for number in range(max(passed, 1)))
        return any(self.matches(each) for each in walls)

    def dates(self, start: datetime) -> Iterator[datetime]:
        """Yield the days that match, for as long as leap years take to come round."""
        every = (start + number * DAY for number in range(1, 41 * 366))
        return (day for day in every if self.has_date(day))

    def is_possible(self) -> bool:
        return next(self.dates(datetime(2000, 1, 1, tzinfo=UTC)), None) is not None

    def next_after(self, when: datetime, zone: tzinfo) -> datetime | None:
        at = when.replace(second=0, microsecond=0)
        for number in range(1, HORIZON + 1):
            if self.is_due(at + number * MINUTE, zone):
                return at + number * MINUTE
        return None


Part = tuple[str, frozenset[int]]
"""The text of a field, or of one term of its list, and the values that it means."""


def spans(first: int, last: int) -> st.SearchStrategy[tuple[int, int]]:
    both = st.tuples(st.integers(first, last), st.integers(first, last))
    return both.map(lambda pair: (min(pair), max(pair)))


def terms(first: int, last: int) -> st.SearchStrategy[Part]:
    numbers = st.integers(first, last)
    steps = st.sampled_from((1, 2, 3, 5, 7, 20, 99))

    def every(start: int, end: int, step: int = 1) -> frozenset[int]:
        return frozenset(range(start, end + 1, step))

    def stepped(span: tuple[int, int], step: int) -> Part:
        # A range of one number with a step means from there on.
        end = span[1] if span[0] < span[1] else last
        return f"{span[0]}-{span[1]}/{step}", every(span[0], end, step)

    return st.one_of(
        numbers.map(lambda at: (str(at), every(at, at))),
        spans(first, last).map(lambda span: ("{}-{}".format(*span), every(*span))),
        st.builds(lambda at, n: (f"{at}/{n}", every(at, last, n)), numbers, steps),
        steps.map(lambda n: (f"*/{n}", every(first, last, n))),
        st.builds(stepped, spans(first, last), steps),
    )


def named(first: int, names: list[str]) -> st.SearchStrategy[Part]:
    places = st.integers(0, len(names) - 1)
    return places.map(lambda at: (names[at], frozenset({at + first})))


def listed(parts: list[Part]) -> Part:
    every = frozenset[int]().union(*(values for _, values in parts))
    return ",".join(text for text, _ in parts), every


def fields(term: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    return st.lists(term, min_size=1, max_size=3).map(listed)


def star(first: int, last: int) -> st.SearchStrategy[Part]:
    return st.just(("*", frozenset(range(first, last + 1))))


MINUTES: Final = star(0, 59) | fields(terms(0, 59))
HOURS: Final = star(0, 23) | fields(terms(0, 23))
DAYS: Final = star(1, 31) | fields(terms(1, 31))
MONTHS: Final = star(1, 12) | fields(terms(1, 12) | named(1, MONTH_NAMES))
WEEKDAYS: Final = star(0, 7) | fields(terms(0, 7) | named(0, WEEKDAY_NAMES))
# When clocks change; others would say little about it.
NIGHTS: Final = fields(st.integers(0, 3).map(lambda at: (str(at), frozenset({at}))))


def entry_of_texts(*parts: Part) -> Entry:
    texts = [text for text, _ in parts]
    minutes, hours, days, months, weekdays = (values for _, values in parts)
    minute, hour, day, _, weekday = (text.startswith("*") for text in texts)
    return Entry(
        " ".join(texts),
        *(minutes, hours, days, months, weekdays),
        one_day_is_enough=not day and not weekday,
        follows_the_wall=minute or hour,
    )


def values_of(number: int, first: int, last: int) -> frozenset[int]:
    """Return what uWSGI compares equal, in its own words."""
    every = range(first, last + 1)
    if number < 0:
        return frozenset(value for value in every if value % -number == 0)
    return frozenset(value for value in every if value == number)


def entry_of_integers(*numbers: int) -> Entry:
    minute, hour, day, month, weekday = numbers
    return Entry(
        (minute, hour, day, month, weekday),
        values_of(minute, 0, 59),
        values_of(hour, 0, 23),
        values_of(day, 1, 31),
        values_of(month, 1, 12),
        values_of(weekday % 7 if weekday >= 0 else weekday, 0, 6),
        one_day_is_enough=day >= 0 and weekday >= 0,
        follows_the_wall=minute < 0 or hour < 0,
    )


def integers(first: int, last: int, period: int) -> st.SearchStrategy[int]:
    return st.just(-1) | st.integers(first, last) | st.integers(-period, -1)


INTEGERS: Final = (
    integers(0, 59, 60),
    integers(0, 23, 24) | st.integers(0, 3),
    integers(1, 31, 31),
    integers(1, 12, 12),
    integers(0, 7, 7),
)
ZERO: Final = st.just(("0", frozenset({0})))
ENTRIES: Final = st.one_of(
    st.builds(entry_of_texts, MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS),
    st.builds(entry_of_texts, MINUTES, NIGHTS, DAYS, star(1, 12), WEEKDAYS),
    st.builds(entry_of_texts, MINUTES, HOURS, star(1, 31), star(1, 12), star(0, 7)),
    st.builds(entry_of_texts, MINUTES, NIGHTS, star(1, 31), star(1, 12), star(0, 7)),
    st.builds(entry_of_integers, *INTEGERS),
    st.builds(entry_of_integers, *INTEGERS[:2], *[st.just(-1)] * 3),
)


@given(ENTRIES, st.sampled_from(CHANGES), st.integers(-30 * 3600, 4 * 3600))
@settings(max_examples=150, deadline=None)
def test_the_next_minute_is_the_first_that_a_model_finds(
    entry: Entry, change: tuple[tzinfo, datetime], seconds: int
) -> None:
    zone, changed = change
    now = changed + timedelta(seconds=seconds)
    assume(entry.is_possible())

    found = entry.spec().next_after(now.astimezone(zone)).astimezone(UTC)

    first = entry.next_after(now, zone)
    if first is None:
        assert found > now + HORIZON * MINUTE
    else:
        assert found == first


@given(
    st.builds(entry_of_texts, ZERO, ZERO, DAYS, MONTHS, WEEKDAYS)
    | st.builds(entry_of_integers, *[st.just(0)] * 2, *INTEGERS[2:]),
    st.dates(date(2000, 1, 1), date(2200, 1, 1)),
)
def test_the_next_day_is_the_first_that_a_model_finds(entry: Entry, day: date) -> None:
    now = datetime.combine(day, time(), UTC)
    assume(entry.is_possible())

    found = entry.spec().next_after(now)

    assert found == next(entry.dates(now))


@given(st.builds(entry_of_integers, *INTEGERS))
def test_integers_are_refused_if_no_date_matches_and_else_taken(entry: Entry) -> None:
    if entry.is_possible():
        assert entry.spec().to_json() == [*entry.value]
    else:
        with pytest.raises(ValueError, match="never matches"):
            entry.spec()


# Text -> minutes from one run to the next, counted from 1970.
PERIODS: Final = {
    "* * * * *": 1,
    "*/15 * * * *": 15,
    "@hourly": 60,
    "0 */6 * * *": 360,
    "@daily": 1440,
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
KEYS: Final = st.integers(1, 4)
DELAYS: Final = st.one_of(
    st.timedeltas(timedelta(0), timedelta(seconds=130)),
    st.timedeltas(timedelta(0), timedelta(hours=4)),
    st.timedeltas(timedelta(0), timedelta(days=2)),
    st.sampled_from([timedelta(seconds=60), timedelta(hours=3), timedelta(hours=1)]),
)


@dataclass
class Plan:
    """An entry as the model of a table sees it."""

    text: str
    misfire: Misfire
    # Until then, inclusive, everything has ticked or never will.
    settled: datetime

    def next_run(self) -> datetime:
        period = PERIODS[self.text] * MINUTE
        return EPOCH + ((self.settled - EPOCH) // period + 1) * period

    def ticks(self, now: datetime) -> int:
        period = PERIODS[self.text] * MINUTE
        count = max((now - self.next_run()) // period + 1, 0)
        runs = [self.next_run() + number * period for number in range(count)]
        on_time = [at for at in runs if now - at <= MINUTE]
        if self.misfire is Misfire.ALL:
            return min(count, 1440)
        if self.misfire is Misfire.ONCE and len(on_time) < count:
            return max(len(on_time), 1)
        return len(on_time)


class TableAgainstPlans(RuleBasedStateMachine):
    """The clock jumps, and the table is told of it or finds out."""

    @initialize(age=st.timedeltas(timedelta(0), 3653 * DAY))
    def begin(self, age: timedelta) -> None:
        self.now = datetime(2020, 1, 1, tzinfo=UTC) + age
        # A table knows of the clock what it was told, and so far that is nothing.
        self.latest = datetime.min.replace(tzinfo=UTC)
        self.table = CronTable[int]()
        self.plans: dict[int, Plan] = {}

    def _is_told(self) -> None:
        if self.latest - self.now < timedelta(hours=3):
            self.latest = max(self.latest, self.now)
            return
        self.latest = self.now
        for plan in self.plans.values():
            plan.settled = self.now

    @rule(
        key=KEYS, text=st.sampled_from([*PERIODS]), misfire=st.sampled_from([*Misfire])
    )
    def add(self, key: int, text: str, misfire: Misfire) -> None:
        self.table.add(key, CronSpec.parse(text), UTC, misfire, self.now)

        self._is_told()
        if key in self.plans and self.plans[key].text == text:
            self.plans[key].misfire = misfire
        else:
            self.plans.pop(key, None)
            self.plans[key] = Plan(text, misfire, self.now)

    @rule(key=KEYS)
    def remove(self, key: int) -> None:
        assert self.table.remove(key) == (self.plans.pop(key, None) is not None)

    @rule(delay=DELAYS)
    def let_time_pass(self, delay: timedelta) -> None:
        self.now += delay

    @rule(delay=DELAYS)
    def set_the_clock_back(self, delay: timedelta) -> None:
        self.now -= delay

    @rule()
    def tell_that_the_clock_was_set(self) -> None:
        self.table.clock_set(self.now)
        self._is_told()

    @precondition(lambda self: self.plans)
    @rule(late=st.sampled_from([0, 0, 1, 59, 60, 61]))
    def sleep_until_the_next_is_due(self, late: int) -> None:
        due = self.table.next_due()
        assert due is not None
        self.now = max(self.now, due + timedelta(seconds=late))
        self.pop()

    @rule()
    def pop(self) -> None:
        due = self.table.pop_due(self.now)

        self._is_told()
        in_order = sorted(self.plans.items(), key=lambda item: item[1].next_run())
        ticks = ((key, plan.ticks(self.now)) for key, plan in in_order)
        assert due == [(key, count) for key, count in ticks if count]
        for plan in self.plans.values():
            plan.settled = max(plan.settled, self.now)

    @invariant()
    def the_next_due_instant_is_exact(self) -> None:
        runs = (plan.next_run() for plan in self.plans.values())
        assert self.table.next_due() == min(runs, default=None)
        assert len(self.table) == len(self.plans)


TestTableAgainstPlans = TableAgainstPlans.TestCase
TestTableAgainstPlans.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None
)
