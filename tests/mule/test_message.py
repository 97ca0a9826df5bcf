import asyncio

import pytest

from pymule.errors import LeaseLostError
from pymule.mule.api import messages, mule_get_msg, receive
from pymule.sansio.options import pack_options
from pymule.sansio.verbs import Nack
from pymule.verdicts import Reject, Retry
from tests.mule.conftest import Stage

HEADERS = pack_options(headers={"trace": "7f", "äö": "ü"})
EVERYTHING = pack_options(
    priority=3, key="user 7", message_id="order 12", max_attempts=2, ttl=60
)


async def test_a_message_knows_where_it_comes_from(stage: Stage) -> None:
    first, second = stage.master.submit(
        b"a", b"bb", source="mule3", attempt=4, options=HEADERS
    )

    async with receive(), receive() as message:
        assert (message.id, message.attempt, message.source) == (second, 4, "mule3")
        assert message.headers == {"trace": "7f", "äö": "ü"}
        assert repr(message) == (
            f"<Message id={second} attempt=4 source='mule3' 2 bytes>"
        )
    assert first + 1 == second


async def test_a_message_knows_what_its_sender_asked_for(stage: Stage) -> None:
    stage.master.submit(b"a", options=EVERYTHING)

    async with receive() as message:
        assert (message.priority, message.key) == (3, "user 7")
        assert (message.message_id, message.max_attempts) == ("order 12", 2)


async def test_a_message_whose_sender_asked_for_nothing_says_so(stage: Stage) -> None:
    stage.master.submit(b"a")

    async with receive() as message:
        assert (message.headers, message.priority) == ({}, 0)
        assert (message.key, message.message_id) == (None, None)
        assert message.max_attempts is None


async def test_an_ack_in_the_block_is_enough(stage: Stage) -> None:
    ids = stage.master.submit(b"a")

    async with receive() as message:
        message.ack()
        await stage.all_heard()
        assert stage.master.acked == ids
    await stage.all_heard()

    assert message.is_settled
    assert stage.master.acked == ids


async def test_a_nack_in_the_block_is_enough(stage: Stage) -> None:
    (number,) = stage.master.submit(b"a", attempt=3)

    async with receive() as message:
        message.nack(delay=2.5, reason="not today")
    await stage.all_heard()

    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.attempt, nack.delay) == (number, 3, 2.5)
    assert nack.error == {"type": "Nack", "text": "not today"}
    assert stage.master.acked == []


async def test_a_message_may_be_rejected(stage: Stage) -> None:
    (number,) = stage.master.submit(b"a")

    async with receive() as message:
        message.reject("no such customer")
        with pytest.raises(LeaseLostError):
            message.reject("twice")
    await stage.all_heard()

    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.final) == (number, True)
    assert nack.error == {"type": "Reject", "text": "no such customer"}


async def test_a_verdict_ends_the_block_and_nothing_else(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")

    async with receive():
        give_back(2.5, "the shop is closed")
    async with receive(), asyncio.TaskGroup() as tasks:
        tasks.create_task(reject("no such customer"))
    async for message in messages():
        with message:
            give_back()
        break
    await stage.all_heard()

    nacks = stage.master.all(Nack)
    assert [nack.id for nack in nacks] == ids
    assert [(nack.delay, nack.final) for nack in nacks] == [
        (2.5, False),
        (-1, True),
        (-1, False),
    ]
    assert [(nack.error["type"], nack.error["text"]) for nack in nacks] == [
        ("Retry", "the shop is closed"),
        ("Reject", "no such customer"),
        ("Retry", "try again"),
    ]
    assert stage.master.acked == []


def give_back(delay: float | None = None, reason: str = "") -> None:
    raise Retry(delay, reason)


async def reject(reason: str) -> None:
    raise Reject(reason)


async def test_what_was_raised_from_a_verdict_obeys_it_and_goes_on(
    stage: Stage,
) -> None:
    stage.master.submit(b"a")

    with pytest.raises(LookupError):
        async with receive():
            raise LookupError("not there yet") from Retry(2.5)
    await stage.all_heard()

    assert stage.master.all(Nack)[0].delay == 2.5


async def test_a_verdict_about_a_settled_message_is_an_error(stage: Stage) -> None:
    ids = stage.master.submit(b"a")

    async def work() -> None:
        async with receive() as message:
            message.ack()
            raise Retry

    with pytest.raises(Retry):
        await work()
    await stage.all_heard()

    assert stage.master.acked == ids


async def test_a_message_is_settled_once(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b")

    async with receive() as acked, receive() as nacked:
        acked.ack()
        nacked.nack()
        for message in (acked, nacked):
            with pytest.raises(LeaseLostError) as caught:
                message.ack()
            with pytest.raises(LeaseLostError):
                message.nack()
            assert (caught.value.id, caught.value.attempt) == (message.id, 1)
    await stage.all_heard()

    assert stage.master.acked == ids[:1]
    assert [nack.id for nack in stage.master.all(Nack)] == ids[1:]


async def test_a_message_is_settled_by_asking_for_the_next(stage: Stage) -> None:
    stage.master.submit(b"a", b"b", b"c")
    iterator = messages()
    first = await anext(iterator)

    await anext(iterator)

    assert first.is_settled
    with pytest.raises(LeaseLostError):
        first.nack()


async def test_an_acked_message_leaves_its_task_free_to_ask(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")
    first = await anext(messages())

    first.ack()
    body = await mule_get_msg()
    async with receive() as other:
        await stage.all_heard()
        held = stage.held_ids()

    assert (body, other.body) == (b"b", b"c")
    assert held == ids[1:]
    assert stage.master.acked == ids[:1]


async def test_a_message_works_without_async_too(stage: Stage) -> None:
    ids = stage.master.submit(b"a")

    with await anext(messages(concurrency=2)) as message:
        assert message.body == b"a"
    await stage.all_heard()

    assert stage.master.acked == ids
