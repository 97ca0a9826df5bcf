from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pymule.cli.whole import whole_status
from pymule.client.aio import Client
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer

PARTS: Final[list[tuple[object, JsonObject]]] = [
    (None, {"pid": 7, "mules": [{"id": 1}], "next": ["mules", 1]}),
    (["mules", 1], {"mules": [{"id": 2}], "queues": [], "next": ["queues", 0]}),
    (["queues", 0], {"queues": [{"target": "mule"}], "next": None}),
]


@pytest.fixture
def calls() -> list[JsonObject]:
    return []


@pytest.fixture
def master(socket_dir: Path, calls: list[JsonObject]) -> Iterator[FakeMaster]:
    def answer(peer: Peer, call: Call) -> None:
        calls.append(call.value)
        (part,) = [part for after, part in PARTS if after == call.value.get("after")]
        peer.send(Reply(call.id, ReplyKind.LAST, part))

    with FakeMaster(socket_dir / "pymule.sock") as master:
        master.on_call = answer
        yield master


async def test_the_parts_of_a_status_become_one(
    master: FakeMaster, calls: list[JsonObject]
) -> None:
    async with Client(master.path) as client:
        whole = await whole_status(client)

    assert whole == {
        "pid": 7,
        "mules": [{"id": 1}, {"id": 2}],
        "queues": [{"target": "mule"}],
    }
    assert all("sections" not in call for call in calls)


async def test_the_lists_that_are_wanted_are_asked_for(
    master: FakeMaster, calls: list[JsonObject]
) -> None:
    async with Client(master.path) as client:
        await whole_status(client, "mules", "queues")

    assert [call["sections"] for call in calls] == [["mules", "queues"]] * 3
