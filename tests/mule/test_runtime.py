"""Consumers in several loops and threads, a drain, and the end of the program."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from pymule.handlers import Registry
from pymule.mule import sync
from pymule.mule.api import mule_get_msg, receive
from pymule.mule.inbox import ThreadWaiter
from pymule.sansio.options import pack_options
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import Close, Drain, Handled, Signal
from tests.conftest import MS, wait_until
from tests.mule.conftest import Stage, stop
from tests.mule.test_sync import Worker

ANYTHING = True


# Draining


@pytest.mark.usefixtures("no_look")
async def test_drain_gives_back_what_is_untouched(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(100)])
    await mule_get_msg()
    lane = stage.runtime.link.lane(ANYTHING)
    lane.window = 50
    stage.runtime.link.flush()
    await wait_until(lambda: lane.untaken > 10)

    stage.master.send(Drain())
    await wait_until(lambda: stage.master.returned)
    await stage.all_heard()

    assert list(stage.master.leased) == ids[:1]
    assert stage.master.returned == ids[1 : 1 + len(stage.master.returned)]
    assert stage.master.limits[0] == stage.master.delivered[0]
    assert stage.master.acked == []


async def test_a_draining_mule_asks_for_nothing_more(stage: Stage) -> None:
    ids = stage.master.submit(b"a")
    await mule_get_msg()
    stage.master.send(Drain())
    await wait_until(lambda: stage.runtime.link.is_draining)

    stage.master.submit(b"b")
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    assert stage.master.acked == ids
    assert stage.master.leased == {}


async def test_a_lane_opened_just_before_a_drain_is_told_first(stage: Stage) -> None:
    stage.runtime.link.lane(ANYTHING)

    stage.runtime.drain()
    await stage.all_heard()

    assert stage.master.limits == {0: 0}


async def test_drain_releases_what_tasks_that_ended_had(stage: Stage) -> None:
    waiting = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: stage.master.limits[0])
    worker = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: stage.master.limits[0] == 2)
    (number,) = stage.master.submit(b"a")
    await asyncio.wait([waiting, worker], return_when=asyncio.FIRST_COMPLETED)
    await stage.all_heard()
    acked_before = list(stage.master.acked)

    stage.master.send(Drain())
    await wait_until(lambda: stage.master.acked)

    assert acked_before == []
    assert stage.master.acked == [number]
    await stop(*{waiting, worker})


async def test_drain_does_not_take_from_the_caller_of_wait_for_what_it_works_on(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a")
    # A task of its own, as wait_for makes on Python 3.11.
    await asyncio.create_task(mule_get_msg())

    stage.master.send(Drain())
    await wait_until(lambda: stage.runtime.link.is_draining)
    await stage.all_heard()
    acked_at_work = list(stage.master.acked)
    asking = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: stage.master.acked)

    assert acked_at_work == []
    assert stage.master.acked == ids
    await stop(asking)


async def test_drain_releases_what_threads_that_ended_had(stage: Stage) -> None:
    ids = stage.master.submit(b"a")
    thread = threading.Thread(target=sync.mule_get_msg)
    thread.start()
    await wait_until(lambda: not thread.is_alive())

    stage.master.send(Drain())
    await wait_until(lambda: stage.master.acked)

    assert stage.master.acked == ids


# Turns


@pytest.mark.usefixtures("no_look")
async def test_a_consumer_that_never_waits_lets_others_have_a_turn(
    stage: Stage,
) -> None:
    stage.master.submit(*[b"x"] * 5_000)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    lane = stage.runtime.link.lane(ANYTHING)
    lane.window = 4_000
    await mule_get_msg()
    await wait_until(lambda: lane.untaken > 2_500)
    before = turns
    for _ in range(2_500):
        async with receive():
            pass

    assert turns > before
    counting.cancel()
    await asyncio.wait([counting])


# Signals meanwhile


@pytest.mark.parametrize("is_blocking", [True])
async def test_a_thread_whose_time_was_over_gives_its_signal_back(
    stage: Stage, fresh_registry: Registry
) -> None:
    fresh_registry.add(7, "", lambda _number: None)
    lane = stage.runtime.link.lane(ANYTHING)
    waiter = ThreadWaiter(lane)
    stage.runtime._start_waiting(lane, waiter, hears=True)

    stage.master.send(Signal(7))
    await wait_until(lambda: waiter.job)
    stage.runtime._stop_waiting(lane, waiter)
    await wait_until(lambda: stage.master.all(Handled))

    assert stage.master.all(Handled) == [Handled(7, Outcome.RETURNED)]
    assert lane.waiting == 0
    assert not lane.waiters


async def test_a_nudge_wakes_the_main_thread_only(stage: Stage) -> None:
    workers = [Worker(sync.mule_get_msg) for _ in range(2)]
    lane = stage.runtime.link.lane(ANYTHING)
    await wait_until(lambda: len(lane.waiters) == 2)
    first, second = lane.waiters
    assert isinstance(first, ThreadWaiter)
    # As if it were the main thread, which has the loop here.
    first.is_main = True

    stage.runtime.nudge_main_thread()
    await wait_until(lambda: len(lane.waiters) == 2)
    after = list(lane.waiters)
    stage.runtime.end_waits()

    assert second in after
    assert first not in after
    for worker in workers:
        assert isinstance(await worker.end(), SystemExit)


# The end


async def test_a_program_that_ends_well_acknowledges_what_its_ended_tasks_had(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")
    await asyncio.create_task(mule_get_msg())
    at_work = asyncio.create_task(_take_and_stay())
    await wait_until(lambda: len(stage.held_ids()) == 1 and stage.master.acked)
    assert await asyncio.create_task(mule_get_msg()) == b"c"

    await stage.runtime.close(None)

    assert stage.master.acked == [ids[0], ids[2]]
    assert stage.held_ids() == [ids[1]]
    assert stage.master.all(Close) == [Close({})]
    assert not stage.orphaned
    at_work.cancel()
    await asyncio.wait([at_work])


async def _take_and_stay() -> None:
    await mule_get_msg()
    await asyncio.get_running_loop().create_future()


async def test_a_program_that_failed_keeps_what_it_had_in_hand(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b")
    await asyncio.create_task(mule_get_msg())

    await stage.runtime.close({"type": "ValueError"}, is_done=False)
    # Another task asks while everything ends.
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)

    assert stage.master.acked == []
    assert stage.held_ids() == ids[:1]
    assert stage.master.all(Close) == [Close({"error": {"type": "ValueError"}})]


async def test_closing_twice_is_once(stage: Stage) -> None:
    await stage.runtime.close(None)
    await stage.runtime.close(None)

    assert len(stage.master.all(Close)) == 1


# Several loops and threads


async def in_a_loop_of_its_own(
    work: Callable[[], "asyncio.Future[None] | object"],
) -> None:
    """Run *work*, a coroutine function, in a thread's own asyncio loop."""
    await asyncio.to_thread(lambda: asyncio.run(work()))  # type: ignore[arg-type]  # (any awaitable)


async def test_two_loops_share_what_comes(stage: Stage) -> None:
    bodies = [b"%d" % number for number in range(2_000)]
    got: list[bytes] = []

    async def work() -> None:
        while len(got) < 2_000:
            try:
                got.append(await mule_get_msg(timeout=50 * MS))
            except TimeoutError:
                return

    stage.master.submit(*bodies)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(in_a_loop_of_its_own(work))
        tasks.create_task(work())
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    assert sorted(got) == sorted(bodies)
    assert len(set(stage.master.acked)) == len(stage.master.acked) == 2_000


async def test_a_lane_moves_home_when_its_loop_has_ended(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")
    got: list[bytes] = []

    async def work() -> None:
        got.append(await mule_get_msg())

    await in_a_loop_of_its_own(work)
    await in_a_loop_of_its_own(work)
    await work()
    await stage.all_heard()

    assert got == [b"a", b"b", b"c"]
    assert stage.master.acked == ids[:2]
    lane = stage.runtime.link.lane(ANYTHING)
    assert lane.home in (None, asyncio.get_running_loop())


@pytest.mark.parametrize("headers", [{"a": "b"}, None])
async def test_options_do_not_change_what_is_delivered(
    stage: Stage, headers: dict[str, str] | None
) -> None:
    options = pack_options(headers=headers)
    stage.master.submit(b"a", options=options)

    assert await mule_get_msg() == b"a"
