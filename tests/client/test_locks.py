"""Locks for tasks: waiting, giving up, losing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import pymule
from pymule.client.aio import Client
from pymule.client.api import default_client
from pymule.errors import ConnectionLostError, NotHolderError, RemoteProtocolError
from pymule.sansio.locks import Grant
from pymule.sansio.verbs import Reply
from tests.client.fake_master import FakeMaster
from tests.client.lock_master import LockMaster
from tests.conftest import MS, wait_until


@pytest.fixture
def locks(master: FakeMaster) -> LockMaster:
    return LockMaster(master)


@pytest.fixture
async def client(master: FakeMaster, locks: LockMaster) -> AsyncIterator[Client]:
    del locks
    client = Client(master.path)
    await client.__aenter__()
    yield client
    await client.close()


async def holding(client: Client, entered: list[int], leave: asyncio.Event) -> None:
    """Hold the lock until *leave*."""
    async with client.lock("a") as held:
        entered.append(held.token)
        await leave.wait()


async def test_a_block_holds_the_lock(client: Client, locks: LockMaster) -> None:
    async with client.lock("a", ttl=5) as held:
        inside = await client.is_locked("a")
    outside = await client.is_locked("a")

    assert (held.name, held.token) == ("a", 100)
    assert (inside, outside) == (True, False)
    assert locks.calls[0] == {"method": "lock", "name": "a", "ttl": 5.0, "wait": True}


async def test_a_number_is_a_name(client: Client, locks: LockMaster) -> None:
    async with client.lock(3) as held:
        assert locks.table.is_locked("3")

    assert held.name == "3"


async def test_a_name_or_a_ttl_that_cannot_be_is_told_at_once(
    client: Client, locks: LockMaster
) -> None:
    with pytest.raises(ValueError, match="lock ''; allowed"):
        await client.try_lock("")
    with pytest.raises(ValueError, match="ttl -1; allowed"):
        await client.try_lock("a", -1)
    with pytest.raises(ValueError, match="lock ''; allowed"):
        await client.is_locked("")

    assert locks.calls == []


async def test_one_after_the_other_has_it(client: Client, locks: LockMaster) -> None:
    entered: list[int] = []
    leave = asyncio.Event()
    tasks = [asyncio.create_task(holding(client, entered, leave)) for _ in range(5)]
    await wait_until(lambda: entered and len(locks.calls) == 5)
    alone = list(entered)

    leave.set()
    await asyncio.gather(*tasks)

    assert alone == [100]
    assert entered == [100, 101, 102, 103, 104]


async def test_a_lock_that_is_taken_can_be_tried(
    client: Client, locks: LockMaster
) -> None:
    first = await client.try_lock("a", ttl=1)
    second = await client.try_lock("a")
    assert first is not None
    await first.release()

    third = await client.try_lock("a")
    assert third is not None
    async with third:
        assert locks.table.is_locked("a")

    assert second is None
    assert not await client.is_locked("a")


async def test_a_wait_that_times_out_leaves_the_line(
    client: Client, locks: LockMaster
) -> None:
    token = locks.take("a")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10 * MS), client.lock("a"):
            raise AssertionError("nobody gave it")

    await wait_until(lambda: "lock_withdraw" in locks.methods())
    locks.give("a", token)
    assert not await client.is_locked("a")


async def test_a_grant_that_crosses_the_cancellation_is_given_back(
    client: Client, locks: LockMaster
) -> None:
    grants: list[Grant] = []
    locks.on_grant = grants.append
    asked = asyncio.create_task(client.try_lock("a"))
    await wait_until(lambda: grants)

    # Both come in one turn of the loop: the answer, and the end of the task.
    client._calls.replied(Reply(grants[0].call, 0, {"token": grants[0].token}))
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    await wait_until(lambda: not locks.table.is_locked("a"))
    assert locks.methods() == ["lock", "lock_withdraw"]


async def test_a_cancellation_in_the_block_releases(client: Client) -> None:
    entered: list[int] = []
    task = asyncio.create_task(holding(client, entered, asyncio.Event()))
    await wait_until(lambda: entered)

    task.cancel()
    await asyncio.wait([task])

    assert not await client.is_locked("a")


async def test_a_lock_that_was_taken_away_is_told_at_the_end(
    client: Client, locks: LockMaster
) -> None:
    with pytest.raises(NotHolderError, match="'a'"):
        async with client.lock("a"):
            locks.lose()


async def test_a_lost_lock_does_not_hide_what_the_block_raised(
    client: Client, locks: LockMaster
) -> None:
    async def fail() -> None:
        async with client.lock("a"):
            locks.lose()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_a_lock_ends_with_its_connection(
    client: Client, master: FakeMaster
) -> None:
    held = await client.try_lock("a")
    assert held is not None
    master.cut()
    await wait_until(lambda: len(master.clients) == 2)

    with pytest.raises(NotHolderError):
        await held.release()


async def test_a_connection_that_ends_before_the_answer_is_a_lost_lock(
    client: Client, master: FakeMaster
) -> None:
    held = await client.try_lock("a")
    assert held is not None
    master.on_call = lambda _peer, _call: master.cut()

    with pytest.raises(NotHolderError):
        await held.release()


async def test_who_waits_asks_the_next_master(
    client: Client, master: FakeMaster, locks: LockMaster
) -> None:
    token = locks.take("a")
    entered: list[int] = []
    leave = asyncio.Event()
    task = asyncio.create_task(holding(client, entered, leave))
    await wait_until(lambda: locks.calls)

    master.cut()
    await wait_until(lambda: len(locks.calls) == 2)
    # The real master sees the end of the connection; this one is told.
    locks.lose_all_but_last()
    locks.give("a", token)
    await wait_until(lambda: entered)
    leave.set()
    await task

    assert locks.methods()[:2] == ["lock", "lock"]


async def test_a_question_finds_the_next_master(
    client: Client, master: FakeMaster, locks: LockMaster
) -> None:
    answer = master.on_call

    def cut_once(*_: object) -> None:
        master.on_call = answer
        master.cut()

    master.on_call = cut_once

    assert not await client.is_locked("a")
    assert locks.methods() == ["is_locked"]


async def test_a_closed_client_waits_for_no_lock(
    master: FakeMaster, locks: LockMaster
) -> None:
    client = Client(master.path)
    await client.__aenter__()
    locks.take("a")
    task = asyncio.create_task(holding(client, [], asyncio.Event()))
    await wait_until(lambda: locks.calls)

    await client.close()

    with pytest.raises(ConnectionLostError, match="closed"):
        await task


async def test_a_closed_client_that_had_reconnected_waits_for_no_lock(
    client: Client, master: FakeMaster, locks: LockMaster
) -> None:
    master.cut()
    await wait_until(lambda: len(master.clients) == 2)
    locks.take("a")
    task = asyncio.create_task(holding(client, [], asyncio.Event()))
    await wait_until(lambda: locks.calls)

    await client.close()

    with pytest.raises(ConnectionLostError, match="closed"):
        await task


async def test_an_answer_that_makes_no_sense_is_the_fault_of_the_master(
    client: Client, master: FakeMaster
) -> None:
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 0, {}))

    with pytest.raises(RemoteProtocolError, match="to a call for a lock"):
        await client.try_lock("a")

    master.on_call = lambda peer, call: peer.send(Reply(call.id, 0, {"token": None}))
    with pytest.raises(RemoteProtocolError, match="was waited for"):
        async with client.lock("a"):
            pass


@pytest.mark.usefixtures("locks")
async def test_the_functions_use_the_client_of_the_loop(master: FakeMaster) -> None:
    async with pymule.lock("a") as held:
        assert await pymule.is_locked("a")
        assert await pymule.try_lock("a") is None
    again = await pymule.try_lock("a", ttl=1)
    assert again is not None
    await again.release()
    await (await default_client()).close()

    assert again.token > held.token
    assert len(master.clients) == 1
