"""A reload replaces mule by mule while messages flow, or changes nothing."""

import asyncio
import signal
from collections import Counter

import pytest

from pymule.client.aio import Client
from pymule.errors import UnknownTargetError
from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

# VERSION is replaced by the test, as by a deployment.
ECHO = """
import os
import pymule

async def main():
    note("started", pymule.mule_id(), "VERSION", os.getpid())
    async for message in pymule.messages():
        note("did", "VERSION", os.getpid(), message.attempt, message.body.decode())
"""

PAIR = """
    [[mule]]
    program = "work:main"
    count = 2
    [[farm]]
    name = "pair"
    mules = [1, 2]
"""


def deploy(daemon: Daemon, version: str) -> None:
    daemon.program("work", ECHO.replace("VERSION", version))


class Traffic:
    """Sends messages, each after the one before was confirmed, until told to stop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.sent = 0
        self.is_told_to_stop = False

    async def run(self) -> None:
        while not self.is_told_to_stop:
            await self._client.farm_msg("pair", f"m{self.sent}")
            self.sent += 1


async def test_reloads_under_load_lose_nothing_and_load_new_code(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v0")
    daemon.configure(PAIR)
    await daemon.start()

    async with daemon.client() as client, asyncio.TaskGroup() as tasks:
        traffic = Traffic(client)
        tasks.create_task(traffic.run())
        for number in range(1, 4):
            deploy(daemon, f"v{number}")
            daemon.signal(signal.SIGHUP)
            await daemon.logged("reloaded", count=number)
            await daemon.noted("did", f"v{number}")
        deploy(daemon, "v4")
        answer = await client.call("reload")
        await daemon.noted("did", "v4")
        traffic.is_told_to_stop = True

    assert answer == {"ok": True, "error": None}
    await daemon.noted("did", count=traffic.sent)
    did = Counter(words[4] for words in daemon.notes() if words[0] == "did")
    assert did == {f"m{number}": 1 for number in range(traffic.sent)}
    assert all(words[3] == "1" for words in daemon.notes() if words[0] == "did")
    assert not daemon.records("messages redelivered")
    status = await daemon.status_when(lambda status: len(status["mules"]) == 2)
    assert [row["state"] for row in status["mules"]] == ["up", "up"]
    assert sum(row["handled"] for row in status["mules"]) == traffic.sent
    assert await daemon.stop() == 0


async def test_the_new_mule_is_ready_before_the_old_one_drains(
    daemon: Daemon,
) -> None:
    deploy(daemon, "old")
    daemon.configure(PAIR)
    await daemon.start()
    daemon.program("work", "wait_for('go')\n" + ECHO.replace("VERSION", "new"))

    async with daemon.client() as client:
        daemon.signal(signal.SIGHUP)
        await daemon.status_when(lambda status: status["state"] == "reloading")
        # Both old mules answer as long as the new one is not there.
        for mule in (1, 2):
            await client.mule_msg("meanwhile", mule)
        await daemon.noted("did", "old", count=2)
        daemon.allow("go")
        await daemon.logged("reloaded")
        for mule in (1, 2):
            await client.mule_msg("afterwards", mule)
    await daemon.noted("did", "new", count=2)

    assert await daemon.stop() == 0


async def test_mules_and_farms_come_and_go(daemon: Daemon) -> None:
    deploy(daemon, "v1")
    daemon.configure(PAIR)
    await daemon.start()
    first = (await daemon.status())["mules"]

    async with daemon.client() as client:
        daemon.configure("""
            [[mule]]
            program = "work:main"
            count = 3
            [[farm]]
            name = "trio"
            mules = [1, 2, 3]
        """)
        assert await client.call("reload") == {"ok": True, "error": None}
        await client.farm_msg("trio", "hello")
        await client.mule_msg("third", 3)
        with pytest.raises(UnknownTargetError):
            await client.farm_msg("pair", "x")
        daemon.configure('[[mule]]\nprogram = "work:main"')
        assert await client.call("reload") == {"ok": True, "error": None}
        with pytest.raises(UnknownTargetError):
            await client.mule_msg("x", 3)
        await client.mule_msg("last", 1)

    await daemon.noted("did", count=3)
    status = await daemon.status_when(lambda status: len(status["mules"]) == 1)
    assert mule_of(status, 1)["pid"] != first[0]["pid"]
    assert sorted(queue["target"] for queue in status["queues"]) == ["mule", "mule1"]
    assert await daemon.stop() == 0


async def test_a_farm_that_moves_to_another_mule_is_served_all_the_time(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v1")
    daemon.configure("""
        [[mule]]
        program = "work:main"
        count = 2
        [[farm]]
        name = "moving"
        mules = [2]
    """)
    await daemon.start()
    deploy(daemon, "v2")
    daemon.program("work", "wait_for('go')\n" + ECHO.replace("VERSION", "v2"))
    daemon.configure("""
        [[mule]]
        program = "work:main"
        [[farm]]
        name = "moving"
        mules = [1]
    """)

    async with daemon.client() as client:
        daemon.signal(signal.SIGHUP)
        await daemon.status_when(lambda status: status["state"] == "reloading")
        await client.farm_msg("moving", "meanwhile")
        await daemon.noted("did", "v1")
        daemon.allow("go")
        await daemon.logged("reloaded")
        await client.farm_msg("moving", "afterwards")

    await daemon.noted("did", "v2")
    assert await daemon.stop() == 0


async def test_a_file_that_is_wrong_changes_nothing_and_says_why(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v1")
    daemon.configure(PAIR)
    await daemon.start()
    before = await daemon.status()

    async with daemon.client() as client:
        daemon.configure(PAIR + "\ncolour = 'grey'")
        answer = await client.call("reload")
        daemon.signal(signal.SIGHUP)
        records = await daemon.logged("configuration not changed", count=2)
        during = await daemon.status()
        daemon.configure(PAIR)
        repaired = await client.call("reload")

    assert answer["ok"] is False
    for text in (answer["error"], during["config_error"], records[0]["error"]):
        assert str(text).startswith(f"{daemon.config}:")
        assert "colour" in str(text)
    pids = [row["pid"] for row in before["mules"]]
    assert [row["pid"] for row in during["mules"]] == pids
    assert repaired == {"ok": True, "error": None}
    assert (await daemon.status())["config_error"] is None
    assert await daemon.stop() == 0


async def test_a_program_that_fails_to_start_leaves_the_old_one_at_work(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v1")
    daemon.configure(PAIR)
    await daemon.start()
    before = await daemon.status()
    daemon.program("work", "raise RuntimeError('a bad deployment')")

    async with daemon.client() as client:
        answer = await client.call("reload")
        await client.farm_msg("pair", "hello")
    await daemon.noted("did", "v1")
    status = await daemon.status_when(lambda status: len(status["mules"]) == 2)

    assert answer["ok"] is False
    assert "mule 1 did not start" in str(status["config_error"])
    pids = [row["pid"] for row in before["mules"]]
    assert [row["pid"] for row in status["mules"]] == pids
    assert await daemon.stop() == 0


async def test_a_stop_in_the_middle_of_a_reload_ends_all_mules(
    daemon: Daemon,
) -> None:
    deploy(daemon, "old")
    daemon.configure(PAIR)
    await daemon.start()
    daemon.program("work", "note('loads')\nwait_for('never')")

    daemon.signal(signal.SIGHUP)
    await daemon.noted("loads")
    await daemon.stop()

    assert len(daemon.records("mule spawned")) == 3
    assert len(daemon.records("mule exited")) == 3


async def test_a_second_reload_at_the_same_time_is_refused(daemon: Daemon) -> None:
    deploy(daemon, "old")
    daemon.configure(PAIR)
    await daemon.start()
    daemon.program("work", "wait_for('go')\n" + ECHO.replace("VERSION", "new"))

    async with daemon.client() as client:
        first = asyncio.create_task(client.call("reload"))
        await daemon.status_when(lambda status: status["state"] == "reloading")
        second = await client.call("reload")
        daemon.allow("go")
        async with asyncio.timeout(LONG):
            answer = await first

    assert answer == {"ok": True, "error": None}
    assert second == {"ok": False, "error": "the master is reloading"}
    assert await daemon.stop() == 0


async def test_a_touch_reloads_and_one_during_a_reload_causes_one_more(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v0")
    # In a directory that is not there yet.
    touched = daemon.directory / "deploy" / "touched"
    daemon.configure('touch_reload = ["deploy/touched"]\n' + PAIR)
    await daemon.start()

    touched.parent.mkdir()
    daemon.program("work", "wait_for('go')\n" + ECHO.replace("VERSION", "v1"))
    touched.touch()
    await daemon.status_when(lambda status: status["state"] == "reloading")
    touched.write_text("again")
    records = await daemon.logged("touched", count=2)
    assert not daemon.records("reloaded")
    daemon.allow("go")

    await daemon.logged("reloaded", count=2)
    await daemon.status_when(lambda status: status["state"] == "running")
    assert {record["path"] for record in records} == {str(touched)}
    assert not daemon.records("reload refused")
    assert await daemon.stop() == 0


async def test_hangups_during_a_reload_are_one_more_afterwards(daemon: Daemon) -> None:
    deploy(daemon, "v0")
    daemon.configure(PAIR)
    await daemon.start()

    daemon.program("work", "wait_for('go')\n" + ECHO.replace("VERSION", "v1"))
    daemon.signal(signal.SIGHUP)
    await daemon.status_when(lambda status: status["state"] == "reloading")
    async with daemon.client() as client:
        for _ in range(3):
            daemon.signal(signal.SIGHUP)
            await client.call("ping")
    daemon.configure(PAIR + '[[mule]]\nprogram = "work:main"\n')
    daemon.allow("go")

    await daemon.logged("reloaded", count=2)
    status = await daemon.status_when(lambda status: status["state"] == "running")
    assert len({row["id"] for row in status["mules"]}) == 3
    assert not daemon.records("reload refused")
    assert await daemon.stop() == 0


async def test_a_reload_changes_which_paths_reload(daemon: Daemon) -> None:
    deploy(daemon, "v0")
    old, new = daemon.directory / "old", daemon.directory / "new"
    daemon.configure('touch_reload = ["old"]\n' + PAIR)
    await daemon.start()

    daemon.configure('touch_reload = ["new"]\n' + PAIR)
    daemon.signal(signal.SIGHUP)
    await daemon.logged("reloaded")
    old.touch()
    new.touch()
    await daemon.logged("reloaded", count=2)

    records = daemon.records("touched")
    assert {record["path"] for record in records} == {str(new)}
    assert await daemon.stop() == 0
