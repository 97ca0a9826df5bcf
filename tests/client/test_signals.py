"""Raising signals and setting timers from a loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pymule.client.api import default_client
from pymule.client.signals import add_timer, cancel_timer, raise_signal
from pymule.errors import ConnectionLostError, MasterUnavailableError, NoHandlerError
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer
from tests.conftest import wait_until

BAD_TIMERS = [(0, 0), (-1, 0), (0.0001, 0), (float("nan"), 0), (1, -1)]


@pytest.fixture
async def _own_client(master: FakeMaster) -> AsyncIterator[None]:
    """A default client that is connected: opening it takes a turn of each task."""
    del master
    client = await default_client()
    yield
    await client.close()


def answer_with(master: FakeMaster, value: JsonObject) -> None:
    master.on_call = lambda peer, call: peer.send(Reply(call.id, ReplyKind.LAST, value))


def refuse(peer: Peer, call: Call) -> None:
    error = NoHandlerError(int(str(call.value["signal"])), "mules", [3])
    value: JsonObject = {"code": error.code, "detail": error.to_detail()}
    peer.send(Reply(call.id, ReplyKind.ERROR, value))


def hold(master: FakeMaster) -> list[tuple[Peer, Call]]:
    """Have calls wait; return where they are put."""
    held: list[tuple[Peer, Call]] = []
    master.on_call = lambda peer, call: held.append((peer, call))
    return held


def raised(master: FakeMaster) -> list[object]:
    return [call["signal"] for call in master.calls if call["method"] == "raise"]


# Raising


@pytest.mark.usefixtures("_own_client")
async def test_a_signal_is_raised_when_the_master_has_it(master: FakeMaster) -> None:
    answer_with(master, {})

    await raise_signal(7)

    assert master.calls == [{"method": "raise", "signal": 7}]


@pytest.mark.usefixtures("_own_client")
async def test_the_raises_of_one_turn_are_one(master: FakeMaster) -> None:
    answer_with(master, {})

    await asyncio.gather(*[raise_signal(7) for _ in range(100)], raise_signal(8))

    assert sorted(map(str, raised(master))) == ["7", "8"]


@pytest.mark.usefixtures("_own_client")
async def test_a_raise_after_the_frame_has_left_is_another(master: FakeMaster) -> None:
    held = hold(master)
    first = asyncio.create_task(raise_signal(7))
    await wait_until(lambda: held)

    second = asyncio.create_task(raise_signal(7))
    await wait_until(lambda: len(held) == 2)
    for peer, call in held:
        peer.send(Reply(call.id, ReplyKind.LAST, {}))

    await asyncio.gather(first, second)


@pytest.mark.usefixtures("_own_client")
async def test_a_refused_raise_is_told_to_all_who_made_it(master: FakeMaster) -> None:
    master.on_call = refuse

    outcomes = await asyncio.gather(
        *[raise_signal(7) for _ in range(3)], return_exceptions=True
    )

    assert len(master.calls) == 1
    for outcome in outcomes:
        assert isinstance(outcome, NoHandlerError)
        assert (outcome.number, outcome.target, outcome.known) == (7, "mules", [3])


@pytest.mark.usefixtures("_own_client")
async def test_who_cancels_a_raise_does_not_cancel_that_of_others(
    master: FakeMaster,
) -> None:
    held = hold(master)
    tasks = [asyncio.create_task(raise_signal(7)) for _ in range(3)]
    await wait_until(lambda: held)

    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    ((peer, call),) = held
    peer.send(Reply(call.id, ReplyKind.LAST, {}))

    assert await asyncio.gather(*tasks[1:]) == [None, None]
    assert tasks[0].cancelled()


@pytest.mark.usefixtures("_own_client")
async def test_a_refusal_that_nobody_waits_for_is_no_trouble(
    master: FakeMaster,
) -> None:
    held = hold(master)
    task = asyncio.create_task(raise_signal(7))
    await wait_until(lambda: held)
    task.cancel()
    await asyncio.wait([task])

    refuse(*held[0])
    answer_with(master, {})

    # The fixture of all tests fails on an error that nobody took.
    await raise_signal(8)


@pytest.mark.usefixtures("_own_client")
async def test_a_raise_on_a_lost_connection_is_told(master: FakeMaster) -> None:
    held = hold(master)
    task = asyncio.create_task(raise_signal(7))
    await wait_until(lambda: held)

    master.cut()

    with pytest.raises(ConnectionLostError):
        await task


# Timers


@pytest.mark.usefixtures("_own_client")
async def test_a_timer_is_set_and_has_an_id(master: FakeMaster) -> None:
    answer_with(master, {"timer": 12})

    assert await add_timer(7, 0.5, iterations=3) == 12
    assert await add_timer(8, 0, iterations=1) == 12

    assert master.calls == [
        {"method": "timer_add", "signal": 7, "every": 0.5, "iterations": 3},
        {"method": "timer_add", "signal": 8, "every": 0, "iterations": 1},
    ]


@pytest.mark.usefixtures("_own_client")
@pytest.mark.parametrize("was_armed", [True, False])
async def test_a_timer_is_cancelled_if_it_was_armed(
    master: FakeMaster, *, was_armed: bool
) -> None:
    answer_with(master, {"cancelled": was_armed})

    assert await cancel_timer(12) is was_armed

    assert master.calls == [{"method": "timer_cancel", "timer": 12}]


# Bad arguments


@pytest.fixture
def _no_master(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", str(socket_dir / "nobody.sock"))


@pytest.mark.usefixtures("_no_master")
@pytest.mark.parametrize(("seconds", "iterations"), BAD_TIMERS)
async def test_a_timer_that_cannot_tick_is_refused_without_asking(
    seconds: float, iterations: int
) -> None:
    with pytest.raises(ValueError, match="allowed: from 0"):
        await add_timer(7, seconds, iterations=iterations)


@pytest.mark.usefixtures("_no_master")
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(raise_signal, id="raise_signal"),
        pytest.param(lambda number: add_timer(number, 1), id="add_timer"),
    ],
)
async def test_a_number_that_no_signal_has_is_refused_without_asking(
    call: Callable[[object], Awaitable[object]],
) -> None:
    with pytest.raises(ValueError, match="signal 256; allowed: 0 to 255"):
        await call(256)
    with pytest.raises(TypeError, match="signal '7'; allowed: an integer"):
        await call("7")


@pytest.mark.usefixtures("_no_master")
async def test_a_signal_cannot_be_raised_without_a_master() -> None:
    with pytest.raises(MasterUnavailableError):
        await raise_signal(7)
