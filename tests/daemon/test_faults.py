"""The daemon in surroundings that are odd, hostile or broken."""

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest

from pymule.cli.exits import ExitCode
from pymule.client.aio import Client
from pymule.errors import ConnectionLostError
from tests.chaos.disk import why_no_mounts
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

ECHO: Final = """
import pymule

async def main():
    async for message in pymule.messages():
        note("did", message.body.decode())
"""
A_MULE: Final = """
[[mule]]
program = "work:main"
"""
ON_DISK: Final = """
state_dir = "state"
[[mule]]
program = "work:main"
durability = "disk"
"""

SPEAKS: Final = """
import pymule

async def main():
    async for message in pymule.messages():
        print(message.body.decode())
"""
# A grandchild that ends when its parent is gone.
LEAVES: Final = """
import os, time
import pymule

async def main():
    async for message in pymule.messages():
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                note("left")
            os._exit(0)
        os.wait()
"""

needs_mounts = pytest.mark.skipif(
    why_no_mounts() is not None, reason=str(why_no_mounts())
)


async def serves(daemon: Daemon) -> None:
    """See that it takes a message and has it handled."""
    count = len(daemon.notes())
    async with daemon.client() as client, asyncio.timeout(LONG):
        await client.mule_msg("hello", 1)
    await wait_until(lambda: len(daemon.notes()) > count, within=LONG)


async def end_of(process: "subprocess.Popen[bytes]") -> int:
    await wait_until(lambda: process.poll() is not None, within=LONG)
    return process.returncode


# Several at once, and what others left


async def test_of_many_daemons_that_start_at_once_one_has_it_all(
    daemon: Daemon,
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)

    processes = [daemon.launch() for _ in range(5)]
    try:
        await daemon.logged("pymuled ready")
        await wait_until(
            lambda: sum(p.poll() is None for p in processes) == 1, within=LONG
        )
        (owner,) = [p for p in processes if p.poll() is None]
        statuses = {p.returncode for p in processes if p is not owner}
        failures = daemon.records("pymuled failed")
        await serves(daemon)
    finally:
        for process in processes:
            process.terminate()
    assert await end_of(owner) == 0

    assert statuses == {ExitCode.NO_SOCKET}
    # One that looks before the first has written its pid cannot name it.
    assert len(failures) == 4
    assert all("is in use by" in str(one["error"]) for one in failures)
    assert len(daemon.records("journal open")) == 1


async def test_a_state_directory_is_for_one_daemon_whatever_its_socket(
    daemon: Daemon,
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    await daemon.start()
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(f"{daemon.socket}", f"{daemon.socket}2"))

    second = daemon.launch()

    assert await end_of(second) == ExitCode.TRY_AGAIN
    (failed,) = daemon.records("pymuled failed")
    assert f"process {daemon.process.pid}" in str(failed["error"])
    await serves(daemon)
    assert await daemon.stop() == 0


async def test_a_number_of_a_process_in_what_was_left_means_nothing(
    daemon: Daemon,
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    await daemon.start()
    await daemon.kill()
    innocent = _innocent()
    try:
        for name in ("s.lock", "state/journal.lock"):
            (daemon.directory / name).write_text(f"{innocent.pid}\n")

        await daemon.start()
        await serves(daemon)

        assert innocent.poll() is None
        assert await daemon.stop() == 0
    finally:
        innocent.kill()
        innocent.wait()


def _innocent() -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    return subprocess.Popen(words)  # noqa: S603  (our own interpreter, no shell)


# Unix signals


@pytest.mark.parametrize(
    "step",
    ["s.lock", "state/journal.db", "journal open", "mule spawned"],
)
async def test_a_stop_at_any_step_of_the_start_leaves_nothing_in_the_way(
    daemon: Daemon, step: str
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    path = daemon.directory / step

    daemon.begin()
    await wait_until(lambda: path.exists() or daemon.records(step), within=LONG)
    status = await daemon.stop()
    await daemon.start()
    await serves(daemon)

    # Before it has begun to listen to signals it simply dies of them.
    assert status in {0, 1, -signal.SIGTERM}
    assert await daemon.stop() == 0


# What is around it


@pytest.mark.parametrize("deed", ["socket", "directory", "renamed"])
async def test_a_socket_that_is_removed_is_made_anew(daemon: Daemon, deed: str) -> None:
    run = daemon.directory / "run"
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(f"{daemon.socket}", f"{run / 's'}"))
    daemon.socket = run / "s"
    await daemon.start()
    mule = mule_of(await daemon.status(), 1)["pid"]

    async with daemon.client() as client:
        for count in (1, 2):
            if deed == "socket":
                daemon.socket.unlink()
            elif deed == "directory":
                shutil.rmtree(run)
            else:
                daemon.socket.rename(run / "away")
            await daemon.logged("socket was removed; made anew", count=count)
            await serves(daemon)
            await client.mule_msg("from before")

    assert _mode(daemon.socket) == 0o660
    assert mule_of(await daemon.status(), 1)["pid"] == mule
    assert await daemon.stop() == 0
    assert not daemon.socket.exists()


async def test_a_socket_that_cannot_be_made_anew_is_at_the_next_reload(
    daemon: Daemon,
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(A_MULE)
    await daemon.start()

    daemon.directory.chmod(0o777)
    daemon.socket.unlink()
    (lost,) = await daemon.logged("socket lost")
    daemon.directory.chmod(0o700)
    daemon.signal(signal.SIGHUP)
    await daemon.logged("reloaded")
    await serves(daemon)

    assert "is writable by everybody" in str(lost["error"])
    assert await daemon.stop() == 0


@needs_mounts
async def test_as_the_first_process_it_reaps_what_others_leave(daemon: Daemon) -> None:
    daemon.program("work", LEAVES)
    daemon.configure(A_MULE)
    await daemon.start(via=["unshare", "--pid", "--fork", "--mount-proc"])
    (pid,) = _children_of(daemon.process.pid)

    async with daemon.client() as client:
        await client.mule_msg("x")
    await daemon.noted("left")

    assert (await daemon.status())["pid"] == 1
    await wait_until(lambda: len(_children_of(pid)) == 1, within=LONG)
    os.kill(pid, signal.SIGTERM)
    assert await daemon.ended() == 0


def _children_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in children.split()]


async def test_a_poor_environment_will_do(daemon: Daemon) -> None:
    daemon.program("work", SPEAKS)
    daemon.configure(A_MULE)
    kept = ("PYTHONPATH", "NOTES", "FILES")
    variables = [f"{name}={daemon.environ[name]}" for name in kept]
    poor = ["LANG=C", "LC_ALL=C", "PYTHONOPTIMIZE=2", "PYTHONHASHSEED=7"]

    await daemon.start(via=["env", "-i", *variables, *poor])
    async with daemon.client() as client:
        await client.mule_msg("Gr\u00fc\u00dfe \u2603")
    await daemon.logged("mule output")

    assert daemon.output("stdout") == ["Gr\u00fc\u00dfe \u2603"]
    assert await daemon.stop() == 0


@needs_mounts
async def test_nothing_but_its_own_directories_has_to_be_writable(
    daemon: Daemon,
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    here = daemon.directory
    mounts = f"mount --bind {here} {here} && mount -o remount,bind,ro /"
    # What counts the lines of our code would write at the end.
    uncounted = ["env", "-u", "COVERAGE_PROCESS_START", "-u", "COVERAGE_PROCESS_CONFIG"]

    await daemon.start(
        via=[*uncounted, "unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', "sh"]
    )
    await serves(daemon)

    assert await daemon.stop() == 0


@pytest.mark.parametrize("umask", ["0777", "0000"])
async def test_modes_do_not_depend_on_the_umask(daemon: Daemon, umask: str) -> None:
    daemon.program("work", ECHO)
    daemon.configure(f'socket_mode = "0620"\n{ON_DISK}')
    state = daemon.directory / "state"

    await daemon.start(via=["sh", "-c", f'umask {umask}; exec "$@"', "sh"])
    await serves(daemon)
    modes = {path.name: _mode(path) for path in state.iterdir()}

    assert _mode(daemon.socket) == 0o620
    assert _mode(state) == 0o700
    assert {"journal.db", "journal.db-wal", "journal.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert await daemon.stop() == 0


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The disk


@needs_mounts
@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param("size=32k", ExitCode.TRY_AGAIN, id="full"),
        pytest.param("nr_inodes=2", ExitCode.TRY_AGAIN, id="no inodes"),
        pytest.param("ro", ExitCode.NO_SOCKET, id="read only"),
    ],
)
async def test_a_disk_that_takes_nothing_at_the_start_is_told(
    daemon: Daemon, options: str, status: ExitCode
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    state = daemon.directory / "state"
    state.mkdir(mode=0o700)
    mount = f"mount -t tmpfs -o mode=700,{options} none {state}"

    daemon.begin(via=["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"])

    assert await daemon.ended() == status
    (failed,) = daemon.records("pymuled failed")
    assert str(state) in str(failed["error"])
    assert not daemon.socket.exists()


async def test_a_journal_that_is_removed_ends_the_daemon(
    daemon: Daemon,
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    await daemon.start()
    await serves(daemon)

    client = await daemon.client().__aenter__()
    (daemon.directory / "state/journal.db").unlink()
    sends = asyncio.create_task(_send_on(client))
    status = await daemon.ended()
    # Not the end of a block, which would wait for a daemon that confirms the last one.
    await client.close()
    with suppress(ConnectionLostError):
        await sends

    assert status == ExitCode.IO_ERROR
    (failed,) = daemon.records("journal failed")
    assert "journal.db" in str(failed["error"])


async def _send_on(client: Client) -> None:
    while True:
        await client.mule_msg("x", 1)


async def test_a_journal_of_a_newer_version_is_left_alone(daemon: Daemon) -> None:
    daemon.program("work", ECHO)
    daemon.configure(ON_DISK)
    await daemon.start()
    await serves(daemon)
    assert await daemon.stop() == 0
    path = daemon.directory / "state/journal.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    content = path.read_bytes()

    daemon.begin()

    assert await daemon.ended() == ExitCode.BAD_DATA
    (failed,) = daemon.records("pymuled failed")
    assert "99" in str(failed["error"])
    assert path.read_bytes() == content
