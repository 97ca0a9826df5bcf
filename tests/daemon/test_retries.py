"""A message that fails is tried again, and given up after so many attempts."""

import pytest

from tests.conftest import MS
from tests.daemon.harness import Daemon, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

RAISING = """
import pymule

async def main():
    while True:
        try:
            async with pymule.receive() as message:
                note("took", message.id, message.attempt, message.body.decode())
                if message.body == b"bad":
                    raise ValueError("not today")
        except ValueError:
            note("failed")
"""

RAISING_IN_A_TASK = """
import asyncio
import pymule

async def main():
    while True:
        task = asyncio.create_task(one())
        await asyncio.wait([task])
        task.exception()

async def one():
    async for message in pymule.messages():
        note("took", message.id, message.attempt, message.body.decode())
        if message.body == b"bad":
            raise ValueError("not today")
"""

RAISING_IN_A_BLOCKING_PROGRAM = """
from pymule.sync import receive

def main():
    while True:
        try:
            with receive() as message:
                note("took", message.id, message.attempt, message.body.decode())
                if message.body == b"bad":
                    raise ValueError("not today")
        except ValueError:
            note("failed")
"""


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(RAISING, id="in a block"),
        pytest.param(RAISING_IN_A_TASK, id="in a task"),
        pytest.param(RAISING_IN_A_BLOCKING_PROGRAM, id="in a blocking program"),
    ],
)
async def test_a_message_whose_attempts_are_spent_is_a_dead_letter(
    daemon: Daemon, source: str
) -> None:
    daemon.program("work", source)
    daemon.configure("""
        [[mule]]
        program = "work:main"
        count = 2
        [shared]
        max_attempts = 3
        backoff_s = 0.01
        backoff_max_s = 0.02
    """)
    await daemon.start()

    async with daemon.client() as client:
        bad = await client.mule_msg("bad")
        good = await client.mule_msgs(["good"] * 20)

    status = await daemon.status_when(
        lambda status: (
            queue_of(status, "mule")["acked"] == 20
            and queue_of(status, "mule")["dead"] == 1
        )
    )
    queue = queue_of(status, "mule")
    assert (queue["failed"], queue["redelivered"]) == (3, 2)
    assert (queue["ready"], queue["leased"], queue["delayed"]) == (0, 0, 0)
    took = [words[1:] for words in daemon.notes() if words[0] == "took"]
    of_bad = [words for words in took if words[2] == "bad"]
    assert of_bad == [[str(bad), str(attempt), "bad"] for attempt in (1, 2, 3)]
    assert sorted(int(words[0]) for words in took if words[2] == "good") == list(good)
    assert len({row["pid"] for row in status["mules"]}) == 2
    assert not daemon.records("mule exited")
    assert await daemon.stop() == 0
