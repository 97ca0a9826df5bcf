"""A mule that holds a message too long is killed, whatever it is blocked in."""

import pytest

from tests.conftest import MS
from tests.daemon.harness import Daemon, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

SOON = {"restarts": {"backoff_s": 0.01, "backoff_max_s": 0.01}}

BLOCKED_LOOP = """
import time
import pymule

async def main():
    async for message in pymule.messages():
        note("took", message.attempt, message.body.decode())
        if message.body == b"stuck" and message.attempt == 1:
            the_culprit()
        note("did", message.attempt, message.body.decode())

def the_culprit():
    time.sleep(1000)
"""

# The engine of re holds the interpreter's lock all the time.
BLOCKED_IN_C = """
import re
from pymule.sync import messages

def main():
    for message in messages():
        note("took", message.attempt, message.body.decode())
        if message.body == b"stuck" and message.attempt == 1:
            the_culprit()
        note("did", message.attempt, message.body.decode())

def the_culprit():
    re.match(r"(a+)+$", "a" * 60 + "b")
"""

WAITING_FOR_EVER = """
import asyncio
import pymule

async def main():
    async for message in pymule.messages():
        note("took", message.attempt, message.body.decode())
        if message.body == b"stuck" and message.attempt == 1:
            await the_culprit()
        note("did", message.attempt, message.body.decode())

async def the_culprit():
    await asyncio.get_running_loop().create_future()
"""


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(BLOCKED_LOOP, id="a loop that is blocked"),
        pytest.param(BLOCKED_IN_C, id="a thread in C code"),
        pytest.param(WAITING_FOR_EVER, id="a task that waits for ever"),
    ],
)
async def test_a_message_held_too_long_kills_its_mule_and_goes_to_the_next(
    daemon: Daemon, source: str
) -> None:
    daemon.program("work", source)
    daemon.configure("""
        [[mule]]
        program = "work:main"
        count = 2
        harakiri_s = 0.4
        [[farm]]
        name = "both"
        mules = [1, 2]
    """)
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        number = await client.farm_msg("both", "stuck")
        await daemon.noted("took", 1, "stuck")
        for count in range(20):
            await client.farm_msg("both", f"{count}")
    await daemon.noted("did", 2, "stuck")
    await daemon.noted("did", 1, count=20)

    # The message is with the next mule before the end of the last one is told.
    (redelivered,) = await daemon.logged("messages redelivered")
    (harakiri,) = daemon.records("harakiri")
    (exited,) = daemon.records("mule exited")
    assert (exited["reason"], exited["status"]) == ("harakiri", -9)
    assert exited["mule"] == harakiri["mule"]
    (stacks,) = daemon.records("stacks of the mule")
    assert "the_culprit" in str(stacks["exc"])
    assert (redelivered["in_hand"], redelivered["dead"]) == ([number], [])
    assert await daemon.stop() == 0


async def test_a_message_that_always_hangs_ends_as_a_dead_letter(
    daemon: Daemon,
) -> None:
    daemon.program("work", BLOCKED_LOOP.replace("and message.attempt == 1", ""))
    daemon.configure("""
        [shared]
        max_crashes = 2
        [[mule]]
        program = "work:main"
        harakiri_s = 0.2
    """)
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msgs(["stuck", "fine"])
    await daemon.noted("did", 1, "fine")

    status = await daemon.status_when(
        lambda status: queue_of(status, "mule")["acked"] == 1
    )
    assert queue_of(status, "mule")["dead"] == 1
    took = [words for words in daemon.notes() if words[2] == "stuck"]
    assert took == [["took", "1", "stuck"], ["took", "2", "stuck"]]
    assert await daemon.stop() == 0


async def test_work_that_is_long_but_in_time_is_left_alone(daemon: Daemon) -> None:
    daemon.program("work", BLOCKED_LOOP.replace("1000", "0.3"))
    daemon.configure("""
        [[mule]]
        program = "work:main"
        harakiri_s = 30
    """)
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msgs(["stuck", "fine"])
    await daemon.noted("did", 1, "fine")

    assert not daemon.records("harakiri")
    assert await daemon.stop() == 0
