"""The asyncio client, on both loops."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pymule.client.aio import Client
from pymule.errors import (
    ConnectionLostError,
    MasterUnavailableError,
    MessageTooBigError,
    NotAllowedError,
    QueueFullError,
    RemoteProtocolError,
    UnknownTargetError,
    UnsupportedError,
)
from pymule.sansio.verbs import Call, Close, Confirm, Reply
from tests.client.fake_master import FakeMaster, Peer
from tests.conftest import MS, wait_until


@pytest.fixture
async def client(master: FakeMaster) -> AsyncIterator[Client]:
    client = Client(master.path)
    await client.__aenter__()
    yield client
    await client.close()


async def is_waiting(task: asyncio.Task[object]) -> bool:
    """Whether *task* has not ended although it had the time."""
    await asyncio.wait([task], timeout=20 * MS)
    return not task.done()


async def test_a_message_is_confirmed_with_its_id(
    master: FakeMaster, client: Client
) -> None:
    first = await client.mule_msg(b"a")
    second = await client.mule_msg("ü", 3)
    third = await client.farm_msg("busy", b"", headers={"x": "y"})

    assert (first, second, third) == (1, 2, 3)
    assert master.received == [
        ("mule", b"a"),
        ("mule3", "ü".encode()),
        ("farm:busy", b""),
    ]
    assert master.submits[-1].options == b'{"headers":{"x":"y"}}'


async def test_messages_of_one_turn_leave_together_but_for_the_first_after_quiet(
    master: FakeMaster, client: Client
) -> None:
    sends = [client.mule_msg(b"%d" % number) for number in range(100)]
    with_headers = [client.mule_msg(b"h", headers={"a": "b"}) for _ in range(2)]

    ids = await asyncio.gather(*sends, *with_headers)

    assert ids == list(range(1, 103))
    assert [submit.count for submit in master.submits] == [1, 99, 2]


async def test_a_batch_call_returns_a_range_of_ids(
    master: FakeMaster, client: Client
) -> None:
    bodies = [b"%05d" % number for number in range(5_000)]

    ids = await client.farm_msgs("busy", bodies)
    more = await client.mule_msgs(["a", "b"], 2)
    none = await client.mule_msgs([])

    assert ids == range(1, 5_001)
    assert more == range(5_001, 5_003)
    assert none == range(0)
    assert master.bodies("farm:busy") == bodies


async def test_ids_of_a_batch_with_gaps_come_as_a_list(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    call = asyncio.create_task(client.mule_msgs([b"a", b"b", b"c"]))
    await wait_until(lambda: master.submits)

    master.peers[0].send(Confirm([(1, 2, 7)]))
    was_waiting = await is_waiting(call)
    master.peers[0].send(Confirm([(3, 1, 11)]))

    assert was_waiting
    assert await call == [7, 8, 11]


async def test_without_confirm_refusals_come_at_the_flush(
    master: FakeMaster, client: Client
) -> None:
    master.refusals["mule1"] = QueueFullError("mule1", 10)
    assert await client.mule_msg(b"a", 1, confirm=False) == 0
    assert await client.mule_msgs([b"b", b"c"], 1, confirm=False) == range(0)
    await client.mule_msg(b"d", confirm=False)

    with pytest.raises(QueueFullError, match="full at 10") as caught:
        await client.flush()

    assert caught.value.__notes__ == ["and 2 more messages were refused"]
    assert master.bodies() == [b"d"]
    await client.flush()


async def test_a_full_window_makes_the_sender_wait_and_no_other_target(
    master: FakeMaster, client: Client
) -> None:
    client._outbox.window_count = 2
    master.held.add("mule")
    await client.mule_msgs([b"a", b"b"], confirm=False)
    await wait_until(lambda: master.submits)
    waiting = asyncio.create_task(client.mule_msg(b"c", confirm=False))
    was_waiting = await is_waiting(waiting)

    other = await client.mule_msg(b"other", 2)
    master.release("mule")
    await waiting
    await client.flush()

    assert was_waiting
    assert other == 1
    assert master.bodies() == [b"a", b"b", b"c"]


async def test_nobody_slips_past_a_full_window(
    master: FakeMaster, client: Client
) -> None:
    client._outbox.window_count = 1
    master.held.add("mule")
    await client.mule_msg(b"x", confirm=False)
    await wait_until(lambda: master.submits)

    tasks = [
        asyncio.create_task(client.mule_msg(b"x", confirm=False)) for _ in range(20)
    ]
    waiting = [await is_waiting(task) for task in tasks]
    open_piles = dict(client.piles)
    master.release("mule")
    await asyncio.gather(*tasks)
    await client.flush()

    assert all(waiting)
    assert not open_piles, "an open pile is where api.mule_msg would put more"
    assert len(master.bodies()) == 21


async def test_a_flood_of_large_messages_is_cut_into_frames(
    master: FakeMaster, client: Client
) -> None:
    sends = [client.mule_msg(bytes(100_000)) for _ in range(50)]

    await asyncio.gather(*sends)

    assert len(master.bodies()) == 50
    assert max(len(submit.payload) for submit in master.submits) < 131_072


async def test_a_refusal_is_raised_in_the_caller(
    master: FakeMaster, client: Client
) -> None:
    master.refusals["farm:nope"] = UnknownTargetError("farm:nope", ["mule", "mule1"])
    master.refusals["mule2"] = UnsupportedError("the message option 'delay'")

    with pytest.raises(UnknownTargetError, match="there are: mule, mule1"):
        await client.farm_msg("nope", b"x")
    with pytest.raises(UnknownTargetError):
        await client.farm_msgs("nope", [b"x", b"y"])
    with pytest.raises(UnsupportedError, match="delay"):
        await client.mule_msg(b"x", 2, delay=3, priority=1, ttl=2.0, key="k")

    await client.flush()


async def test_a_message_that_is_too_big_is_never_sent(master: FakeMaster) -> None:
    master.welcome["max_frame_bytes"] = 65_536

    async with Client(master.path) as client:
        with pytest.raises(MessageTooBigError, match="61441 bytes; at most 61440"):
            await client.mule_msg(bytes(61_441))
        with pytest.raises(MessageTooBigError):
            await client.mule_msgs([b"ok", bytes(61_441)])
        await client.mule_msgs([bytes(20_000)] * 6)

    assert [submit.count for submit in master.submits] == [3, 3]


async def test_what_is_no_message_and_no_target_is_refused_here(
    master: FakeMaster, client: Client
) -> None:
    with pytest.raises(TypeError, match="allowed: bytes or str"):
        await client.mule_msg(17)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="allowed: 'mule'"):
        await client.farm_msg("no farm", b"x")

    assert not master.submits


async def test_what_was_not_confirmed_is_sent_again_and_taken_once(
    master: FakeMaster, client: Client
) -> None:
    await client.mule_msg(b"a")
    master.cuts = 2

    number = await client.mule_msg(b"b")

    assert number == 2
    assert master.bodies() == [b"a", b"b"]
    assert len(set(master.clients)) == 1
    assert len(master.clients) == 3


async def test_the_client_outlives_a_restart_of_the_master(
    master: FakeMaster, client: Client
) -> None:
    await client.mule_msg(b"a")
    await asyncio.to_thread(master.stop)
    await client.mule_msg(b"b", confirm=False)
    waiting = asyncio.create_task(client.mule_msg(b"c"))
    was_waiting = await is_waiting(waiting)

    master.start()

    assert was_waiting
    await waiting
    await client.flush()
    assert master.bodies() == [b"a", b"b", b"c"]


async def test_what_another_master_refuses_may_be_with_the_last_one(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    waiting = asyncio.create_task(client.mule_msg(b"a"))
    await wait_until(lambda: master.submits)
    await asyncio.to_thread(master.stop)
    master.welcome["epoch"] = 2
    master.held.clear()
    master.refusals["mule"] = QueueFullError("mule", 1)

    master.start()

    with pytest.raises(ConnectionLostError, match="another master"):
        await waiting


async def test_a_close_by_the_master_is_a_lost_connection(
    master: FakeMaster, client: Client
) -> None:
    master.peers[0].send(Close({"reason": "moving house"}))

    await wait_until(lambda: len(master.clients) == 2)
    await client.mule_msg(b"a")

    assert master.bodies() == [b"a"]
    await wait_until(lambda: len(master.peers) == 1)


@pytest.mark.parametrize("answer", [Confirm([(100, 1, 1)]), Confirm([(1, 9, 1)])])
async def test_a_wrong_answer_ends_the_connection_and_loses_nothing(
    master: FakeMaster, client: Client, answer: Confirm
) -> None:
    master.held.add("mule")
    waiting = asyncio.create_task(client.mule_msg(b"a"))
    await wait_until(lambda: master.submits)
    master.held.clear()

    master.peers[0].send(answer)

    assert await waiting == 1
    assert master.bodies() == [b"a"]
    await wait_until(lambda: master.closes)


async def test_cancelling_a_send_leaves_the_client_usable(
    master: FakeMaster, client: Client
) -> None:
    client._outbox.window_count = 3
    master.held.add("mule")
    confirmed = asyncio.create_task(client.mule_msg(b"a"))
    batch = asyncio.create_task(client.mule_msgs([b"b", b"c"]))
    await wait_until(lambda: master.submitted == 3)
    in_window = asyncio.create_task(client.mule_msg(b"never"))
    many = asyncio.create_task(client.mule_msgs([b"never", b"never"]))
    flushing = asyncio.create_task(client.flush())
    tasks: list[asyncio.Task[object]] = [confirmed, batch, in_window, many, flushing]
    waiting = [await is_waiting(task) for task in tasks]

    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    master.release("mule")
    await client.flush()

    assert all(waiting)
    assert await client.mule_msg(b"d") == 4
    assert master.bodies() == [b"a", b"b", b"c", b"d"]


async def test_a_flush_does_not_wait_for_what_comes_after_it(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    await client.mule_msg(b"a", 1, confirm=False)

    flushing = asyncio.create_task(client.flush())
    await asyncio.sleep(0)
    await client.mule_msg(b"b", confirm=False)
    await flushing

    assert master.bodies("mule1") == [b"a"]


async def test_close_ends_every_wait(master: FakeMaster, client: Client) -> None:
    client._outbox.window_count = 1
    master.held.add("mule")
    confirmed = asyncio.create_task(client.mule_msg(b"a"))
    cancelled = asyncio.create_task(client.mule_msg(b"b", 2))
    await wait_until(lambda: master.submitted == 2)
    in_window = asyncio.create_task(client.mule_msg(b"c"))
    flushing = asyncio.create_task(client.flush())
    await is_waiting(flushing)
    cancelled.cancel()

    await client.close()
    await client.close()

    for task in (confirmed, in_window, flushing):
        with pytest.raises(ConnectionLostError, match="closed") as caught:
            await task
        assert caught.value.unacked == 1
    with pytest.raises(ConnectionLostError, match="closed"):
        await client.mule_msg(b"d")


async def test_what_is_piled_up_leaves_with_the_close(master: FakeMaster) -> None:
    client = Client(master.path)
    await client.__aenter__()

    await client.mule_msg(b"x", confirm=False)
    await client.close()

    await wait_until(lambda: master.bodies() == [b"x"])


async def test_close_ends_the_search_for_a_master(
    master: FakeMaster, client: Client
) -> None:
    await asyncio.to_thread(master.stop)
    call = asyncio.create_task(client.mule_msg(b"b"))
    was_waiting = await is_waiting(call)

    await client.close()

    assert was_waiting
    with pytest.raises(ConnectionLostError, match="closed"):
        await call


async def test_the_end_of_the_block_flushes(master: FakeMaster) -> None:
    async with Client(master.path, name="shop") as client:
        for _ in range(10):
            await client.mule_msg(b"x", confirm=False)

    assert len(master.bodies()) == 10
    assert master.names == ["shop"]
    assert client.unanswered == 0


async def test_an_exception_in_the_block_is_not_held_up_by_a_flush(
    master: FakeMaster,
) -> None:
    master.held.add("mule")

    async def fail() -> None:
        async with Client(master.path) as client:
            await client.mule_msg(b"x", confirm=False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


# The first connection


async def test_nobody_listens_is_told_at_once(socket_dir: Path) -> None:
    with pytest.raises(MasterUnavailableError, match="No such file"):
        await Client(socket_dir / "none.sock").__aenter__()


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(lambda peer: peer.send_raw(b"GET / HTTP/1.1\r\n\r\n"), id="http"),
        pytest.param(lambda peer: peer.send(Close({"reason": "too old"})), id="close"),
        pytest.param(lambda peer: peer.socket.shutdown(2), id="eof"),
        pytest.param(lambda peer: peer.send_raw(b"\2\0\0\0\2\0\0\0{}"), id="no limits"),
    ],
)
async def test_a_server_that_does_not_welcome_is_told(
    master: FakeMaster, greeting: Callable[[Peer], None]
) -> None:
    master.greeting = greeting

    with pytest.raises(MasterUnavailableError, match="no pymuled at"):
        await Client(master.path).__aenter__()


async def test_the_search_goes_on_while_the_master_talks_nonsense(
    master: FakeMaster, client: Client
) -> None:
    master.greeting = lambda peer: peer.send(Close({"reason": "not yet"}))
    master.cut()
    call = asyncio.create_task(client.mule_msg(b"x"))
    await wait_until(lambda: len(master.clients) >= 3)

    master.greeting = None

    assert await call == 1


# Asking


async def test_a_call_is_answered(client: Client) -> None:
    assert await client.call("status", depth=1) == {"method": "status"}


async def test_a_stream_yields_until_the_last_answer(
    master: FakeMaster, client: Client
) -> None:
    def three(peer: Peer, call: Call) -> None:
        peer.send(*(Reply(call.id, kind, {"n": n}) for n, kind in enumerate([1, 1, 0])))

    master.on_call = three

    assert [answer["n"] async for answer in client.stream("logs")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"code": 7, "detail": {"reason": "not you"}}, NotAllowedError),
        ({"code": 999, "detail": {}}, RemoteProtocolError),
        ({}, RemoteProtocolError),
    ],
)
async def test_an_error_is_raised_in_the_caller(
    master: FakeMaster,
    client: Client,
    value: dict[str, object],
    error: type[Exception],
) -> None:
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 2, value))

    with pytest.raises(error):
        await client.call("stop")


async def test_a_call_ends_with_its_connection(
    master: FakeMaster, client: Client
) -> None:
    master.on_call = lambda _peer, _call: master.cut()

    with pytest.raises(ConnectionLostError, match="closed the connection"):
        await client.call("status")
    with pytest.raises(ConnectionLostError, match="not connected"):
        await client.call("status")


async def test_close_ends_the_wait_for_an_answer(
    master: FakeMaster, client: Client
) -> None:
    master.on_call = lambda _peer, _call: None
    asking = asyncio.create_task(client.call("status"))
    await wait_until(lambda: master.calls)

    await client.close()

    with pytest.raises(ConnectionLostError, match="closed"):
        await asyncio.wait_for(asking, 1000 * MS)


async def test_what_is_not_understood_ends_the_connection(
    master: FakeMaster, client: Client
) -> None:
    master.peers[0].send_raw(b"GET / HTTP/1.1\r\n\r\n")

    await wait_until(lambda: len(master.clients) == 2)

    assert await client.mule_msg(b"x") == 1


async def test_messages_with_other_options_travel_apart(
    master: FakeMaster, client: Client
) -> None:
    big = bytes(60_000)

    await asyncio.gather(
        *(client.mule_msg(big, headers={"a": "b"}) for _ in range(5)),
        *(client.mule_msg(b"x", headers={"a": "c"}) for _ in range(5)),
    )

    assert sorted(submit.count for submit in master.submits) == [1, 2, 2, 5]


@pytest.mark.parametrize("size", [10_000, 200_000], ids=["small", "large"])
async def test_many_different_options_do_not_slip_past_a_window(
    master: FakeMaster, client: Client, size: int
) -> None:
    client._outbox.window_bytes = 100_000
    master.held.add("mule")

    sends = [
        asyncio.create_task(client.mule_msg(bytes(size), headers={"n": str(number)}))
        for number in range(40)
    ]
    await wait_until(lambda: len(master.submits) > 0)
    assert await is_waiting(sends[-1])
    unanswered = sum(len(submit.payload) for submit in master.submits)
    master.held.clear()
    master.release("mule")
    await asyncio.gather(*sends)

    assert unanswered < 100_000 + max(131_072, size + 1)
    assert len(master.bodies()) == 40


async def test_a_late_answer_is_dropped(master: FakeMaster, client: Client) -> None:
    calls: list[tuple[Peer, Call]] = []
    master.on_call = lambda peer, call: calls.append((peer, call))
    asking: Awaitable[object] = asyncio.create_task(client.call("status"))
    await wait_until(lambda: calls)
    asyncio.ensure_future(asking).cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    peer, call = calls[0]
    peer.send(Reply(call.id, 0, {}), Confirm([]))

    assert await client.mule_msg(b"x") == 1


async def test_a_client_has_the_name_of_its_process(
    master: FakeMaster, client: Client
) -> None:
    await client.mule_msg(b"x")

    assert master.names == [f"pid {os.getpid()}"]
