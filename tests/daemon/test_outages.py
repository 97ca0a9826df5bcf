"""The master is killed, and another one takes its place."""

import asyncio
import os
import signal

import pytest

from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, is_alive, mule_of, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

# Blocked, so that it cannot notice by itself that its master is gone.
BLOCKED = """
import time
from pymule.sync import messages

def main():
    for message in messages():
        note("took", message.body.decode())
        if message.body == b"block":
            time.sleep(1000)
"""


async def test_the_mules_of_a_master_that_was_killed_are_gone(daemon: Daemon) -> None:
    daemon.program("work", BLOCKED)
    daemon.configure('[[mule]]\nprogram = "work:main"\ncount = 2')
    await daemon.start()
    async with daemon.client() as client:
        await client.mule_msg("block", 1)
        await daemon.noted("took", "block")
        pids = [row["pid"] for row in (await daemon.status())["mules"]]

        await daemon.kill()

    assert None not in pids
    await wait_until(lambda: not any(is_alive(pid or 0) for pid in pids), within=LONG)


async def test_a_client_goes_on_with_the_next_master(daemon: Daemon) -> None:
    daemon.program("work", BLOCKED)
    daemon.configure("""
        [[mule]]
        program = "work:main"
        max_messages = 2
    """)
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msg("block", 1)
        await daemon.noted("took", "block")
        await client.mule_msg("lost with the memory of its master", 1)
        # These two have no room, so they are not confirmed.
        waiting = asyncio.gather(client.mule_msg("c", 1), client.mule_msg("d", 1))
        await daemon.status_when(lambda s: queue_of(s, "mule1")["waiting"] == 2)
        await daemon.kill()
        assert daemon.socket.exists()
        await client.mule_msg("e", 1, confirm=False)
        await daemon.start()
        async with asyncio.timeout(LONG):
            ids = await waiting
            await client.flush()

    assert ids[0] < ids[1]
    await daemon.noted("took", "e")
    assert [words[1] for words in daemon.notes()] == ["block", "c", "d", "e"]
    assert await daemon.stop() == 0


async def test_a_client_that_streams_loses_nothing_that_is_not_confirmed(
    daemon: Daemon,
) -> None:
    daemon.program("work", BLOCKED)
    daemon.configure('[[mule]]\nprogram = "work:main"')
    await daemon.start()

    async with daemon.client() as client:
        unconfirmed = [f"u{number}" for number in range(2000)]
        for count in range(1, 4):
            await daemon.kill()
            for body in unconfirmed:
                await client.mule_msg(body, confirm=False)
            await daemon.start()
            async with asyncio.timeout(LONG):
                await client.flush()
            # What is confirmed is in the memory of the master that is killed next.
            await daemon.noted("took", "u1999", count=count)

    assert [words[1] for words in daemon.notes()] == unconfirmed * 3
    assert await daemon.stop() == 0


async def test_a_second_daemon_refuses_and_harms_nothing(daemon: Daemon) -> None:
    daemon.program("work", BLOCKED)
    daemon.configure('[[mule]]\nprogram = "work:main"')
    await daemon.start()

    second = daemon.launch()
    await wait_until(lambda: second.poll() is not None, within=LONG)

    assert second.returncode == 73
    (failed,) = daemon.records("pymuled failed")
    assert f"is in use by process {daemon.process.pid}" in str(failed["error"])
    async with daemon.client() as client:
        await client.mule_msg("hello")
    await daemon.noted("took", "hello")
    assert await daemon.stop() == 0


async def test_a_master_that_stands_still_for_a_while_loses_nothing(
    daemon: Daemon,
) -> None:
    daemon.program("work", BLOCKED)
    daemon.configure('[[mule]]\nprogram = "work:main"')
    await daemon.start()
    pid = mule_of(await daemon.status(), 1)["pid"]
    assert pid is not None

    async with daemon.client() as client:
        daemon.signal(signal.SIGSTOP)
        for number in range(100):
            await client.mule_msg(f"m{number}", confirm=False)
        os.kill(pid, signal.SIGKILL)
        daemon.signal(signal.SIGCONT)
        async with asyncio.timeout(LONG):
            await client.flush()

    await daemon.noted("took", "m99")
    assert [words[1] for words in daemon.notes()] == [f"m{n}" for n in range(100)]
    assert await daemon.stop() == 0
