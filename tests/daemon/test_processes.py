"""What mules write, and what they leave behind."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, is_alive, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

SOON = {"restarts": {"backoff_s": 0.01, "backoff_max_s": 0.01}}

FLOOD = """
import sys

note("floods")
while True:
    print("x" * 100)
"""

ECHO = """
import pymule

async def main():
    async for message in pymule.messages():
        note("did", message.body.decode())
"""

WRITES = r"""
import os, sys
import pymule

async def main():
    async for message in pymule.messages():
        if message.attempt > 1:
            note("again")
            continue
        print("an ordinary line")
        print("an ordinary error", file=sys.stderr)
        os.write(1, b"l" * 20_000 + b"\n")
        os.write(1, b"\xff\x00\x1b[31m binary\n")
        os.write(1, b"no newline at the end")
        os._exit(0)
"""

FORKS = """
import os, time
import pymule

async def main():
    async for message in pymule.messages():
        if os.fork() == 0:
            note("child", os.getpid())
            if os.fork() == 0:
                note("grandchild", os.getpid())
            time.sleep(1000)
        wait_for("go")
        if message.body == b"die":
            os.kill(os.getpid(), 9)
        return
"""


async def test_a_mule_that_floods_its_output_holds_up_nobody(daemon: Daemon) -> None:
    daemon.program("flood", FLOOD)
    daemon.program("work", ECHO)
    daemon.configure("""
        [[mule]]
        program = "flood.py"
        stop_timeout_s = 0.2
        [[mule]]
        program = "work:main"
    """)
    await daemon.start()
    await daemon.noted("floods")

    async with daemon.client() as client, asyncio.timeout(LONG):
        for number in range(200):
            await client.mule_msg(f"m{number}", 2)
    await daemon.noted("did", count=200)

    assert len(daemon.output("stdout")) > 100
    assert set(daemon.output("stdout")) == {"x" * 100}
    assert mule_of(await daemon.status(), 1)["state"] == "up"
    await daemon.stop()


async def test_what_a_mule_writes_is_logged_line_by_line(daemon: Daemon) -> None:
    daemon.program("work", WRITES)
    daemon.configure('[[mule]]\nname = "writer"\nprogram = "work:main"')
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg("write")
    await daemon.noted("again")

    lines = daemon.records("mule output")
    assert {(line["mule"], line["name"]) for line in lines} == {(1, "writer")}
    assert daemon.output("stderr") == ["an ordinary error"]
    assert daemon.output("stdout") == [
        "an ordinary line",
        "l" * 8192 + " [11808 bytes more]",
        r"\xff\x00\x1b[31m binary",
        "no newline at the end",
    ]
    assert await daemon.stop() == 0


@pytest.mark.parametrize("message", ["return", "die"])
async def test_what_a_mule_started_ends_with_it(daemon: Daemon, message: str) -> None:
    daemon.program("work", FORKS)
    daemon.configure('[[mule]]\nprogram = "work:main"')
    await daemon.start(policies=SOON)

    async with daemon.client() as client:
        await client.mule_msg(message)
    await daemon.noted("grandchild")
    pids = [int(words[1]) for words in daemon.notes()]
    assert all(map(is_alive, pids))
    daemon.allow("go")
    await daemon.logged("mule exited")

    await wait_until(lambda: not any(map(is_alive, pids)), within=LONG)
    # Nor do they stay in the table of processes.
    await wait_until(lambda: _zombies_of(daemon.process.pid) == [], within=LONG)
    await daemon.stop()


def _zombies_of(parent: int) -> list[int]:
    zombies: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat[0] == "Z" and int(stat[1]) == parent:
            zombies.append(int(entry.name))
    return zombies


async def test_each_mule_says_in_its_title_what_it_is(daemon: Daemon) -> None:
    daemon.program("work", ECHO)
    daemon.configure('[[mule]]\nname = "writer"\nprogram = "work:main"')
    await daemon.start()

    pid = mule_of(await daemon.status(), 1)["pid"]

    assert pid is not None
    assert psutil.Process(pid).cmdline()[0] == "pymule: mule 1 writer [work:main]"
    assert os.getpgid(pid) == pid
    assert await daemon.stop() == 0
