"""The link: what goes over it, when, and how it ends."""

import asyncio

import pytest

from pymule.errors import NotAllowedError
from pymule.mule import sync
from pymule.mule.api import mule_get_msg, receive
from pymule.mule.link import MuleLink
from pymule.sansio.verbs import (
    Call,
    Close,
    Credit,
    Deliver,
    JsonObject,
    Lane,
    Nack,
    Ready,
    Reply,
    ReplyKind,
    Signal,
    Stacks,
)
from tests.conftest import MS, wait_until
from tests.mule.conftest import MULE, Letter, Stage, new_board, stop
from tests.mule.test_sync import Worker

FIXED: JsonObject = {"id": 3, "farms": ["busy", "idle"], "credit": 5}
ANYTHING = True


def a_letter(number: int) -> Letter:
    return Letter(number, b"x", "mule", 1, b"")


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

    stage.runtime.link.lane(ANYTHING)
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
        lane = stage.runtime.link.lane(ANYTHING)
        lane.mark(lane._mark_s - 0.010)
        await stage.all_heard()

    assert stage.master.delivered[0] <= 4


@pytest.mark.usefixtures("no_look")
async def test_a_fast_mule_holds_more_than_it_works_on(stage: Stage) -> None:
    stage.master.submit(*[b"x"] * 3_000)

    for _ in range(2_000):
        await mule_get_msg()

    assert stage.runtime.link.lane(ANYTHING).window > 20


@pytest.mark.parametrize("mule", [FIXED])
async def test_a_fixed_credit_is_held_and_no_more(stage: Stage) -> None:
    stage.master.submit(*[b"%d" % number for number in range(50)])

    await mule_get_msg()
    for _ in range(20):
        await stage.all_heard()
        lane = stage.runtime.link.lane(ANYTHING)
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


# Asking


def a_question(name: str) -> JsonObject:
    return {"method": "register", "signal": 7, "handler": name}


async def test_answers_come_to_those_who_asked(stage: Stage) -> None:
    stage.master.refusals["clean_up"] = NotAllowedError("not today")
    ask = stage.runtime.link.ask

    first, refused = ask(a_question("rebuild")), ask(a_question("clean_up"))
    in_a_thread = Worker(lambda: ask(a_question("rebuild")).result())

    assert await asyncio.wrap_future(first) == {"signal": 7, "holder": "mule3"}
    with pytest.raises(NotAllowedError, match="not today"):
        await asyncio.wrap_future(refused)
    assert await in_a_thread.end() == {"signal": 7, "holder": "mule3"}
    assert [call.id for call in stage.master.all(Call)] == [1, 2, 3]


async def test_an_answer_that_nobody_waits_for_is_dropped(stage: Stage) -> None:
    stage.master.send(Reply(99, ReplyKind.LAST, {}))
    stage.runtime.link.ask(a_question("rebuild")).cancel()
    later = stage.runtime.link.ask(a_question("rebuild"))

    assert await asyncio.wrap_future(later) == {"signal": 7, "holder": "mule3"}


async def test_a_signal_before_anybody_could_run_it_is_dropped() -> None:
    board = new_board()
    link = MuleLink(asyncio.get_running_loop(), board, dict(MULE))

    link.on_signal(Signal(7))

    assert not link.is_listening()
    board.close()


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
    stage.runtime.link.ready()
    stage.runtime.link.flush()


async def test_a_goodbye_of_the_master_orphans_the_mule(stage: Stage) -> None:
    stage.master.send(Close({"reason": "enough"}))

    await wait_until(lambda: stage.orphaned)


async def test_the_master_may_ask_for_stacks(stage: Stage) -> None:
    asked: list[bool] = []
    stage.runtime.link.on_stacks = lambda: asked.append(True)

    stage.master.send(Stacks())

    await wait_until(lambda: asked)


# What nobody takes


async def test_what_a_busy_consumer_does_not_touch_goes_back(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(100)])
    await mule_get_msg()
    lane = stage.runtime.link.lane(ANYTHING)
    lane.window = 50
    stage.runtime.link.flush()

    await wait_until(lambda: stage.master.returned)
    await stage.all_heard()

    assert list(stage.master.leased) == ids[:1]
    assert stage.held_ids() == ids[:1]
    rest = [await mule_get_msg() for _ in ids[1:]]
    assert rest == [b"%d" % number for number in range(1, 100)]


async def test_a_message_for_a_task_that_waits_needs_no_watch(stage: Stage) -> None:
    link = stage.runtime.link
    asking = asyncio.create_task(mule_get_msg())
    await stage.all_heard()

    stage.master.submit(b"a")
    body = await asking

    assert body == b"a"
    assert link._stall_timer is None


async def test_what_a_task_was_woken_for_and_left_goes_back(stage: Stage) -> None:
    asking = asyncio.create_task(mule_get_msg())
    await stage.all_heard()
    lane = stage.runtime.link.lane(ANYTHING)

    ids = stage.master.submit(b"a")
    while not lane.received:  # noqa: ASYNC110  (turns, and no time, pass)
        await asyncio.sleep(0)
    asking.cancel()
    await wait_until(lambda: stage.master.returned)

    assert asking.cancelled()
    assert stage.master.returned == ids


@pytest.mark.usefixtures("no_look")
async def test_what_is_taken_in_time_stays(stage: Stage) -> None:
    stage.master.submit(*[b"x"] * 40)
    await mule_get_msg()
    lane = stage.runtime.link.lane(ANYTHING)
    lane.window = 39
    stage.runtime.link.flush()
    await wait_until(lambda: lane.untaken == 39)

    while lane.untaken:
        # The timer's own act, which finds that half of it was taken since the last one.
        lane.window = 39
        stage.runtime.link._look_for_stalls()
        for _ in range(-(-lane.untaken // 2)):
            await mule_get_msg()

    assert stage.master.returned == []


@pytest.mark.usefixtures("no_look")
async def test_what_is_taken_far_too_slowly_goes_back(stage: Stage) -> None:
    ids = stage.master.submit(*[b"x"] * 40)
    await mule_get_msg()
    lane = stage.runtime.link.lane(ANYTHING)
    lane.window = 39
    stage.runtime.link.flush()
    await wait_until(lambda: lane.untaken == 39)

    stage.runtime.link._look_for_stalls()
    await mule_get_msg()
    stage.runtime.link._look_for_stalls()
    await stage.all_heard()

    assert list(stage.master.leased) == ids[1:2]
    assert lane.window == 0


@pytest.mark.usefixtures("no_look")
async def test_what_was_under_way_when_others_went_back_goes_back_too(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")
    assert await mule_get_msg() == b"a"
    lane = stage.runtime.link.lane(ANYTHING)
    lane.window = 3
    stage.runtime.link.flush()
    await wait_until(lambda: lane.untaken == 2)

    stage.runtime.link.give_back(lane)
    # The master has not read that b and c come back, and sends d.
    younger = stage.master.submit(b"d")
    under_way = stage.master.delivered[lane.index]

    assert under_way == 4
    assert [await mule_get_msg() for _ in "bcd"] == [b"b", b"c", b"d"]
    assert stage.master.returned == [*ids[1:], *younger]


async def test_a_nacked_message_is_in_hand_until_the_kernel_has_the_nack(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a")

    async with receive() as message:
        message.nack()
        assert stage.held_ids() == ids
    await wait_until(lambda: not stage.board.held())

    assert stage.master.all(Nack)[0].id == ids[0]
