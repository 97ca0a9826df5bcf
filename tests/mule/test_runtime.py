"""The link: what goes over it, when, and how it ends."""

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from pymule.mule import api, sync
from pymule.mule.api import farm_get_msg, mule_get_msg, receive
from pymule.mule.runtime import describe_error
from pymule.sansio.options import pack_options
from pymule.sansio.verbs import (
    Close,
    Credit,
    Deliver,
    Drain,
    JsonObject,
    Lane,
    Nack,
    Ready,
    Stacks,
)
from tests.conftest import MS, wait_until
from tests.mule.conftest import Letter, Stage

FIXED: JsonObject = {"id": 3, "farms": ["busy", "idle"], "credit": 5}
ANYTHING = True


def a_letter(number: int) -> Letter:
    return Letter(number, b"x", "mule", 1, b"")


async def stop(*tasks: asyncio.Task[bytes]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


# Credit


async def test_the_first_ask_opens_a_lane_and_says_ready(stage: Stage) -> None:
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    sources = ["mule3", "mule", "farm:busy", "farm:idle"]
    assert stage.master.all(Lane) == [Lane(0, sources)]
    assert len(stage.master.all(Ready)) == 1


async def test_a_mule_that_nobody_asks_in_holds_nothing(stage: Stage) -> None:
    stage.master.submit(b"a")

    stage.runtime.lane(ANYTHING)
    await stage.all_heard()

    assert stage.master.all(Credit) == []


async def test_credit_that_nobody_waits_for_is_taken_back(stage: Stage) -> None:
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    assert stage.master.limits == {0: 0}


async def test_a_slow_mule_holds_only_what_it_works_on(stage: Stage) -> None:
    stage.master.submit(*[b"x"] * 100)

    for _ in range(3):
        await mule_get_msg()
        # A message that takes 10 ms, in which the loop is free.
        lane = stage.runtime.lane(ANYTHING)
        lane.mark(lane._mark_s - 0.010)
        await stage.all_heard()

    assert stage.master.delivered[0] <= 4


async def test_a_fast_mule_holds_more_than_it_works_on(stage: Stage) -> None:
    stage.master.submit(*[b"x"] * 3_000)

    for _ in range(2_000):
        await mule_get_msg()

    assert stage.runtime.lane(ANYTHING).window > 20


@pytest.mark.parametrize("mule", [FIXED])
async def test_a_fixed_credit_is_held_and_no_more(stage: Stage) -> None:
    stage.master.submit(*[b"%d" % number for number in range(50)])

    await mule_get_msg()
    for _ in range(20):
        await stage.all_heard()
        lane = stage.runtime.lane(ANYTHING)
        assert lane.untaken <= 5
        await mule_get_msg()

    assert stage.master.returned == []


@pytest.mark.parametrize("mule", [FIXED])
async def test_credit_never_comes_before_its_lane(stage: Stage) -> None:
    def ask() -> None:
        for farm in ("busy", "idle"):
            with pytest.raises(TimeoutError):
                sync.farm_get_msg(farm, timeout=0)
        with pytest.raises(TimeoutError):
            sync.mule_get_msg(timeout=0)

    await asyncio.gather(*[asyncio.to_thread(ask) for _ in range(4)])
    await stage.all_heard()

    # The master asserts the order.
    assert stage.master.limits == {0: 5, 1: 5, 2: 5}


# What the peer may not do


async def test_more_than_the_limit_ends_the_link(stage: Stage) -> None:
    task = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: stage.master.limits[0] == 1)

    stage.master.deliver(0, [a_letter(1), a_letter(2)])
    await wait_until(lambda: stage.master.is_lost)

    (close,) = stage.master.all(Close)
    assert "the limit is 1" in str(close.value["reason"])
    assert stage.orphaned
    await stop(task)


async def test_a_lane_that_is_not_open_ends_the_link(stage: Stage) -> None:
    stage.master.deliver(4, [a_letter(1)])
    await wait_until(lambda: stage.master.is_lost)

    assert stage.master.all(Close) == [Close({"reason": "lane 4 is not open"})]


async def test_a_batch_that_cannot_be_read_ends_the_link(stage: Stage) -> None:
    task = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: stage.master.limits[0] == 1)

    stage.master.send(Deliver(1, 1, 0, 1, b"mule", b"", b"\xff\xff\xff\xff"))
    await wait_until(lambda: stage.master.is_lost)

    assert "add up to" in str(stage.master.all(Close)[0].value["reason"])
    await stop(task)


async def test_the_death_of_the_master_orphans_the_mule(stage: Stage) -> None:
    assert stage.master.connection is not None

    stage.master.connection.abort()
    await wait_until(lambda: stage.orphaned)

    # What is said to nobody does no harm.
    stage.runtime.ready()
    stage.runtime.flush()


async def test_a_goodbye_of_the_master_orphans_the_mule(stage: Stage) -> None:
    stage.master.send(Close({"reason": "enough"}))

    await wait_until(lambda: stage.orphaned)


async def test_the_master_may_ask_for_stacks(stage: Stage) -> None:
    asked: list[bool] = []
    stage.runtime.on_stacks = lambda: asked.append(True)

    stage.master.send(Stacks())

    await wait_until(lambda: asked)


# Draining and stalling


async def test_drain_gives_back_what_is_untouched(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(100)])
    await mule_get_msg()
    lane = stage.runtime.lane(ANYTHING)
    lane.window = 50
    stage.runtime.flush()
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
    await wait_until(lambda: stage.runtime.is_draining)

    stage.master.submit(b"b")
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    assert stage.master.acked == ids
    assert stage.master.leased == {}


async def test_a_lane_opened_just_before_a_drain_is_told_first(stage: Stage) -> None:
    stage.runtime.lane(ANYTHING)

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
    await wait_until(lambda: stage.runtime.is_draining)
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


async def test_what_a_busy_consumer_does_not_touch_goes_back(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(100)])
    await mule_get_msg()
    lane = stage.runtime.lane(ANYTHING)
    lane.window = 50
    stage.runtime.flush()
    await wait_until(lambda: lane.untaken > 10)

    await wait_until(lambda: stage.master.returned)
    await stage.all_heard()

    assert list(stage.master.leased) == ids[:1]
    assert stage.held_ids() == ids[:1]
    rest = [await mule_get_msg() for _ in ids[1:]]
    assert rest == [b"%d" % number for number in range(1, 100)]


async def test_what_is_taken_in_time_stays(stage: Stage) -> None:
    ids = stage.master.submit(*[b"x"] * 40)
    await mule_get_msg()
    lane = stage.runtime.lane(ANYTHING)
    lane.window = 39
    stage.runtime.flush()
    await wait_until(lambda: lane.untaken == 39)

    for _ in ids[1:]:
        # The timer's own act, between any two messages; nothing has slowed down.
        lane.window = 39
        stage.runtime._look_for_stalls()
        await mule_get_msg()

    assert stage.master.returned == []


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


async def test_a_task_that_failed_as_the_program_ended_keeps_its_message(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a")

    async def fail() -> None:
        await mule_get_msg()
        raise LookupError

    task = asyncio.create_task(fail())
    await wait_until(task.done)
    hands = dict(stage.runtime.hands)
    await stage.runtime.close(None)

    assert stage.master.acked == []
    assert not hands or stage.held_ids() == ids
    assert isinstance(task.exception(), LookupError)


async def test_an_error_that_nobody_awaits_is_still_logged(stage: Stage) -> None:
    stage.master.submit(b"a")
    logged: list[str] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: logged.append(context["message"]))

    async def fail() -> None:
        await mule_get_msg()
        raise LookupError

    task = asyncio.create_task(fail())
    await wait_until(lambda: stage.master.all(Nack))
    del task
    gc.collect()
    loop.set_exception_handler(handler)

    assert logged == ["Task exception was never retrieved"]


async def test_closing_twice_is_once(stage: Stage) -> None:
    await stage.runtime.close(None)
    await stage.runtime.close(None)

    assert len(stage.master.all(Close)) == 1


async def test_a_nacked_message_is_in_hand_until_the_kernel_has_the_nack(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a")

    async with receive() as message:
        message.nack()
        assert stage.held_ids() == ids
    await wait_until(lambda: not stage.board.held())

    assert stage.master.all(Nack)[0].id == ids[0]


def _fail(text: str) -> None:
    raise ValueError(text)


def test_an_error_travels_with_type_text_and_the_end_of_its_traceback() -> None:
    with pytest.raises(ValueError, match="xxx") as caught:
        _fail("x" * 10_000)
    error = describe_error(caught.value)

    assert error["type"] == "ValueError"
    assert len(str(error["text"])) == 8_000
    assert len(str(error["traceback"])) == 8_000


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
    lane = stage.runtime.lane(ANYTHING)
    assert lane.home in (None, asyncio.get_running_loop())


async def test_a_task_that_changes_lanes_has_asked(stage: Stage) -> None:
    (first,) = stage.master.submit(b"a")
    stage.master.submit(b"b", source="farm:busy")

    await mule_get_msg(farms=False)
    await farm_get_msg("busy")
    await stage.all_heard()

    assert stage.master.acked == [first]
    assert len(api.running_hands) == 1


@pytest.mark.parametrize("headers", [{"a": "b"}, None])
async def test_options_do_not_change_what_is_delivered(
    stage: Stage, headers: dict[str, str] | None
) -> None:
    options = pack_options(delay=0, priority=0, ttl=None, key=None, headers=headers)
    stage.master.submit(b"a", options=options)

    assert await mule_get_msg() == b"a"
