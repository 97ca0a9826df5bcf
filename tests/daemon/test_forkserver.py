"""Mules that are forked live, die and are replaced as those that are spawned."""

import os
import signal

import psutil
import pytest

from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, Status, is_alive, mule_of, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

SOON = {"restarts": {"backoff_s": 0.01, "backoff_max_s": 0.01}}

# Imported once for all mules; VERSION is replaced by the test, as by a deployment.
APP = """
import os, pymule

HOME = os.getpid()
VERSION = "VERSION"
STATE = "imported"

@pymule.after_fork
def fresh():
    global STATE
    STATE = "fresh"
"""
WORK = """
import os, time
import app, pymule

async def main():
    note("started", pymule.mule_id(), os.getpid(), app.VERSION, app.STATE, app.HOME)
    async for message in pymule.messages():
        match message.body.decode():
            case "print":
                print("a line")
            case "exit" if message.attempt == 1:
                os._exit(3)
            case "hang" if message.attempt == 1:
                the_culprit()
            case "finish":
                note("begun", app.VERSION)
                wait_for("finish")
        note("did", message.body.decode(), app.VERSION)

def the_culprit():
    time.sleep(1000)
"""
FORKED = """
    start_method = "forkserver"
    preload = ["app"]
    [[mule]]
    program = "work:main"
"""
PAIR = FORKED + "count = 2\n"


def deploy(daemon: Daemon, version: str = "v1", app: str = APP) -> None:
    daemon.program("app", app.replace('"VERSION"', f'"{version}"'))
    daemon.program("work", WORK)


def forkserver_of(status: Status) -> int:
    """Return the pid of the only one."""
    (row,) = status["forkservers"]
    assert row["pid"] is not None
    return row["pid"]


def pids_of(status: Status) -> list[int]:
    return [row["pid"] for row in status["mules"] if row["pid"] is not None]


async def test_mules_share_what_was_imported_and_are_children_of_the_master(
    daemon: Daemon,
) -> None:
    deploy(daemon)
    daemon.configure(PAIR)
    await daemon.start()

    status = await daemon.status()

    forkserver, pids = forkserver_of(status), pids_of(status)
    assert sorted(daemon.notes()) == [
        ["started", str(number), str(pid), "v1", "fresh", str(forkserver)]
        for number, pid in enumerate(pids, 1)
    ]
    for pid in (*pids, forkserver):
        assert psutil.Process(pid).ppid() == daemon.process.pid
        assert os.getpgid(pid) == pid
    title = psutil.Process(forkserver).cmdline()[0]
    assert title == "pymule: forkserver 1 [app]"
    assert [row["start_method"] for row in status["mules"]] == ["forkserver"] * 2
    (row,) = status["forkservers"]
    assert (row["state"], row["preload"], row["mules"]) == ("up", ["app"], [1, 2])
    async with daemon.client() as client:
        await client.mule_msg("print", 2)
    await daemon.logged("mule output")
    assert daemon.output("stdout") == ["a line"]
    assert await daemon.stop() == 0
    assert not any(map(is_alive, (*pids, forkserver)))


async def test_a_mule_that_dies_is_told_of_as_any_and_forked_again(
    daemon: Daemon,
) -> None:
    deploy(daemon)
    daemon.configure(FORKED + "harakiri_s = 0.5\n")
    await daemon.start(policies=SOON)
    before = await daemon.status()

    async with daemon.client() as client:
        for message in ("exit", "hang"):
            await client.mule_msg(message)
            await daemon.noted("did", message)
        os.kill(pids_of(await daemon.status())[0], signal.SIGKILL)
        await client.mule_msg("last")
    await daemon.noted("did", "last")

    exits = await daemon.logged("mule exited", count=3)
    reasons = [record["reason"] for record in exits]
    assert reasons == ["status 3", "harakiri", "signal 9 (SIGKILL)"]
    (stacks,) = daemon.records("stacks of the mule")
    assert "in the_culprit" in str(stacks["exc"])
    status = await daemon.status()
    assert forkserver_of(status) == forkserver_of(before)
    assert mule_of(status, 1)["restarts"] == 3
    assert queue_of(status, "mule")["redelivered"] == 2
    assert len(daemon.records("forkserver spawned")) == 1
    assert await daemon.stop() == 0


async def test_a_reload_brings_a_new_forkserver_and_the_old_mules_finish(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v1")
    daemon.configure(PAIR)
    await daemon.start()
    before = await daemon.status()

    async with daemon.client() as client:
        await client.mule_msg("finish", 1)
        await daemon.noted("begun", "v1")
        deploy(daemon, "v2")
        assert await client.call("reload") == {"ok": True, "error": None}
        await client.mule_msg("new", 1)
        await daemon.noted("did", "new", "v2")
        # The old mule lives on without its forkserver.
        await daemon.logged("forkserver exited")
        assert is_alive(pids_of(before)[0])
        daemon.allow("finish")
        await daemon.noted("did", "finish", "v1")
    status = await daemon.status_when(lambda status: len(status["mules"]) == 2)

    assert forkserver_of(status) != forkserver_of(before)
    assert not is_alive(forkserver_of(before))
    (record,) = daemon.records("forkserver exited")
    assert (record["level"], record["status"]) == ("INFO", 0)
    assert not daemon.records("messages redelivered")
    assert await daemon.stop() == 0


async def test_a_reload_that_cannot_import_leaves_all_as_it_was(
    daemon: Daemon,
) -> None:
    deploy(daemon, "v1")
    daemon.configure(PAIR)
    await daemon.start(policies=SOON)
    before = await daemon.status()

    async with daemon.client() as client:
        deploy(daemon, app="raise OSError('no such table')")
        answer = await client.call("reload")
    await daemon.status_when(lambda status: len(status["forkservers"]) == 1)

    assert answer["ok"] is False
    assert "mule 1 did not start" in str(answer["error"])
    status = await daemon.status()
    assert forkserver_of(status) == forkserver_of(before)
    assert pids_of(status) == pids_of(before)
    (exited,) = await daemon.logged("forkserver exited")
    assert exited["reason"] == "OSError: no such table"
    (failed,) = await daemon.logged("mule not started")
    assert str(failed["error"]).endswith("its forkserver ended: OSError")
    lines = [record["line"] for record in daemon.records("forkserver output")]
    assert lines[-1] == "OSError: no such table"
    # One that dies now is forked from the code that the others have.
    os.kill(pids_of(before)[1], signal.SIGKILL)
    await daemon.noted("started", 2, count=2)
    assert {words[3] for words in daemon.notes()} == {"v1"}
    assert await daemon.stop() == 0


async def test_threads_at_the_import_are_told_and_the_mules_are_spawned(
    daemon: Daemon,
) -> None:
    poller = """
    import threading
    threading.Thread(
        target=threading.Event().wait, name="poller", daemon=True
    ).start()
    """
    daemon.program("app", APP)
    daemon.program("poller", poller)
    daemon.program("work", WORK)
    daemon.configure(PAIR.replace('["app"]', '["app", "poller"]'))
    await daemon.start()

    (record,) = daemon.records("forkserver unfit")
    status = await daemon.status_when(lambda s: s["forkservers"][0]["pid"] is None)

    reason = "thread 'poller', which the import of 'poller' started"
    assert (record["level"], record["reason"]) == ("WARNING", reason)
    assert [row["start_method"] for row in status["mules"]] == ["spawn"] * 2
    assert [row["state"] for row in status["mules"]] == ["up"] * 2
    assert status["forkservers"][0]["unfit"] == [reason]
    # What they would have shared they have each, and the hooks ran.
    assert {words[4] for words in daemon.notes()} == {"fresh"}
    assert len({words[5] for words in daemon.notes()}) == 2
    assert await daemon.stop() == 0


async def test_a_forkserver_that_dies_is_replaced_and_its_mules_go_on(
    daemon: Daemon,
) -> None:
    deploy(daemon)
    daemon.configure(PAIR)
    await daemon.start(policies=SOON)
    before = await daemon.status()

    os.kill(forkserver_of(before), signal.SIGKILL)

    await daemon.logged("forkserver ready", count=2)
    status = await daemon.status()
    assert pids_of(status) == pids_of(before)
    (exited,) = daemon.records("forkserver exited")
    assert (exited["level"], exited["reason"]) == ("ERROR", "signal 9 (SIGKILL)")
    os.kill(pids_of(before)[0], signal.SIGKILL)
    await daemon.noted("started", 1, count=2)
    assert daemon.notes()[-1][5] == str(forkserver_of(status))
    assert await daemon.stop() == 0


async def test_neither_mule_nor_forkserver_outlives_a_master_that_is_killed(
    daemon: Daemon,
) -> None:
    deploy(daemon)
    daemon.configure(PAIR)
    await daemon.start()
    status = await daemon.status()
    async with daemon.client() as client:
        await client.mule_msg("hang", 1)
        await daemon.status_when(lambda status: mule_of(status, 1)["in_hand"] == 1)

    await daemon.kill()

    pids = [*pids_of(status), forkserver_of(status)]
    await wait_until(lambda: not any(map(is_alive, pids)), within=LONG)


async def test_a_hook_that_raises_keeps_its_mule_from_starting(
    daemon: Daemon,
) -> None:
    deploy(daemon, app=APP + "    raise OSError('no such host')\n")
    daemon.configure(FORKED)
    await daemon.start(policies=SOON)

    status = await daemon.status_when(
        lambda status: mule_of(status, 1)["last_exit"] is not None
    )

    await daemon.logged("mule exited")
    assert mule_of(status, 1)["state"] != "up"
    exit_ = mule_of(status, 1)["last_exit"]
    assert exit_ is not None
    assert "no such host" in str(exit_["error"])
    assert "in fresh" in "\n".join(map(str, daemon.output("stderr")))
    assert await daemon.stop() == 0


async def test_an_import_that_hangs_is_given_up_and_holds_up_no_stop(
    daemon: Daemon,
) -> None:
    deploy(daemon, app="wait_for('go')")
    daemon.configure(FORKED + "start_timeout_s = 0.5\n")
    await daemon.start(policies=SOON)

    (exited, *_) = await daemon.logged("forkserver exited")
    (failed, *_) = await daemon.logged("mule not started")

    assert exited["reason"] == "start timeout"
    assert "start timeout" in str(failed["error"])
    assert await daemon.stop() == 0
