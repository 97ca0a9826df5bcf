"""What becomes of a mule that ends: when it comes back, and what is told of its end."""

import signal

import pytest

from tests.conftest import MS
from tests.daemon.harness import Daemon, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

# Does what its messages say.
OBEDIENT = """
import os, signal, sys
import pymule

class Broken(Exception): pass

async def main():
    note("started", os.getpid())
    async for message in pymule.messages():
        note("took", message.attempt, message.body.decode())
        match message.body.decode():
            case "return": return
            case "raise" if message.attempt == 1: raise Broken("by request")
            case "exit 3": sys.exit(3)
            case "exit 125": sys.exit(125)
            case "segfault" if message.attempt == 1:
                os.kill(os.getpid(), signal.SIGSEGV)
"""

# Python waits at the end for the thread, which waits for ever.
LINGERING = """
import threading
import pymule

async def main():
    message = await pymule.mule_get_msg()
    note("took", message.decode())
    threading.Thread(target=wait_for, args=["never"]).start()
"""

ONE_MULE = '[[mule]]\nprogram = "work:main"\n'
NEVER = {"restarts": {"backoff_s": 1000, "backoff_max_s": 1000}}
SOON = {"restarts": {"backoff_s": 0.01, "backoff_max_s": 0.01}}


async def test_a_program_that_returns_is_started_at_once_but_only_once(
    daemon: Daemon,
) -> None:
    daemon.program("work", OBEDIENT)
    daemon.configure(ONE_MULE)
    await daemon.start(policies=NEVER)

    async with daemon.client() as client:
        await client.mule_msg("return")
        await daemon.noted("started", count=2)
        await client.mule_msg("return")
        status = await daemon.status_when(
            lambda status: mule_of(status, 1)["state"] == "backoff"
        )

    row = mule_of(status, 1)
    assert row["restarts"] == 1
    assert row["pid"] is None
    assert row["handled"] == 2
    assert row["last_exit"] is not None
    assert row["last_exit"]["reason"] == "returned"
    assert await daemon.stop() == 0


async def test_a_program_that_raises_is_told_of_with_its_traceback(
    daemon: Daemon,
) -> None:
    daemon.program("work", OBEDIENT)
    daemon.configure(ONE_MULE)
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        number = await client.mule_msg("raise")
    await daemon.noted("took", 2, "raise")

    row = mule_of(await daemon.status(), 1)
    assert row["last_exit"] is not None
    assert row["last_exit"]["reason"] == "status 1"
    error = row["last_exit"]["error"]
    assert isinstance(error, dict)
    assert (error["type"], error["text"]) == ("Broken", "by request")
    assert 'raise Broken("by request")' in str(error["traceback"])
    assert any("Broken: by request" in str(line) for line in daemon.output("stderr"))
    (redelivered,) = daemon.records("messages redelivered")
    assert redelivered["in_hand"] == [number]
    assert await daemon.stop() == 0


async def test_a_death_by_a_signal_is_told_by_its_name(daemon: Daemon) -> None:
    daemon.program("work", OBEDIENT)
    daemon.configure(ONE_MULE)
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("segfault")
    await daemon.noted("took", 2, "segfault")

    (exited,) = daemon.records("mule exited")
    assert exited["status"] == -signal.SIGSEGV
    assert exited["reason"] == "signal 11 (SIGSEGV)"
    assert await daemon.stop() == 0


async def test_a_mule_that_asks_to_stay_down_does(daemon: Daemon) -> None:
    daemon.program("work", OBEDIENT)
    daemon.configure(ONE_MULE + ONE_MULE)
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("exit 125", 1)
        await daemon.logged("mule stays down")
        status = await daemon.status()
        await client.mule_msg("fine", 2)

    assert [row["state"] for row in status["mules"]] == ["down", "up"]
    assert mule_of(status, 1)["restarts"] == 0
    await daemon.noted("took", 1, "fine")
    # What it had in hand waits for the next one of its number.
    assert await daemon.stop() == 1


async def test_a_mule_that_keeps_dying_is_shown_as_failing(daemon: Daemon) -> None:
    daemon.program("work", "note('loaded')\nraise SystemExit(3)")
    daemon.program("fine", OBEDIENT)
    daemon.configure(ONE_MULE + ONE_MULE.replace("work", "fine"))

    await daemon.start(policies=SOON)
    status = await daemon.status_when(
        lambda status: mule_of(status, 1)["state"] == "failing"
    )
    async with daemon.client() as client:
        await client.mule_msg("hello")

    (ready,) = daemon.records("pymuled ready")
    assert (ready["mules"], ready["up"]) == (2, 1)
    row = mule_of(status, 1)
    assert row["restarts"] >= 5
    assert row["last_exit"] is not None
    assert row["last_exit"]["reason"] == "status 3"
    await daemon.noted("took", 1, "hello")
    # It goes on trying.
    await daemon.noted("loaded", count=len(daemon.records("mule exited")) + 2)
    assert await daemon.stop() == 0


async def test_a_program_that_cannot_be_loaded_is_told_of(daemon: Daemon) -> None:
    daemon.program("work", "import no_such_module")
    daemon.configure(ONE_MULE)

    await daemon.start(policies=NEVER)
    status = await daemon.status()

    last_exit = mule_of(status, 1)["last_exit"]
    assert last_exit is not None
    error = last_exit["error"]
    assert isinstance(error, dict)
    assert error["type"] == "ModuleNotFoundError"
    assert "no_such_module" in str(error["text"])
    assert await daemon.stop() == 0


async def test_a_mule_that_lives_on_without_its_link_is_killed(
    daemon: Daemon,
) -> None:
    daemon.program("work", LINGERING)
    daemon.configure(ONE_MULE + "stop_timeout_s = 0.2")
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("end")
        await daemon.logged("mule exited")
        await client.mule_msg("again")
    await daemon.noted("took", "again")

    (exited, *_) = daemon.records("mule exited")
    assert exited["reason"] == "it lived on without its link"


async def test_a_mule_that_is_not_ready_in_time_is_killed(daemon: Daemon) -> None:
    daemon.program("work", "def main(): pass\nwait_for('never')")
    daemon.configure(ONE_MULE + "start_timeout_s = 0.3")

    await daemon.start(policies=NEVER)

    (exited,) = daemon.records("mule exited")
    assert exited["reason"] == "start timeout"
    assert await daemon.stop() == 0
