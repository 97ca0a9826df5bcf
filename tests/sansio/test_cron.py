from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.cron import MAX_TICKS, CronSpec, CronTable, Misfire

BERLIN: Final = ZoneInfo("Europe/Berlin")
NEW_YORK: Final = ZoneInfo("America/New_York")
LORD_HOWE: Final = ZoneInfo("Australia/Lord_Howe")

MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
# A Tuesday.
START: Final = datetime(2026, 11, 24, 12, 0, 20, tzinfo=UTC)

Value = str | tuple[int, int, int, int, int]


def spec_of(value: Value) -> CronSpec:
    if isinstance(value, str):
        return CronSpec.parse(value)
    return CronSpec.of_integers(*value)


def dates(value: Value, count: int, after: datetime = START) -> list[str]:
    """Return the next minutes that are due, as the clock on the wall shows them."""
    spec, found = spec_of(value), list[str]()
    for _ in range(count):
        after = spec.next_after(after)
        found.append(f"{after:%Y-%m-%d %H:%M}")
    return found


def hours(value: Value, count: int, after: datetime) -> list[str]:
    """Return the same without the day, and with the offset from UTC."""
    spec, found = spec_of(value), list[str]()
    for _ in range(count):
        after = spec.next_after(after)
        found.append(f"{after:%H:%M%z}")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/20 * * * *", ["2026-11-24 12:20", "2026-11-24 12:40"]),
        ("30 2 * * *", ["2026-11-25 02:30", "2026-11-26 02:30"]),
        ("0 9-17/4 * * mon-fri", ["2026-11-24 13:00", "2026-11-24 17:00"]),
        ("0 0 1,15 * *", ["2026-12-01 00:00", "2026-12-15 00:00"]),
        ("0 0 * feb SUN", ["2027-02-07 00:00", "2027-02-14 00:00"]),
        ("0 0 L * *", ["2026-11-30 00:00", "2026-12-31 00:00"]),
        ("0 0 LW * *", ["2026-11-30 00:00", "2026-12-31 00:00"]),
        ("0 0 * * 5L", ["2026-11-27 00:00", "2026-12-25 00:00"]),
        ("0 0 * * 5#2", ["2026-12-11 00:00", "2027-01-08 00:00"]),
        ("0 0 * * 0", ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ("0 0 * * 7", ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 */7", ["2032-02-29 00:00", "2060-02-29 00:00"]),
        ("@hourly", ["2026-11-24 13:00", "2026-11-24 14:00"]),
        ("@daily", ["2026-11-25 00:00", "2026-11-26 00:00"]),
        ("@midnight", ["2026-11-25 00:00", "2026-11-26 00:00"]),
        ("@weekly", ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ("@monthly", ["2026-12-01 00:00", "2027-01-01 00:00"]),
        ("@yearly", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@annually", ["2027-01-01 00:00", "2028-01-01 00:00"]),
    ],
)
def test_a_text_is_read_as_in_crontab(text: str, expected: list[str]) -> None:
    assert dates(text, 2) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((-1, -1, -1, -1, -1), ["2026-11-24 12:01", "2026-11-24 12:02"]),
        ((-20, -1, -1, -1, -1), ["2026-11-24 12:20", "2026-11-24 12:40"]),
        ((30, 2, -1, -1, -1), ["2026-11-25 02:30", "2026-11-26 02:30"]),
        ((0, -7, -1, -1, -1), ["2026-11-24 14:00", "2026-11-24 21:00"]),
        ((0, 0, -10, -1, -1), ["2026-11-30 00:00", "2026-12-10 00:00"]),
        ((0, 0, 1, -5, -1), ["2027-05-01 00:00", "2027-10-01 00:00"]),
        ((0, 0, -1, -1, 0), ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ((0, 0, -1, -1, 7), ["2026-11-29 00:00", "2026-12-06 00:00"]),
        ((0, 0, -1, -1, -4), ["2026-11-26 00:00", "2026-11-29 00:00"]),
        ((0, 0, 29, 2, -1), ["2028-02-29 00:00", "2032-02-29 00:00"]),
    ],
)
def test_integers_mean_what_they_mean_to_uwsgi(
    numbers: tuple[int, int, int, int, int], expected: list[str]
) -> None:
    assert dates(numbers, 2) == expected


def test_every_second_day_is_even_with_uwsgi_and_odd_in_crontab() -> None:
    assert dates((0, 0, -2, -1, -1), 2) == ["2026-11-26 00:00", "2026-11-28 00:00"]
    assert dates("0 0 */2 * *", 2) == ["2026-11-25 00:00", "2026-11-27 00:00"]


def test_every_second_month_is_even_with_uwsgi_and_odd_in_crontab() -> None:
    assert dates((0, 0, 1, -2, -1), 2) == ["2026-12-01 00:00", "2027-02-01 00:00"]
    assert dates("0 0 1 */2 *", 2) == ["2027-01-01 00:00", "2027-03-01 00:00"]


@pytest.mark.parametrize("value", ["0 0 26 * mon", (0, 0, 26, -1, 1)])
def test_one_of_day_and_weekday_is_enough_if_both_are_given(value: Value) -> None:
    expected = ["2026-11-26 00:00", "2026-11-30 00:00", "2026-12-07 00:00"]

    assert dates(value, 3) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0 0 */2 * mon", ["2026-12-07 00:00", "2026-12-21 00:00"]),
        ("0 0 26 * */3", ["2026-12-26 00:00", "2027-05-26 00:00"]),
        ((0, 0, -2, -1, 1), ["2026-11-30 00:00", "2026-12-14 00:00"]),
        ((0, 0, 26, -1, -3), ["2026-12-26 00:00", "2027-05-26 00:00"]),
        ((0, 0, -13, -1, -6), ["2026-12-13 00:00", "2026-12-26 00:00"]),
    ],
)
def test_day_and_weekday_must_both_match_if_one_is_a_star_or_negative(
    value: Value, expected: list[str]
) -> None:
    assert dates(value, 2) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("60 * * * *", r"cron '60 \* \* \* \*': minute '60'; allowed: 0-59, \*, "),
        ("0 24 * * *", "hour '24'; allowed: 0-23"),
        ("0 0 32 * *", "day '32'; allowed: 1-31"),
        ("0 0 0 * *", "day '0'; allowed: 1-31"),
        ("0 0 1 13 *", "month '13'; allowed: 1-12 and jan-dec"),
        ("0 0 1 foo *", "month 'foo'; allowed"),
        ("0 0 * * 8", "weekday '8'; allowed: 0-7 and sun-sat"),
        ("0 0 * * sat-sun", "weekday 'sat-sun'; allowed"),
        ("0 0 * * 5#6", "weekday '5#6'; allowed"),
        ("*/0 * * * *", r"minute '\*/0'; allowed"),
        ("-5 * * * *", "minute '-5'; allowed"),
        ("", r"'' has 0 fields; allowed: 5 \(minute hour day month weekday\)"),
        ("* * * * * *", "has 6 fields; allowed: 5 .*, or one of @yearly, "),
        ("@reboot", "'@reboot' has 1 fields; allowed: 5 "),
        ("0 0 31 2 *", r"cron '0 0 31 2 \*' never matches; allowed: days that"),
        ("0 0 30 2 *", "never matches"),
        ("0 0 31 4,6,9,11 *", "never matches"),
        ("0 0 */30 * mon#2", "never matches"),
        ("0," * 1000 + "0 * * * *", "of 2009 characters; allowed: 1500"),
    ],
)
def test_a_text_is_refused_with_what_is_allowed(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        CronSpec.parse(text)


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        (
            (60, -1, -1, -1, -1),
            r"minute 60; allowed: 0 to 59, -1 \(any\), -2 to -60 \(every multiple\)",
        ),
        ((-61, 0, -1, -1, -1), r"cron \(-61, 0, -1, -1, -1\): minute -61; allowed"),
        ((0, 24, -1, -1, -1), "hour 24; allowed: 0 to 23, .* -2 to -24 "),
        ((0, 0, 0, -1, -1), "day 0; allowed: 1 to 31, .* -2 to -31 "),
        ((0, 0, 1, 0, -1), "month 0; allowed: 1 to 12, .* -2 to -12 "),
        ((0, 0, -1, -1, 8), "weekday 8; allowed: 0 to 7, .* -2 to -7 "),
        ((0, 0, 31, 2, -1), r"cron \(0, 0, 31, 2, -1\) never matches"),
        ((0, 0, 30, 2, -2), "never matches"),
        ((0, 0, -31, 4, 1), "never matches"),
    ],
)
def test_integers_are_refused_with_what_is_allowed(
    numbers: tuple[int, int, int, int, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        CronSpec.of_integers(*numbers)


@pytest.mark.parametrize("value", ["0 0 31 2 mon", (0, 0, 31, 2, 1)])
def test_an_impossible_day_is_taken_if_the_weekday_is_enough(value: Value) -> None:
    assert dates(value, 1) == ["2027-02-01 00:00"]


@given(st.text(st.sampled_from("01359*/-,#lw@ abjenfrisu"), max_size=30) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        due = CronSpec.parse(text).next_after(START)
    except ValueError:
        return

    assert due > START


@pytest.mark.parametrize("value", ["*/5 * * * mon", "@daily", (-5, 2, -1, -1, 7)])
def test_a_spec_comes_back_from_json_as_it_was(value: Value) -> None:
    spec = spec_of(value)

    sent = spec.to_json()

    assert sent == (value if isinstance(value, str) else list(value))
    assert CronSpec.from_json(sent) == spec
    assert str(spec) == str(value)


@pytest.mark.parametrize("value", [None, 5, {}, [], [1, 2, 3, 4], ["* * * * *"]])
def test_other_json_is_refused_with_what_is_allowed(value: object) -> None:
    with pytest.raises(ValueError, match=r"allowed: a text or 5 integers \(minute "):
        CronSpec.from_json(value)


@pytest.mark.parametrize("number", [1.0, True, "1", None, []])
def test_json_of_other_things_than_integers_is_refused(number: object) -> None:
    with pytest.raises(ValueError, match=r"hour .*; allowed: 0 to 23"):
        CronSpec.from_json([0, number, -1, -1, -1])


def test_specs_are_equal_if_they_are_written_alike() -> None:
    assert CronSpec.parse(" 0  0 * *\t*") == CronSpec.parse("0 0 * * *")
    assert CronSpec.parse("0 0 1 1 1") != CronSpec.of_integers(0, 0, 1, 1, 1)


def test_the_next_minute_is_later_and_whole() -> None:
    spec = CronSpec.parse("* * * * *")
    noon = datetime(2026, 11, 24, 12, 0, tzinfo=BERLIN)

    for when in (noon, noon + timedelta(microseconds=1), noon + 59 * SECOND):
        assert spec.next_after(when) == noon + MINUTE
    assert spec.next_after(noon).tzinfo is BERLIN


def test_an_instant_in_no_zone_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="is in no zone"):
        CronSpec.parse("* * * * *").next_after(START.replace(tzinfo=None))


@pytest.mark.parametrize("value", ["30 2 * * *", (30, 2, -1, -1, -1)])
def test_a_time_that_does_not_exist_runs_once_right_after_the_gap(value: Value) -> None:
    evening = datetime(2026, 3, 28, 20, 0, tzinfo=BERLIN)

    assert hours(value, 2, evening) == ["03:00+0200", "02:30+0200"]


@pytest.mark.parametrize("value", ["30 2 * * *", (30, 2, -1, -1, -1)])
def test_a_time_that_comes_twice_runs_the_first_time(value: Value) -> None:
    evening = datetime(2026, 10, 24, 20, 0, tzinfo=BERLIN)

    assert hours(value, 2, evening) == ["02:30+0200", "02:30+0100"]
    assert dates(value, 2, evening) == ["2026-10-25 02:30", "2026-10-26 02:30"]


def test_during_a_repeated_hour_a_time_of_day_is_due_tomorrow() -> None:
    again = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=BERLIN)

    assert dates("30 2 * * *", 1, again) == ["2026-10-26 02:30"]


@pytest.mark.parametrize("value", ["30 * * * *", (30, -1, -1, -1, -1)])
def test_an_hourly_entry_runs_each_hour_whatever_the_clock_shows(value: Value) -> None:
    spring = datetime(2026, 3, 8, 0, 0, tzinfo=NEW_YORK)
    autumn = datetime(2026, 11, 1, 0, 0, tzinfo=NEW_YORK)

    assert hours(value, 3, spring) == ["00:30-0500", "01:30-0500", "03:30-0400"]
    assert hours(value, 3, autumn) == ["00:30-0400", "01:30-0400", "01:30-0500"]


@pytest.mark.parametrize("value", ["*/20 1 * * *", (-20, 1, -1, -1, -1)])
def test_a_repeated_hour_begins_anew_for_what_follows_the_wall(value: Value) -> None:
    before = datetime(2026, 11, 1, 1, 20, tzinfo=NEW_YORK)

    expected = ["01:40-0400", "01:00-0500", "01:20-0500", "01:40-0500", "01:00-0500"]
    assert hours(value, 5, before) == expected


@pytest.mark.parametrize("value", ["0 */2 * * *", (0, -2, -1, -1, -1)])
def test_what_follows_the_wall_does_not_run_in_a_gap(value: Value) -> None:
    midnight = datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN)

    assert hours(value, 2, midnight) == ["04:00+0200", "06:00+0200"]


def test_clocks_may_change_by_half_an_hour() -> None:
    evening = datetime(2026, 10, 3, 22, 0, tzinfo=LORD_HOWE)

    assert hours("15 2 * * *", 1, evening) == ["02:30+1100"]
    assert hours("*/30 2,3 * * *", 2, evening) == ["02:30+1100", "03:00+1100"]


def test_a_minute_that_is_skipped_and_follows_anyway_runs_once() -> None:
    evening = datetime(2026, 3, 28, 20, 0, tzinfo=BERLIN)

    assert dates("0 2,3 * * *", 2, evening) == ["2026-03-29 03:00", "2026-03-30 02:00"]


class Clock:
    """A table, and the wall clock that its owner sees."""

    def __init__(self, misfire: Misfire = Misfire.ONCE) -> None:
        self.now = START
        self.table = CronTable[str]()
        self._misfire = misfire

    def add(self, key: str, text: str, zone: timezone | ZoneInfo = UTC) -> None:
        self.table.add(key, CronSpec.parse(text), zone, self._misfire, self.now)

    def sleep(self, delay: timedelta) -> list[tuple[str, int]]:
        self.now += delay
        return self.table.pop_due(self.now)

    def wake(self) -> list[tuple[str, int]]:
        """Sleep exactly until something is due."""
        due = self.table.next_due()
        assert due is not None
        return self.sleep(due - self.now)


def test_an_empty_table_has_nothing_due() -> None:
    clock = Clock()

    assert clock.table.next_due() is None
    assert clock.sleep(DAY) == []
    assert len(clock.table) == 0


def test_an_entry_is_due_at_its_minute_and_not_before() -> None:
    clock = Clock()
    clock.add("tea", "0 13 * * *")

    assert clock.table.next_due() == START.replace(hour=13, second=0)
    assert clock.sleep(timedelta(minutes=59, seconds=39.9)) == []
    assert clock.wake() == [("tea", 1)]
    assert clock.sleep(timedelta(0)) == []
    assert clock.table.next_due() == START.replace(hour=13, second=0) + DAY


def test_each_entry_has_its_own_zone() -> None:
    clock = Clock()
    clock.add("Berlin", "0 15 * * *", BERLIN)
    clock.add("New York", "0 8 * * *", NEW_YORK)

    assert clock.wake() == [("New York", 1)]
    assert clock.now == datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
    assert clock.wake() == [("Berlin", 1)]
    assert clock.now == datetime(2026, 11, 24, 14, 0, tzinfo=UTC)


def test_entries_come_in_the_order_of_their_plans_and_else_as_they_were_added() -> None:
    clock = Clock()
    clock.add("b", "2 * * * *")
    clock.add("c", "* * * * *")
    clock.add("a", "1 * * * *")
    clock.add("d", "1 * * * *")

    clock.add("c", "1 * * * *")

    assert clock.sleep(100 * SECOND) == [("a", 1), ("d", 1), ("c", 1), ("b", 1)]


def test_nothing_ticks_in_the_minute_in_which_it_was_added() -> None:
    clock = Clock()
    clock.add("tea", "0 12 * * *")

    assert clock.sleep(39 * SECOND) == []
    assert clock.table.next_due() == START.replace(second=0) + DAY


def test_an_entry_that_is_added_again_keeps_its_plan() -> None:
    clock = Clock()
    clock.add("tea", "0 13 * * *")
    clock.now += HOUR

    clock.add("tea", "0 13 * * *")

    assert clock.sleep(SECOND) == [("tea", 1)]


@pytest.mark.parametrize(
    ("text", "zone"), [("0 14 * * *", UTC), ("0 13 * * *", BERLIN)]
)
def test_another_spec_or_zone_is_planned_anew(
    text: str, zone: timezone | ZoneInfo
) -> None:
    clock = Clock()
    clock.add("tea", "0 13 * * *")
    clock.now += HOUR

    clock.add("tea", text, zone)

    assert len(clock.table) == 1
    assert clock.sleep(SECOND) == []


def test_the_misfire_rule_can_change_without_a_new_plan() -> None:
    clock = Clock()
    clock.add("tea", "* * * * *")

    clock.table.add("tea", CronSpec.parse("* * * * *"), UTC, Misfire.ALL, clock.now)

    assert clock.sleep(HOUR) == [("tea", 60)]


def test_remove_tells_whether_the_entry_was_there() -> None:
    clock = Clock()
    clock.add("tea", "* * * * *")

    assert "tea" in clock.table
    assert clock.table.remove("tea")
    assert "tea" not in clock.table
    assert not clock.table.remove("tea")
    assert clock.sleep(HOUR) == []


@pytest.mark.parametrize("misfire", list(Misfire))
def test_a_tick_that_is_a_minute_late_is_no_misfire(misfire: Misfire) -> None:
    clock = Clock(misfire)
    clock.add("tea", "0 13 * * *")

    assert clock.sleep(HOUR - 20 * SECOND + MINUTE) == [("tea", 1)]


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [(Misfire.ONCE, [("tea", 1)]), (Misfire.SKIP, []), (Misfire.ALL, [("tea", 3)])],
)
def test_what_was_missed_ticks_once_or_never_or_each_time(
    misfire: Misfire, expected: list[tuple[str, int]]
) -> None:
    clock = Clock(misfire)
    clock.add("tea", "0 * * * *")

    assert clock.sleep(3 * HOUR + 10 * MINUTE) == expected
    assert clock.table.next_due() == START.replace(hour=16, second=0)


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        (Misfire.ONCE, [("tea", 1)]),
        (Misfire.SKIP, [("tea", 1)]),
        (Misfire.ALL, [("tea", 4)]),
    ],
)
def test_the_newest_tick_is_no_misfire_if_it_is_on_time(
    misfire: Misfire, expected: list[tuple[str, int]]
) -> None:
    clock = Clock(misfire)
    clock.add("tea", "0 * * * *")

    assert clock.sleep(4 * HOUR) == expected


def test_no_more_than_a_day_of_minutes_is_made_up_for() -> None:
    clock = Clock(Misfire.ALL)
    clock.add("tea", "* * * * *")

    assert clock.sleep(3 * DAY) == [("tea", MAX_TICKS)]
    assert clock.sleep(MINUTE) == [("tea", 1)]


def test_a_clock_set_forward_by_years_costs_one_tick() -> None:
    clock = Clock()
    clock.add("tea", "* * * * *")

    assert clock.sleep(4000 * DAY) == [("tea", 1)]
    assert clock.sleep(MINUTE) == [("tea", 1)]


def test_a_clock_set_back_runs_nothing_twice() -> None:
    clock = Clock()
    clock.add("tea", "*/30 * * * *")
    assert clock.wake() == [("tea", 1)]
    assert clock.wake() == [("tea", 1)]

    clock.now -= timedelta(hours=2, minutes=59)
    clock.table.clock_set(clock.now)

    assert clock.table.next_due() == datetime(2026, 11, 24, 13, 30, tzinfo=UTC)


def test_a_clock_set_back_in_steps_is_measured_as_a_whole() -> None:
    clock = Clock()
    clock.add("tea", "*/30 * * * *")

    clock.table.clock_set(clock.now - 2 * HOUR)
    clock.table.clock_set(clock.now - 3 * HOUR)

    assert clock.table.next_due() == datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def test_a_table_measures_from_what_it_was_told_and_not_from_before() -> None:
    clock = Clock()
    clock.now -= timedelta(seconds=4_922)
    clock.add("tea", "* * * * *")
    planned = clock.table.next_due()

    clock.now -= timedelta(seconds=5_878)
    clock.table.clock_set(clock.now)

    assert clock.table.next_due() == planned


def test_a_clock_that_was_wrong_by_a_year_is_believed() -> None:
    clock = Clock()
    clock.add("tea", "0 13 * * *")
    clock.sleep(365 * DAY)

    clock.now = START
    clock.table.clock_set(clock.now)

    assert clock.table.next_due() == START.replace(hour=13, second=0)
    assert clock.wake() == [("tea", 1)]


def test_a_new_entry_also_tells_that_the_clock_was_set_back() -> None:
    clock = Clock()
    clock.add("tea", "0 13 * * *")
    clock.now -= 400 * DAY

    clock.add("coffee", "0 13 * * *")

    assert clock.wake() == [("tea", 1), ("coffee", 1)]
