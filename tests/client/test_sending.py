"""Messages and their options, as both clients and the functions hand them over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

import pymule
import pymule.sync
from pymule.client import sync
from pymule.client.aio import Client
from pymule.client.api import default_client
from pymule.errors import MessageTooBigError
from pymule.sansio.options import (
    BatchOptionWords,
    OptionWords,
    read_options,
    unpack_options,
)
from tests.client.fake_master import FakeMaster
from tests.conftest import wait_until

EVERYTHING: OptionWords = {
    "delay": 1.5,
    "priority": 9,
    "ttl": 60,
    "key": "user 7",
    "message_id": "order 12",
    "headers": {"trace": "7f"},
    "max_attempts": 2,
    "max_crashes": 1,
    "backoff_s": 0.1,
    "backoff_max_s": 3,
    "jitter": 0,
}
FOR_MANY = cast(
    "BatchOptionWords", {k: v for k, v in EVERYTHING.items() if k != "message_id"}
)


@pytest.fixture
async def client(master: FakeMaster) -> AsyncIterator[Client]:
    client = Client(master.path)
    await client.__aenter__()
    yield client
    await client.close()


@pytest.fixture
def blocking(
    master: FakeMaster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeMaster]:
    """A master to which the blocking client of this process goes."""
    monkeypatch.setattr(sync, "_client", None)
    yield master
    sync.default_client().close()


def asked_of(master: FakeMaster) -> list[dict[str, object]]:
    """Return what was asked with each submit."""
    return [unpack_options(submit.options) for submit in master.submits]


# Every way to send takes every option


async def test_the_client_sends_every_option(
    master: FakeMaster, client: Client
) -> None:
    await client.mule_msg(b"a", **EVERYTHING)
    await client.farm_msg("busy", b"b", **EVERYTHING)
    await client.mule_msgs([b"c"], 2, **FOR_MANY)
    await client.farm_msgs("busy", [b"d", b"e"], **FOR_MANY)

    assert asked_of(master) == [EVERYTHING] * 2 + [FOR_MANY] * 2
    assert [submit.count for submit in master.submits] == [1, 1, 1, 2]


async def test_the_functions_send_every_option(master: FakeMaster) -> None:
    await pymule.mule_msg(b"a", **EVERYTHING)
    await pymule.farm_msg("busy", b"b", confirm=False, **EVERYTHING)
    await pymule.mule_msgs([b"c"], 2, **FOR_MANY)
    await pymule.farm_msgs("busy", [b"d"], confirm=False, **FOR_MANY)

    await pymule.flush()
    assert asked_of(master) == [EVERYTHING] * 2 + [FOR_MANY] * 2
    await (await default_client()).close()


def test_the_blocking_functions_send_every_option(blocking: FakeMaster) -> None:
    pymule.sync.mule_msg(b"a", **EVERYTHING)
    pymule.sync.farm_msg("busy", b"b", confirm=False, **EVERYTHING)
    pymule.sync.mule_msgs([b"c"], 2, **FOR_MANY)
    pymule.sync.farm_msgs("busy", [b"d"], confirm=False, **FOR_MANY)

    pymule.sync.flush()
    assert asked_of(blocking) == [EVERYTHING] * 2 + [FOR_MANY] * 2


async def test_an_hour_is_a_datetime_or_seconds(
    master: FakeMaster, client: Client
) -> None:
    when = datetime(2030, 1, 1, tzinfo=UTC)

    await client.mule_msg(b"a", at=when)
    await client.mule_msg(b"b", at=when.timestamp())

    assert [read_options(s.options).at for s in master.submits] == [1893456000] * 2


async def test_a_message_after_quiet_leaves_in_the_call_that_brings_it(
    master: FakeMaster, client: Client
) -> None:
    await client.mule_msg(b"a", confirm=False)
    has_left = not client.piles
    await client.mule_msg(b"b", confirm=False)
    await client.mule_msg(b"c", confirm=False)
    are_piled = list(client.piles)
    await client.flush()

    assert has_left
    assert are_piled == [None]
    assert [submit.count for submit in master.submits] == [1, 2]
    assert master.bodies("mule") == [b"a", b"b", b"c"]


async def test_a_flood_is_piled_up_although_its_answers_come_at_once(
    master: FakeMaster, client: Client
) -> None:
    for _ in range(3):
        for _ in range(20):
            await client.mule_msg(b"x", confirm=False)
        await client.flush()
    for _ in range(3):
        await client.mule_msg(b"y", confirm=False)
        await client.flush()

    assert [submit.count for submit in master.submits] == [1, 19, 20, 20, 1, 1, 1]


async def test_a_large_message_alone_is_refused_as_any_other(client: Client) -> None:
    body = bytes(client._message_limit + 1)

    with pytest.raises(MessageTooBigError):
        await client.mule_msg(body)


Send = Callable[..., Awaitable[int | Sequence[int]]]


@pytest.mark.parametrize("send", [pymule.mule_msg, pymule.mule_msgs], ids=["one", "n"])
async def test_a_wrong_option_is_told_before_anything_is_sent(
    master: FakeMaster, send: Send
) -> None:
    with pytest.raises(ValueError, match="priority 10; allowed: an integer from 0 to"):
        await send([b"x"], priority=10)
    with pytest.raises(ValueError, match="has no time zone"):
        await send([b"x"], at=datetime(2030, 1, 1))  # noqa: DTZ001  (what is tested)
    with pytest.raises(TypeError, match="unknown message option 'prioritty'; allowed"):
        await send([b"x"], prioritty=1, confirm=False)

    assert not master.submits
    await (await default_client()).close()


async def test_many_messages_cannot_have_one_id(client: Client) -> None:
    words = cast("BatchOptionWords", {"message_id": "order 12"})

    with pytest.raises(ValueError, match="message_id 'order 12' for many messages"):
        await client.mule_msgs([b"a"], **words)
    with pytest.raises(ValueError, match="message_id 'order 12' for many messages"):
        await client.farm_msgs("busy", [b"a"], **words)


def test_many_messages_of_a_thread_cannot_have_one_id(blocking: FakeMaster) -> None:
    words = cast("BatchOptionWords", {"message_id": "order 12"})

    with pytest.raises(ValueError, match="message_id 'order 12' for many messages"):
        pymule.sync.mule_msgs([b"a"], **words)
    with pytest.raises(ValueError, match="message_id 'order 12' for many messages"):
        pymule.sync.farm_msgs("busy", [b"a"], **words)
    assert not blocking.submits


# The order of a sender, and its memory


async def test_messages_with_the_same_options_leave_together(
    master: FakeMaster, client: Client
) -> None:
    for number in range(100):
        await client.mule_msg(b"%d" % number, priority=3, key="k", confirm=False)
    await client.flush()

    assert [submit.count for submit in master.submits] == [100]


async def test_messages_keep_their_order_whatever_their_options(
    master: FakeMaster, client: Client
) -> None:
    bodies = [b"%d" % number for number in range(300)]
    for number, body in enumerate(bodies):
        words: OptionWords = {"key": f"user {number % 3}"} if number % 5 else {}
        await client.mule_msg(body, confirm=False, **words)
        await client.mule_msg(b"other", 2, priority=1, confirm=False)
    await client.flush()

    assert master.bodies() == bodies
    # Those of the other mule were not held up, nor cut.
    others = [submit for submit in master.submits if submit.target == "mule2"]
    assert [submit.count for submit in others] == [300]


async def test_the_functions_keep_the_order_of_the_short_path_too(
    master: FakeMaster,
) -> None:
    for number in range(30):
        await pymule.mule_msg(b"%d" % number, confirm=False)
        await pymule.mule_msg(b"with", confirm=False, priority=number % 2)
        await pymule.mule_msg(b"last", confirm=False)
    await pymule.flush()

    assert master.bodies() == [
        body for number in range(30) for body in (b"%d" % number, b"with", b"last")
    ]
    await (await default_client()).close()


async def test_many_keys_fill_the_window_and_not_the_memory(
    master: FakeMaster, client: Client
) -> None:
    client._outbox.window_count = 50
    master.held.add("mule")

    async def send() -> None:
        for number in range(500):
            await client.mule_msg(b"x", key=str(number), confirm=False)

    sending = asyncio.create_task(send())
    await wait_until(lambda: master.submitted == 50)
    await client.mule_msg(b"another queue is free", 2)
    open_piles = len(client.piles) + len(client._piles_with_options)
    unanswered = client.unanswered
    master.release("mule")
    await sending
    await client.flush()

    assert (open_piles, unanswered) == (0, 50)
    assert len(master.bodies()) == 500
    assert client._outbox._in_flight == []


async def test_a_sender_of_many_keys_lets_the_loop_turn(
    master: FakeMaster, client: Client
) -> None:
    async def send() -> None:
        for number in range(3_000):
            await client.mule_msg(bytes(100), key=str(number), confirm=False)

    sending = asyncio.create_task(send())
    turns = 0
    while not sending.done():
        turns += 1
        await asyncio.sleep(0)

    # 3,000 frames of 160 bytes are more than three times what is sealed in a turn.
    assert turns > 3
    await client.flush()
    assert master.submitted == 3_000
