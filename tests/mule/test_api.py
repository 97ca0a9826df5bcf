"""What an asyncio program sees, over a real link whose other end the test plays."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from pymule.mule.api import farm_get_msg, messages, mule_get_msg, receive
from pymule.mule.message import Message
from pymule.sansio.verbs import Nack
from tests.conftest import MS, wait_until
from tests.mule.conftest import Stage

Get = Callable[[], Coroutine[object, object, bytes]]


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def receive_body() -> bytes:
    async with receive() as message:
        return message.body


async def test_messages_come_in_order(stage: Stage) -> None:
    bodies = [str(number).encode() for number in range(3_000)]
    stage.master.submit(*bodies[:1_500])
    stage.master.submit(*bodies[1_500:])

    got = [await mule_get_msg() for _ in bodies]

    assert got == bodies


async def test_asking_acknowledges_the_last_message_and_no_other(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"", b"c")

    await mule_get_msg()
    await stage.all_heard()
    acked_at_first = list(stage.master.acked)
    await mule_get_msg()
    await stage.all_heard()

    assert acked_at_first == []
    assert stage.master.acked == ids[:1]
    assert stage.held_ids() == ids[1:2]


async def test_the_last_message_is_acknowledged_while_the_next_is_waited_for(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a")
    await mule_get_msg()

    asking = asyncio.create_task(mule_get_msg())
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await wait_until(lambda: stage.master.acked)

    assert stage.master.acked == ids
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_busy_program_lets_other_tasks_run(stage: Stage) -> None:
    for _ in range(50):
        stage.master.submit(*[b"x"] * 100)
    got = 0

    async def program() -> None:
        nonlocal got
        while got < 5_000:
            await mule_get_msg()
            got += 1

    seen = []
    task = asyncio.create_task(program())
    while not task.done():
        seen.append(got)
        await asyncio.sleep(0)

    # A delivery may be finished without a turn, but not all of them.
    assert len(set(seen)) > 3
    await task


@pytest.mark.parametrize("get", [mule_get_msg, receive_body])
async def test_cancelling_at_any_await_loses_nothing(stage: Stage, get: Get) -> None:
    bodies = [str(number).encode() for number in range(300)]
    waiting = list(reversed(bodies))
    got = []

    for round_ in range(150):
        task = asyncio.create_task(get())
        await turns(round_ % 7)
        if waiting and round_ % 3:
            stage.master.submit(waiting.pop(), *([waiting.pop()] if waiting else []))
        await turns(round_ // 7 % 9)
        task.cancel()
        with suppress(asyncio.CancelledError):
            got.append(await task)
    while waiting:
        stage.master.submit(waiting.pop())
    while len(got) < len(bodies):
        got.append(await get())

    assert sorted(got) == sorted(bodies)
    assert not stage.master.all(Nack)


async def test_who_was_woken_and_cancelled_leaves_the_message_to_another(
    stage: Stage,
) -> None:
    first = asyncio.create_task(mule_get_msg())
    await turns(3)
    second = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: stage.master.limits.get(0) == 2)

    stage.master.submit(b"one")
    lane = stage.runtime.link.lane(True)  # noqa: FBT003  (its key)
    while not lane.received:
        await turns(1)
    first.cancel()

    async with asyncio.timeout(5000 * MS):
        assert await second == b"one"
    assert first.cancelled()


async def test_who_gave_up_waiting_does_not_take_the_wake_up_of_another(
    stage: Stage,
) -> None:
    first = asyncio.create_task(mule_get_msg())
    await turns(3)
    second = asyncio.create_task(mule_get_msg())
    await turns(3)
    first.cancel()
    await asyncio.wait([first])

    stage.master.submit(b"one")

    assert await second == b"one"
    assert stage.master.returned == []


async def test_asking_again_after_a_timeout_is_woken_at_once(stage: Stage) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await mule_get_msg(timeout=1 * MS)
    task = asyncio.create_task(mule_get_msg())
    await turns(3)

    stage.master.submit(b"one")

    assert await task == b"one"
    assert stage.master.returned == []


async def test_a_get_within_wait_for_is_not_acknowledged_early(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b")

    body = await asyncio.wait_for(mule_get_msg(), 5000 * MS)
    await stage.all_heard()

    assert body == b"a"
    assert stage.master.acked == []
    assert stage.held_ids() == ids[:1]
    assert await asyncio.wait_for(mule_get_msg(), 5000 * MS) == b"b"
    await stage.all_heard()
    assert stage.master.acked == ids[:1]


async def test_a_get_within_asyncio_timeout_is_not_acknowledged_early(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a", b"b")

    async with asyncio.timeout(5000 * MS):
        await mule_get_msg()
    await stage.all_heard()
    acked_early = list(stage.master.acked)
    await mule_get_msg(timeout=5000 * MS)
    await stage.all_heard()

    assert acked_early == []
    assert stage.master.acked == ids[:1]


async def test_a_task_that_ended_well_leaves_its_message_leased_until_anyone_asks(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")
    await mule_get_msg()

    assert await asyncio.create_task(mule_get_msg()) == b"b"
    await stage.all_heard()
    acked_at_its_end = list(stage.master.acked)
    held_at_its_end = stage.held_ids()
    await mule_get_msg()
    await stage.all_heard()

    assert acked_at_its_end == []
    assert held_at_its_end == ids[:2]
    assert stage.master.acked == ids[:2]
    assert stage.held_ids() == ids[2:]


async def test_a_task_that_raises_nacks_with_its_error(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", attempt=2)

    async def fail() -> None:
        await mule_get_msg()
        raise ValueError("no such customer")

    with pytest.raises(ValueError, match="no such customer"):
        await asyncio.create_task(fail())
    await wait_until(lambda: stage.master.all(Nack))
    assert await mule_get_msg() == b"b"
    await stage.all_heard()

    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.attempt, nack.final, nack.delay) == (ids[0], 2, False, -1.0)
    assert nack.error["type"] == "ValueError"
    assert nack.error["text"] == "no such customer"
    assert 'raise ValueError("no such customer")' in str(nack.error["traceback"])
    assert stage.master.acked == []
    assert stage.held_ids() == ids[1:]


async def test_a_task_cancelled_with_a_message_nacks_it(stage: Stage) -> None:
    (number,) = stage.master.submit(b"a")

    async def work() -> None:
        await mule_get_msg()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(work())
    await wait_until(stage.held_ids)
    task.cancel()
    await asyncio.wait([task])
    await wait_until(lambda: stage.master.all(Nack))

    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.error["type"]) == (number, "CancelledError")


async def test_a_task_that_ends_with_nothing_in_hand_leaves_nothing(
    stage: Stage,
) -> None:
    task = asyncio.create_task(mule_get_msg())
    await turns(3)
    task.cancel()
    await asyncio.wait([task])
    await stage.all_heard()

    assert not stage.runtime.hands.by_owner
    assert not stage.master.all(Nack)


async def test_two_tasks_share_what_comes(stage: Stage) -> None:
    got: dict[str, list[bytes]] = {"one": [], "two": []}

    async def work(name: str) -> None:
        for _ in range(10):
            got[name].append(await mule_get_msg())
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work("one"))
        tasks.create_task(work("two"))
        await turns(3)
        ids = stage.master.submit(*[b"%d" % number for number in range(20)])
    assert stage.runtime.hands._orphans
    asking = asyncio.create_task(mule_get_msg())
    await wait_until(lambda: len(stage.master.acked) == 20)

    assert sorted(got["one"] + got["two"]) == sorted(b"%d" % n for n in range(20))
    assert sorted(stage.master.acked) == ids
    asking.cancel()
    await asyncio.wait([asking])


async def test_each_way_of_asking_has_its_own_queues(stage: Stage) -> None:
    for source in ("mule", "mule3", "farm:busy", "farm:idle"):
        stage.master.submit(source.encode(), source=source)

    assert await farm_get_msg("idle") == b"farm:idle"
    assert await farm_get_msg() == b"farm:busy"
    own = {await mule_get_msg(farms=False), await mule_get_msg(farms=False)}
    assert own == {b"mule", b"mule3"}
    stage.master.submit(b"more", source="farm:busy")
    assert await mule_get_msg() == b"more"
    await stage.all_heard()

    assert stage.master.lanes == {
        0: ["farm:idle"],
        1: ["farm:busy", "farm:idle"],
        2: ["mule3", "mule"],
        3: ["mule3", "mule", "farm:busy", "farm:idle"],
    }
    assert len(stage.master.acked) == 4


async def test_a_farm_of_others_cannot_be_asked_for(stage: Stage) -> None:
    ids = stage.master.submit(b"a")
    await mule_get_msg()

    with pytest.raises(ValueError, match="not in farm 'other'; it is in: busy, idle"):
        await farm_get_msg("other")
    with pytest.raises(ValueError, match="not in farm 'other'"):
        async with receive("other"):
            pass

    assert stage.held_ids() == ids


@pytest.mark.parametrize("mule", [{"id": 5, "farms": []}])
async def test_a_mule_in_no_farm_cannot_ask_for_one(stage: Stage) -> None:
    assert stage.runtime.link.mule_id == 5

    with pytest.raises(ValueError, match="mule 5 is in no farm"):
        await farm_get_msg()
    with pytest.raises(ValueError, match="it is in: none"):
        await farm_get_msg("busy")


async def test_farm_get_msg_walks_a_delivery_in_order(stage: Stage) -> None:
    bodies = [b"%d" % number for number in range(50)]
    stage.master.submit(*bodies, source="farm:busy")

    assert [await farm_get_msg("busy", timeout=5000 * MS) for _ in bodies] == bodies


async def test_receive_acknowledges_at_the_end_of_the_block(stage: Stage) -> None:
    ids = stage.master.submit(b"a")

    async with receive() as message:
        await stage.all_heard()
        acked_inside = list(stage.master.acked)
    await stage.all_heard()

    assert message.body == b"a"
    assert acked_inside == []
    assert stage.master.acked == ids


async def test_receive_nacks_when_the_block_raises(stage: Stage) -> None:
    (number,) = stage.master.submit(b"a")

    with pytest.raises(LookupError):
        async with receive():
            raise LookupError("missing")
    await stage.all_heard()

    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.error["type"]) == (number, "LookupError")
    assert stage.master.acked == []
    await wait_until(lambda: not stage.board.held())


async def test_many_messages_may_be_received_at_once(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(100)])
    all_there = asyncio.Event()

    async def handle() -> bytes:
        async with receive() as message:
            await all_there.wait()
            return message.body

    async with asyncio.TaskGroup() as tasks:
        handlers = [tasks.create_task(handle()) for _ in range(100)]
        await wait_until(lambda: len(stage.held_ids()) == 100)
        held = stage.held_ids()
        all_there.set()
    await stage.all_heard()

    assert held == ids
    assert len({task.result() for task in handlers}) == 100
    assert sorted(stage.master.acked) == ids
    assert stage.board.held() == []


async def test_receive_from_a_farm_takes_nothing_else(stage: Stage) -> None:
    stage.master.submit(b"shared")
    stage.master.submit(b"farm", source="farm:busy")

    async with receive("busy") as message:
        assert (message.body, message.source) == (b"farm", "farm:busy")


async def test_messages_one_by_one_acknowledges_at_the_next(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")
    seen = []

    async for message in messages():
        await stage.all_heard()
        seen.append((message.body, list(stage.master.acked)))
        if message.body == b"c":
            break

    assert seen == [(b"a", []), (b"b", ids[:1]), (b"c", ids[:2])]


async def test_messages_one_by_one_may_be_settled_in_a_block(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(5)])
    seen = []

    async for message in messages():
        async with message:
            async with receive() as other:
                await stage.all_heard()
                held = stage.held_ids()
            assert held == sorted([message.id, other.id])
        seen += [message.id, other.id]
        if len(seen) == 4:
            break
    last = await mule_get_msg()
    await stage.all_heard()

    assert seen == ids[:4]
    assert sorted(stage.master.acked) == ids[:4]
    assert last == b"4"
    assert stage.held_ids() == ids[4:]


async def test_messages_one_by_one_may_be_nacked(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")

    async for message in messages():
        if message.body == b"c":
            break
        message.nack(reason="not today")
    await stage.all_heard()

    assert [nack.id for nack in stage.master.all(Nack)] == ids[:2]
    assert stage.master.acked == []
    assert stage.held_ids() == ids[2:]


async def test_messages_at_once_are_at_most_as_many_as_asked_for(stage: Stage) -> None:
    ids = stage.master.submit(*[b"%d" % number for number in range(9)])
    out = 0
    most = 0

    async def handle(message: Message) -> None:
        nonlocal out
        async with message:
            await turns(3)
            out -= 1

    async with asyncio.TaskGroup() as tasks:
        async for message in messages(concurrency=3):
            out += 1
            most = max(most, out)
            tasks.create_task(handle(message))
            if message.id == ids[-1]:
                break
    await stage.all_heard()

    assert most == 3
    assert sorted(stage.master.acked) == ids


async def test_messages_at_once_wait_while_all_are_out(stage: Stage) -> None:
    stage.master.submit(b"a", b"b", b"c")
    iterator = messages(concurrency=2)
    first, second = await anext(iterator), await anext(iterator)

    third = asyncio.ensure_future(anext(iterator))
    await turns(5)
    was_waiting = not third.done()
    second.ack()

    assert was_waiting
    assert (await third).body == b"c"
    assert not first.is_settled
