"""Questions and answers, without a master: the connection only takes what is asked."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pymule.client.aio import Client
from pymule.client.calls import Calls
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, NotAllowedError, RemoteProtocolError
from pymule.sansio.verbs import JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster


@pytest.fixture
async def connection(master: FakeMaster) -> AsyncIterator[Connection]:
    master.on_call = lambda _peer, _call: None
    client = Client(master.path)
    await client.__aenter__()
    assert client._connection is not None
    yield client._connection
    await client.close()


async def test_answers_reach_who_asked(connection: Connection) -> None:
    calls = Calls()
    asked = [
        asyncio.create_task(calls.ask(connection, {"method": name}))
        for name in ("a", "b")
    ]
    await asyncio.sleep(0)

    calls.replied(Reply(2, ReplyKind.LAST, {"to": "b"}))
    calls.replied(Reply(1, ReplyKind.LAST, {"to": "a"}))

    assert await asyncio.gather(*asked) == [{"to": "a"}, {"to": "b"}]


async def test_who_asks_once_takes_the_first_of_several_answers(
    connection: Connection,
) -> None:
    calls = Calls()
    asked = asyncio.create_task(calls.ask(connection, {"method": "logs"}))
    await asyncio.sleep(0)

    calls.replied(Reply(1, ReplyKind.MORE, {"n": 1}))
    calls.replied(Reply(1, ReplyKind.MORE, {"n": 2}))

    assert await asked == {"n": 1}
    calls.replied(Reply(1, ReplyKind.LAST, {"n": 3}))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"code": 7, "detail": {"reason": "not you"}}, NotAllowedError),
        ({"code": 7}, RemoteProtocolError),
    ],
)
async def test_a_refusal_is_raised(
    connection: Connection, value: JsonObject, error: type[Exception]
) -> None:
    calls = Calls()
    asked = asyncio.create_task(calls.ask(connection, {"method": "stop"}))
    await asyncio.sleep(0)

    calls.replied(Reply(1, ReplyKind.ERROR, value))

    with pytest.raises(error):
        await asked


async def test_the_end_of_the_connection_ends_all_calls(
    connection: Connection,
) -> None:
    calls = Calls()
    asked = asyncio.create_task(calls.ask(connection, {"method": "status"}))
    await asyncio.sleep(0)

    calls.lost("gone")

    with pytest.raises(ConnectionLostError, match="gone"):
        await asked


async def test_without_a_connection_nothing_is_asked() -> None:
    with pytest.raises(ConnectionLostError, match="not connected"):
        await Calls().ask(None, {"method": "status"})
