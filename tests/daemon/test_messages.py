"""Where a message goes, how large it may be, and what happens when a queue is full."""

import asyncio
from collections import Counter

import pytest

from pymule.client.reach import message_limit
from pymule.errors import MessageTooBigError, QueueFullError, UnknownTargetError
from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

ECHO = """
import pymule

async def main():
    note("started", pymule.mule_id())
    async for message in pymule.messages():
        note("got", pymule.mule_id(), message.source, len(message.body))
"""

# Handles "wait" only when the test allows it, and anything else at once.
PATIENT = """
import pymule
from pymule.sync import messages

def main():
    for message in messages():
        body = message.body.decode()
        note("took", pymule.mule_id(), message.source, body)
        if body == "wait":
            wait_for("go")
        note("did", pymule.mule_id(), message.source, body)
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_message_of_any_size_up_to_the_limit_arrives(
    daemon: Daemon, loop: str
) -> None:
    daemon.program("echo", ECHO)
    daemon.configure("""
        max_frame_bytes = 1_048_576
        [[mule]]
        program = "echo:main"
    """)
    await daemon.start(loop=loop)

    async with daemon.client() as client:
        limit = message_limit(1_048_576)
        for size in (0, 1, limit):
            await client.mule_msg(bytes(size))
        with pytest.raises(MessageTooBigError) as caught:
            await client.mule_msg(bytes(limit + 1))

    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
    await daemon.noted("got", 1, "mule", limit)
    sizes = [int(words[3]) for words in daemon.notes() if words[0] == "got"]
    assert sizes == [0, 1, limit]
    assert await daemon.stop() == 0


async def test_a_message_reaches_the_mule_the_farm_or_whoever_is_first(
    daemon: Daemon,
) -> None:
    daemon.program("echo", ECHO)
    daemon.configure("""
        [[mule]]
        program = "echo:main"
        count = 3
        [[farm]]
        name = "pair"
        mules = [1, 3]
    """)
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msgs([b"x"] * 10, 2)
        await client.farm_msgs("pair", [b"x"] * 200)
        await client.mule_msgs([b"x"] * 100)
        with pytest.raises(UnknownTargetError) as no_mule:
            await client.mule_msg(b"x", 4)
        with pytest.raises(UnknownTargetError) as no_farm:
            await client.farm_msg("odd", b"x")

    await daemon.noted("got", count=310)
    got = Counter((w[1], w[2]) for w in daemon.notes() if w[0] == "got")
    assert got["2", "mule2"] == 10
    assert got["1", "farm:pair"] + got["3", "farm:pair"] == 200
    assert got["1", "mule"] + got["2", "mule"] + got["3", "mule"] == 100
    known = ["farm:pair", "mule", "mule1", "mule2", "mule3"]
    assert sorted(no_mule.value.known) == known
    assert no_farm.value.target == "farm:odd"
    # The last acks leave a moment after the program has asked again.
    await daemon.status_when(
        lambda status: sum(queue["acked"] for queue in status["queues"]) == 310
    )
    assert await daemon.stop() == 0


async def test_a_message_goes_to_the_mule_that_is_free(daemon: Daemon) -> None:
    daemon.program("patient", PATIENT)
    daemon.configure("""
        [[mule]]
        program = "patient:main"
        count = 2
    """)
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msg("wait", 1)
        await daemon.noted("took", 1)
        await client.mule_msgs([f"{number}" for number in range(50)])
        await daemon.noted("did", 2, count=50)
        daemon.allow("go")

    await daemon.noted("did", 1, "mule1", "wait")
    assert await daemon.stop() == 0


async def test_a_full_queue_holds_its_sender_and_no_other(daemon: Daemon) -> None:
    daemon.program("patient", PATIENT)
    daemon.configure("""
        [[mule]]
        program = "patient:main"
        max_messages = 3
        [[mule]]
        program = "patient:main"
    """)
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msg("wait", 1)
        await client.mule_msgs(["a", "b"], 1)
        held = asyncio.create_task(client.mule_msg("c", 1))
        await daemon.status_when(
            lambda status: queue_of(status, "mule1")["waiting"] == 1
        )
        async with asyncio.timeout(LONG):
            for number in range(20):
                await client.mule_msg(f"{number}", 2)
        assert not held.done()
        daemon.allow("go")
        async with asyncio.timeout(LONG):
            await held

    await daemon.noted("did", 1, "mule1", "c")
    assert await daemon.stop() == 0


async def test_a_full_queue_that_refuses_says_its_limit(daemon: Daemon) -> None:
    daemon.program("patient", PATIENT)
    daemon.configure("""
        [[mule]]
        program = "patient:main"
        max_messages = 3
        when_full = "refuse"
    """)
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msgs(["wait", "a", "b"], 1)
        with pytest.raises(QueueFullError) as caught:
            await client.mule_msg("c", 1)
        await client.mule_msg("d", 1, confirm=False)
        with pytest.raises(QueueFullError):
            await client.flush()
        daemon.allow("go")
        await daemon.noted("did", count=3)
        await client.mule_msg("e", 1)

    assert (caught.value.target, caught.value.limit) == ("mule1", 3)
    await daemon.noted("did", 1, "mule1", "e")
    assert [words[3] for words in daemon.notes() if words[0] == "did"] == [
        "wait",
        "a",
        "b",
        "e",
    ]
    assert await daemon.stop() == 0
