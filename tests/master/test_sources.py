"""What raises signals by itself: timers, their owners, and their ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import cast

import pytest

from pymule.master.filemon import FileMonitors
from pymule.master.sources import Sources
from pymule.master.ticker import Ticker
from pymule.master.wallclock import WallClock
from tests.conftest import MS, wait_until


class Wall:
    """A clock on the wall that a test lets strike."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.is_closed = False
        self.strike: Callable[[], None] = lambda: None

    def clock(self, on_due: Callable[[], None]) -> WallClock:
        self.strike = on_due
        return cast("WallClock", self)

    def arm(self, at: float | None) -> None:
        self.at = at

    def close(self) -> None:
        self.is_closed = True


class Bench:
    """Sources on a real ticker, and what they raised."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ticker: Ticker[tuple[str, int]] = Ticker(loop, self._due)
        self.ticks: list[int] = []
        self.changes: list[tuple[str, list[str], bool]] = []
        self.wall = Wall()
        self.monitors = FileMonitors(loop, lambda *change: self.changes.append(change))
        self.sources = Sources(
            self.ticker, self.monitors, self.wall.clock, self.ticks.append
        )

    def _due(self, key: tuple[str, int]) -> None:
        assert self.sources.due(*key)

    async def ticked(self, signal: int, times: int) -> None:
        await wait_until(lambda: self.ticks.count(signal) >= times)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.sources.close()
    await bench.monitors.close()
    assert bench.wall.is_closed


async def test_the_timer_of_a_signal_ticks_until_the_signal_is_removed(
    bench: Bench,
) -> None:
    source: dict[str, object] = {"kind": "timer", "every": MS}
    bench.sources.check(source)
    bench.sources.add(17, source)

    await bench.ticked(17, 3)
    described = bench.sources.describe(17)
    bench.sources.remove(17)
    bench.sources.remove(17)

    assert described == source
    assert list(bench.sources.timers) == []
    assert len(bench.ticker) == 0


async def test_a_timer_with_iterations_ends_after_them(bench: Bench) -> None:
    bench.sources.add_timer(17, {"every": MS, "iterations": 2}, "")
    bench.sources.add_timer(18, {"every": MS, "iterations": 5}, "")

    await bench.ticked(18, 5)

    assert bench.ticks.count(17) == 2
    assert len(bench.ticker) == 0


async def test_a_cancelled_timer_is_not_armed_any_more(bench: Bench) -> None:
    timer = bench.sources.add_timer(17, {"every": 3600}, "mule1")

    assert bench.sources.cancel_timer(timer)

    assert not bench.sources.cancel_timer(timer)
    assert len(bench.ticker) == 0


async def test_a_timer_survives_the_restart_of_a_mule_that_sets_it_again(
    bench: Bench,
) -> None:
    kept = bench.sources.add_timer(17, {"every": 3600}, "mule1")
    bench.sources.add_timer(18, {"every": 3600}, "mule1")
    bench.sources.owner_restarts("mule1")

    again = bench.sources.add_timer(17, {"every": 3600}, "mule1")
    bench.sources.settled("mule1")

    assert again == kept
    assert [timer.id for timer in bench.sources.timers] == [kept]
    assert len(bench.ticker) == 1


async def test_the_timers_of_an_owner_end_with_it(bench: Bench) -> None:
    bench.sources.add_timer(17, {"every": 3600}, "mule1")
    other = bench.sources.add_timer(17, {"every": 3600}, "mule2")

    bench.sources.owner_gone("mule1")

    assert [timer.id for timer in bench.sources.timers] == [other]
    assert len(bench.ticker) == 1


async def test_the_deadline_of_somebody_else_is_not_taken(bench: Bench) -> None:
    assert not bench.sources.due("life", 1)


async def test_a_deadline_that_comes_after_the_end_of_its_timer_does_nothing(
    bench: Bench,
) -> None:
    assert bench.sources.due("tick", 99)
    assert bench.ticks == []


async def test_a_cron_entry_arms_the_clock_until_its_signal_is_removed(
    bench: Bench,
) -> None:
    source: dict[str, object] = {"kind": "cron", "spec": "* * * * *", "tz": "UTC"}
    bench.sources.check(source)

    bench.sources.add(17, source)
    armed = bench.wall.at
    bench.wall.strike()
    bench.sources.remove(17)

    assert armed is not None
    assert 0 <= armed - time.time() <= 60
    assert bench.ticks == []
    assert bench.wall.at is None


async def test_missed_ticks_are_made_up_for_as_they_were_asked_to(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    every: dict[str, object] = {"kind": "cron", "spec": "* * * * *", "tz": "UTC"}
    for signal, misfire in ((1, "once"), (2, "skip"), (3, "all")):
        bench.sources.add(signal, every | {"misfire": misfire})
    now = datetime.now(UTC).replace(second=30)

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # an instant that came
            assert tz is UTC
            return now + timedelta(days=2)

    monkeypatch.setattr("pymule.master.sources.datetime", Later)
    bench.wall.strike()

    assert bench.ticks.count(1) == 1
    assert bench.ticks.count(2) == 1
    assert bench.ticks.count(3) == 1440
    assert "ticks missed" in caplog.text


async def test_a_file_monitor_tells_the_signal_it_is_of(
    bench: Bench, tmp_path: Path
) -> None:
    source: dict[str, object] = {"kind": "filemon", "path": str(tmp_path / "new")}
    bench.sources.check(source)
    bench.sources.add(17, source)
    await bench.monitors.settled()

    (tmp_path / "new").touch()
    await wait_until(lambda: bench.changes)
    bench.sources.remove(17)

    key, paths, is_complete = bench.changes[0]
    assert bench.sources.signal_of(key) == 17
    assert (paths, is_complete) == ([str(tmp_path / "new")], True)
    assert bench.sources.signal_of("touch_reload:x") is None
