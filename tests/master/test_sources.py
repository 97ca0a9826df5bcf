"""What raises signals by itself: timers, their owners, and their ends."""

import asyncio

import pytest

from pymule.master.sources import Sources
from pymule.master.ticker import Ticker
from tests.conftest import MS, wait_until


class Bench:
    """Sources on a real ticker, and what they raised."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ticker: Ticker[tuple[str, int]] = Ticker(loop, self._due)
        self.ticks: list[int] = []
        self.sources = Sources(self.ticker, self.ticks.append, lambda *_changed: None)

    def _due(self, key: tuple[str, int]) -> None:
        assert self.sources.due(*key)

    async def ticked(self, signal: int, times: int) -> None:
        await wait_until(lambda: self.ticks.count(signal) >= times)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


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
