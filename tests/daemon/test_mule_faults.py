"""Whatever a mule does to itself, its message goes on and nobody else is concerned."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, is_alive, mule_of, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

SOON = {"restarts": {"backoff_s": 0.01, "backoff_max_s": 0.01}}

# Does what its message says, the first time.
SUICIDAL = """
import ctypes, os, sys
import pymule

class NoException(BaseException): pass

def leak_memory():
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024 * 1024))

def leak_descriptors():
    while True:
        os.open("/dev/null", os.O_RDONLY)

def raise_(error):
    raise error

DEEDS = {
    "exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(4),
    "interrupt": lambda: raise_(KeyboardInterrupt()),
    "odd": lambda: raise_(NoException()),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "memory": leak_memory,
    "descriptors": leak_descriptors,
}

async def main():
    async for message in pymule.messages():
        word = message.body.decode()
        if message.attempt == 1:
            DEEDS[word]()
        note("did", message.attempt, word)
"""

# Closes the descriptor of its link, whose number it should not know, and goes on.
MUTE = """
import os, time
import pymule
from pymule.sync import messages

def close_sockets():
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                os.close(int(fd))
        except OSError:
            pass

def main():
    for message in messages():
        note("took", message.attempt, os.getpid())
        if message.attempt == 1:
            close_sockets()
            time.sleep(1000)
"""

# Leaves behind a process in a session of its own, which has the mule's descriptors.
FLEES = """
import os, time
import pymule

async def main():
    async for message in pymule.messages():
        if message.attempt == 1:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    note("fled", os.getpid())
                    time.sleep(1000)
                os._exit(0)
            wait_for("go")
            os.kill(os.getpid(), 9)
        note("did", message.attempt)
"""

CHANGES_EVERYTHING = """
import os, signal, sys
import pymule

def surroundings():
    mask = os.umask(0)
    os.umask(mask)
    return oct(mask), os.getcwd(), len(os.environ), sys.path[-1]

async def main():
    mine = surroundings()
    async for message in pymule.messages():
        if message.body == b"change":
            os.chdir("/")
            os.umask(0)
            os.environ.clear()
            sys.path.append("changed")
            os.nice(5)
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, signal.SIG_DFL)
        note("same" if surroundings() == mine else "changed", pymule.mule_id())
"""

ECHO = """
import pymule

async def main():
    async for message in pymule.messages():
        note("did", message.attempt, message.body.decode())
"""

STANDS = """
import os
import pymule

async def main():
    async for message in pymule.messages():
        note("took", message.attempt, os.getpid())
        if message.attempt == 1:
            wait_for("never")
        note("did", message.attempt)
"""

GREEDY = """
import os
import pymule

async def main():
    async for message in pymule.messages():
        if message.attempt == 1:
            with open(os.environ["GROUP"] + "/cgroup.procs", "w") as procs:
                procs.write(str(os.getpid()))
            hoard = [bytearray(os.urandom(1024)) * 1024 for _ in range(256)]
        note("did", message.attempt)
"""


async def test_however_a_mule_ends_its_message_is_tried_again(daemon: Daemon) -> None:
    reasons = {
        "exit": "status 3",
        "os._exit": "status 4",
        "interrupt": "status 1",
        "odd": "status 1",
        "abort": "signal 6 (SIGABRT)",
        "segfault": "signal 11 (SIGSEGV)",
        "memory": "status 1",
        "descriptors": "status 1",
    }
    daemon.program("work", SUICIDAL)
    daemon.configure("""
        [[mule]]
        program = "work:main"
        limits = { as = 1500000000, nofile = 64 }
    """)
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        for word in reasons:
            await client.mule_msg(word)
            await daemon.noted("did", 2, word)

    exits = daemon.records("mule exited")
    assert [record["reason"] for record in exits] == list(reasons.values())
    said = "\n".join(map(str, daemon.output("stderr")))
    assert "MemoryError" in said
    assert "Too many open files" in said
    row = queue_of(await daemon.status(), "mule")
    assert (row["redelivered"], row["dead"]) == (len(reasons), 0)
    assert await daemon.stop() == 0


async def test_a_mule_that_closes_its_link_and_works_on_is_killed(
    daemon: Daemon,
) -> None:
    daemon.program("work", MUTE)
    daemon.configure('[[mule]]\nprogram = "work:main"\nstop_timeout_s = 0.2')
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("x")
    await daemon.noted("took", 2)

    first, second = (int(words[2]) for words in daemon.notes())
    assert first != second
    assert not is_alive(first)
    assert daemon.records("mule exited")[0]["reason"] == "it lived on without its link"


async def test_who_fled_from_its_mule_holds_up_nothing(daemon: Daemon) -> None:
    daemon.program("work", FLEES)
    daemon.configure('[[mule]]\nprogram = "work:main"')
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("x")
    await daemon.noted("fled")
    (pid,) = (int(words[1]) for words in daemon.notes())
    try:
        daemon.allow("go")
        # Though the link, and the pipes of what is printed, are open in that process.
        await daemon.noted("did", 2)
        status = await daemon.stop()

        assert status == 0
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_what_a_mule_changes_is_its_own(daemon: Daemon) -> None:
    daemon.program("work", CHANGES_EVERYTHING)
    daemon.configure('[[mule]]\nprogram = "work:main"\ncount = 2')
    await daemon.start()

    async with daemon.client() as client:
        for body, mule in (("change", 1), ("look", 1), ("look", 2)):
            await client.mule_msg(body, mule)
        await daemon.noted("same", 2)
        assert await client.call("reload") == {"ok": True, "error": None}
        await client.mule_msg("look", 1)
    await daemon.noted("same", 1)

    assert [words for words in daemon.notes() if words[0] == "changed"] == [
        ["changed", "1"],
        ["changed", "1"],
    ]
    assert _directory_of(daemon.process.pid) == _directory_of(os.getpid())
    assert await daemon.stop() == 0


def _directory_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/cwd").readlink()


async def test_a_mule_that_stands_still_is_killed_by_harakiri(daemon: Daemon) -> None:
    daemon.program("work", STANDS)
    daemon.configure('[[mule]]\nprogram = "work:main"\nharakiri_s = 0.5')
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("x")
        await daemon.noted("took", 1)
        (pid,) = (int(words[2]) for words in daemon.notes())
        os.kill(pid, signal.SIGSTOP)
    await daemon.noted("did", 2)

    assert not is_alive(pid)
    assert daemon.records("mule exited")[0]["reason"] == "harakiri"
    assert await daemon.stop() == 0


async def test_a_storm_of_deaths_is_as_slow_as_the_backoff(daemon: Daemon) -> None:
    daemon.program("dies", "raise SystemExit(3)")
    daemon.program("work", ECHO)
    daemon.configure('[[mule]]\nprogram = "dies.py"\n[[mule]]\nprogram = "work:main"')
    await daemon.start(policies={"restarts": {"backoff_s": 0.1, "backoff_max_s": 0.4}})

    exits = await daemon.logged("mule exited", count=4)
    async with daemon.client() as client:
        await client.mule_msg("meanwhile", 2)
    await daemon.noted("did", 1, "meanwhile")

    spawns = [one for one in daemon.records("mule spawned") if one["mule"] == 1]
    pauses = [
        (_at(spawned) - _at(exited)).total_seconds()
        for exited, spawned in zip(exits, spawns[1:], strict=False)
    ]
    # Jitter takes away a half at most, and the log a millisecond.
    least = [0.05, 0.1, 0.2]
    assert all(pause > one - 0.002 for pause, one in zip(pauses, least, strict=False))
    assert mule_of(await daemon.status(), 2)["restarts"] == 0
    assert await daemon.stop() == 0


def _at(record: dict[str, object]) -> datetime:
    return datetime.fromisoformat(str(record["ts"]))


# What the kernel does to it


@contextmanager
def a_group(controller: str) -> Iterator[Path]:
    """Make a cgroup of our own, which is gone afterwards."""
    top = Path("/sys/fs/cgroup") / controller
    if os.geteuid() != 0 or not (top / "release_agent").exists():
        pytest.skip(f"needs root, and {controller} among the cgroups of version 1")
    group = top / f"pymule-test-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()


async def emptied(group: Path) -> None:
    procs = group / "cgroup.procs"
    await wait_until(lambda: not procs.read_text(), within=LONG)


async def test_a_mule_without_memory_is_the_only_one_to_go(daemon: Daemon) -> None:
    with a_group("memory") as group:
        (group / "memory.limit_in_bytes").write_text(f"{64 * 1024 * 1024}")
        daemon.program("work", GREEDY)
        daemon.configure(f"""
            [[mule]]
            program = "work:main"
            env = {{ GROUP = "{group}" }}
            [[mule]]
            program = "work:main"
        """)
        await daemon.start(policies=SOON)
        other = mule_of(await daemon.status(), 2)["pid"]

        async with daemon.client() as client:
            await client.mule_msg("x", 1)
        await daemon.noted("did", 2)
        await emptied(group)

    (exited,) = daemon.records("mule exited")
    assert exited["reason"] == "signal 9 (SIGKILL), out of memory"
    assert mule_of(await daemon.status(), 2)["pid"] == other
    assert await daemon.stop() == 0


async def test_a_mule_that_cannot_be_killed_holds_up_nobody_else(
    daemon: Daemon,
) -> None:
    daemon.program("work", STANDS)
    daemon.configure("""
        [[mule]]
        program = "work:main"
        count = 2
        harakiri_s = 0.3
    """)
    await daemon.start(policies=SOON)

    with a_group("freezer") as group:
        async with daemon.client() as client:
            await client.mule_msg("x", 1)
            await daemon.noted("took", 1)
            (pid,) = (int(words[2]) for words in daemon.notes())
            (group / "cgroup.procs").write_text(f"{pid}")
            (group / "freezer.state").write_text("FROZEN")
            try:
                status = await daemon.status_when(
                    lambda status: mule_of(status, 1)["state"] == "killing"
                )
                await client.mule_msg("y", 2)
                await daemon.noted("took", 1, count=2)
            finally:
                (group / "freezer.state").write_text("THAWED")
        await emptied(group)

    # No second process of that mule was started beside it.
    assert mule_of(status, 1)["pid"] == pid
    await daemon.noted("did", 2, count=2)
    assert {one["reason"] for one in daemon.records("mule exited")} == {"harakiri"}
    await daemon.stop()


async def test_a_mule_that_cannot_be_started_is_tried_again(daemon: Daemon) -> None:
    daemon.program("work", ECHO)
    daemon.configure('[[mule]]\nprogram = "work:main"')
    await daemon.start(policies=SOON)
    pid = mule_of(await daemon.status(), 1)["pid"]
    assert pid is not None

    with a_group("pids") as group:
        (group / "cgroup.procs").write_text(f"{daemon.process.pid}")
        (group / "pids.max").write_text("1")
        os.kill(pid, signal.SIGKILL)
        (refused, *_) = await daemon.logged("mule not started")
        (group / "pids.max").write_text("max")
        async with daemon.client() as client, asyncio.timeout(LONG):
            await client.mule_msg("x", 1)
        await daemon.noted("did", 1, "x")
        assert await daemon.stop() == 0
        await emptied(group)

    assert "Resource temporarily unavailable" in str(refused["error"])
