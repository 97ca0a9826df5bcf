import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio import timers
from pymule.sansio.timers import Timer, TimerId, TimerTable

EVERY = st.floats(0.001, 1e6)


def _add(
    table: TimerTable, every: float = 30.0, *, owner: str = "mule1", now: float = 100.0
) -> Timer:
    return table.add(17, every, 0, owner, now)


@given(every=EVERY, start=st.floats(0, 1e6), delays=st.lists(st.floats(0, 0.999)))
def test_the_nth_tick_is_planned_from_the_start_however_late_each_was(
    every: float, start: float, delays: list[float]
) -> None:
    table = TimerTable()
    timer = _add(table, every, now=start)

    for number, delay in enumerate(delays, 1):
        assert timer.next_at == pytest.approx(start + number * every)
        assert table.due(timer.id, timer.next_at + delay * every * 0.9) is timer

    assert timer.ticks == len(delays)
    assert timer.missed == 0


@given(every=EVERY, gaps=st.lists(st.floats(0, 1e5), min_size=1))
def test_no_tick_is_early_and_the_next_is_always_later(
    every: float, gaps: list[float]
) -> None:
    table = TimerTable()
    timer, now = _add(table, every, now=0.0), 0.0

    for gap in gaps:
        now += gap
        planned = timer.next_at
        ticked = table.due(timer.id, now)
        assert (ticked is not None) == (planned <= now)
        assert timer.next_at > now


def test_there_are_only_so_many_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "MAX_TIMERS", 2)
    table = TimerTable()
    first, _ = _add(table), _add(table)

    with pytest.raises(ValueError, match="2 timers are armed"):
        _add(table)
    table.cancel(first.id)

    assert _add(table).id != first.id


def test_a_tick_on_its_instant_is_not_planned_again_for_want_of_a_digit() -> None:
    table = TimerTable()
    timer = _add(table, 0.673, now=0.0)
    # Here 868 ticks divided by the interval come out as less than 868.
    now = 868 * 0.673

    assert table.due(timer.id, now) is timer

    assert timer.next_at > now
    assert timer.missed == 867


def test_ticks_that_the_master_slept_through_become_one() -> None:
    table = TimerTable()
    timer = _add(table, 10.0, now=0.0)

    assert table.due(timer.id, 35.0) is timer

    assert (timer.ticks, timer.missed, timer.next_at) == (1, 2, 40.0)
    assert table.due(timer.id, 40.0) is timer
    assert (timer.ticks, timer.missed, timer.next_at) == (2, 2, 50.0)


def test_a_timer_ends_after_its_iterations() -> None:
    table = TimerTable()
    timer = table.add(17, 10.0, 2, "", 0.0)

    assert table.due(timer.id, 10.0) is timer
    assert table.due(timer.id, 20.0) is timer

    assert table.timers == {}
    assert table.due(timer.id, 30.0) is None


def test_one_tick_at_once_is_a_timer_too() -> None:
    table = TimerTable()
    timer = table.add(17, 0, 1, "", 5.0)

    assert timer.next_at == 5.0
    assert table.due(timer.id, 5.0) is timer
    assert table.timers == {}


def test_a_cancelled_timer_ticks_no_more() -> None:
    table = TimerTable()
    timer = _add(table)

    assert table.cancel(timer.id)

    assert not table.cancel(timer.id)
    assert table.due(timer.id, 1000.0) is None
    assert table.drop("mule1", only_orphans=False) == []


def test_a_successor_adopts_the_timer_with_its_plan() -> None:
    table = TimerTable()
    timer = _add(table, now=0.0)
    table.owner_restarts("mule1")
    table.owner_restarts("mule1")

    assert _add(table, now=20.0) is timer

    assert timer.next_at == 30.0
    assert table.drop("mule1", only_orphans=True) == []


def test_nobody_adopts_the_timer_of_another() -> None:
    table = TimerTable()
    timer = _add(table)
    table.owner_restarts("mule1")

    others = [
        _add(table, owner="mule2"),
        _add(table, 31.0),
        table.add(18, 30.0, 0, "mule1", 100.0),
        table.add(17, 30.0, 5, "mule1", 100.0),
    ]

    assert timer not in others
    assert _add(table) is timer
    assert _add(table) is not timer


def test_what_nobody_adopts_is_dropped() -> None:
    table = TimerTable()
    kept, orphan = _add(table, 1.0), _add(table, 2.0)
    table.owner_restarts("mule1")
    _add(table, 1.0)

    assert table.drop("mule1", only_orphans=True) == [orphan.id]

    assert list(table.timers.values()) == [kept]
    assert table.drop("mule1", only_orphans=False) == [kept.id]
    assert table.drop("mule2", only_orphans=False) == []


def test_a_timer_that_nobody_owns_stays() -> None:
    table = TimerTable()
    timer = _add(table, owner="")

    table.owner_restarts("")

    assert table.drop("", only_orphans=False) == []
    assert table.timers == {timer.id: timer}


@pytest.mark.parametrize(
    ("every", "iterations", "allowed"),
    [
        (0, 0, "from 0.001"),
        (0, 2, "from 0.001"),
        (-1, 1, "from 0.001"),
        (0.0005, 0, "from 0.001"),
        (float("inf"), 0, "from 0.001"),
        (1.1e9, 0, "to 1000000000"),
        (1e308, 1, "to 1000000000"),
        (float("nan"), 0, "from 0.001"),
        (1, -1, "from 0, which has no end"),
        (1, 2**53 + 1, "to 9007199254740992"),
    ],
)
def test_a_timer_that_makes_no_sense_is_refused(
    every: float, iterations: int, allowed: str
) -> None:
    table = TimerTable()

    with pytest.raises(ValueError, match=allowed):
        table.add(17, every, iterations, "", 0.0)

    assert table.timers == {}
    assert table.cancel(TimerId(1)) is False
