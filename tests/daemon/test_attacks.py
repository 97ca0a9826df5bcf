"""A pymuled under attack: memory stays in bounds, others are served, commands answer.

What the attackers say is in :mod:`tests.attacks.attackers`; they run in threads. How
much of its rate another client keeps is measured by ``python -m tests.attacks``.
"""

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from pymule.errors import MasterUnavailableError, QueueFullError
from pymule.sansio.session import Role, Session
from pymule.sansio.verbs import Call, Close, Submit, Verb
from tests.attacks.__main__ import vm_hwm
from tests.attacks.attackers import ATTACKS, hello
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, mule_of, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

MIB: Final = 1024 * 1024
WORK: Final = """
import asyncio
import sys
import pymule

async def quiet():
    async for message in pymule.messages("quiet"):
        note("did", message.body.decode())

async def sink():
    async for message in pymule.messages("sink"):
        pass

async def asleep():
    while not message_allowed():
        await asyncio.sleep(0.005)
    async for message in pymule.messages():
        pass

def message_allowed():
    import os
    return os.path.exists(os.path.join(os.environ["FILES"], "go"))

async def loud():
    async for message in pymule.messages("loud"):
        for number in range(int(message.body)):
            print(number, "x" * 200)
"""
CONFIG: Final = """
max_clients = 200
max_frame_bytes = 1_048_576
[[mule]]
program = "work:quiet"
[[mule]]
program = "work:sink"
[[mule]]
program = "work:asleep"
stop_timeout_s = 0.2
[[mule]]
program = "work:loud"
[[farm]]
name = "quiet"
mules = [1]
[[farm]]
name = "sink"
mules = [2]
max_bytes = 2_097_152
[[farm]]
name = "full"
mules = [3]
max_bytes = 8_388_608
[[farm]]
name = "tiny"
mules = [3]
max_messages = 1
when_full = "refuse"
[[farm]]
name = "loud"
mules = [4]
"""
# What an idle daemon has, and 64 MiB.
BASE_BYTES: Final = (48 + 64) * MIB
QUEUE_BYTES: Final = (2 + 8) * MIB
TRANSIT_BYTES: Final = 16 * MIB
POLICIES: Final = {
    "patience": {"hello_s": 1.0, "frame_s": 1.0, "stall_s": 1.0},
    "bounds": {"transit_bytes": TRANSIT_BYTES},
    "restarts": {"backoff_s": 0.01, "backoff_max_s": 0.05},
}


@pytest.fixture(autouse=True)
def _descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def start(daemon: Daemon, config: str = CONFIG) -> None:
    daemon.program("work", WORK)
    daemon.configure(config)
    await daemon.start(policies=POLICIES)


@asynccontextmanager
async def attacked(daemon: Daemon, name: str, count: int) -> AsyncIterator[None]:
    """Let *count* attackers of that kind at the daemon, until the block ends."""
    stop = threading.Event()
    attack = asyncio.create_task(
        asyncio.to_thread(ATTACKS[name], str(daemon.socket), stop, count)
    )
    try:
        yield
    finally:
        stop.set()
        await attack


def command(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of pymule as a process of its own."""
    return subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-m", "pymule.cli.pymule", *words],
        env={**daemon.environ, "PYMULE_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_under_any_attack_others_are_served_and_memory_is_bounded(
    daemon: Daemon,
) -> None:
    await start(daemon)
    most = BASE_BYTES + QUEUE_BYTES + TRANSIT_BYTES
    async with daemon.client("other") as other:
        for name in ATTACKS:
            async with asyncio.timeout(LONG), attacked(daemon, name, 10):
                for number in range(10):
                    await other.farm_msg("quiet", f"{name} {number}")
            assert vm_hwm(daemon.process.pid) < most, name
        await daemon.noted("did", name, "9")

    expected = [["did", name, str(n)] for name in ATTACKS for n in range(10)]
    assert daemon.notes() == expected
    assert len(daemon.records("mule spawned")) == 4


async def test_a_flood_does_not_keep_a_stop_from_its_work(daemon: Daemon) -> None:
    await start(daemon)
    async with attacked(daemon, "status", 20), attacked(daemon, "unread-confirms", 20):
        stop = await asyncio.to_thread(command, daemon, "stop", "--now")

        await daemon.ended()

    assert stop.returncode == 0, stop.stderr


async def test_a_queue_filled_by_many_senders_loses_nothing(daemon: Daemon) -> None:
    await start(daemon)
    senders = [daemon.client(f"sender-{n}") for n in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        for sender in senders:
            await stack.enter_async_context(sender)
        sends = [
            asyncio.create_task(sender.farm_msgs("full", [bytes(2000)] * 1000))
            for sender in senders
        ]
        # 40 MiB for a queue of 8, and 16 in transit.
        full = await daemon.status_when(
            lambda status: queue_of(status, "farm:full")["waiting"] > 0
        )
        async with daemon.client("other") as other:
            await other.farm_msg("quiet", "meanwhile")
        daemon.allow("go")
        done = await asyncio.gather(*sends)
    status = await daemon.status_when(
        lambda status: queue_of(status, "farm:full")["acked"] == 20_000
    )

    assert queue_of(full, "farm:full")["bytes"] <= 8 * MIB
    assert sum(len(ids) for ids in done) == 20_000
    assert queue_of(status, "farm:full")["accepted"] == 20_000
    most = BASE_BYTES + QUEUE_BYTES + TRANSIT_BYTES
    assert vm_hwm(daemon.process.pid) < most


async def test_a_full_queue_that_refuses_tells_each_of_many_senders(
    daemon: Daemon,
) -> None:
    await start(daemon)
    async with daemon.client() as client:
        sends = [client.farm_msg("tiny", "x") for _ in range(50)]

        results = await asyncio.gather(*sends, return_exceptions=True)

    assert sum(isinstance(result, QueueFullError) for result in results) == 49


# Too many connections


def talk(sock: socket.socket, *, until: type[Verb] = Close) -> list[Verb]:
    """Return what the master says until that verb, or the end."""
    session = Session(Role.CLIENT, Role.MASTER)
    verbs: list[Verb] = []
    sock.settimeout(LONG)
    while not any(isinstance(verb, until) for verb in verbs):
        data = sock.recv(65_536)
        if not data:
            break
        verbs += session.receive_data(data)
    return verbs


async def test_beyond_the_places_newcomers_are_told_and_commands_work(
    daemon: Daemon,
) -> None:
    await start(daemon)
    async with daemon.client("early") as early, attacked(daemon, "crowd", 400):
        await daemon.logged("clients refused")

        with pytest.raises(MasterUnavailableError, match=r"max_clients|too much work"):
            # A second connection of a process that has one already.
            await daemon.client("late").__aenter__()
        await early.farm_msg("quiet", "as ever")
        await daemon.noted("did", "as", "ever")
        status = await asyncio.to_thread(command, daemon, "status")

    assert status.returncode == 0, status.stderr
    first = daemon.records("clients refused")[0]
    assert re.search(r"max_clients is 200|too much work", str(first["reason"]))
    await wait_until(lambda: descriptors(daemon.process.pid) < 100, within=LONG)
    late = await asyncio.to_thread(command, daemon, "send", "--farm", "quiet", "later")
    assert late.returncode == 0, late.stderr
    await daemon.noted("did", "later")


async def test_without_descriptors_mules_are_started_again_and_service_resumes(
    daemon: Daemon,
) -> None:
    await start(daemon)
    pid = daemon.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = descriptors(pid) + 90
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    async with daemon.client("early") as early, attacked(daemon, "crowd", 150):
        await daemon.logged("clients refused")
        before = mule_of(await daemon.status_of(early), 2)

        os.kill(int(str(before["pid"])), signal.SIGKILL)
        await daemon.logged("mule ready", 5)
        await early.farm_msg("quiet", "as ever")
        await early.farm_msg("sink", "to the new one")
        status = await asyncio.to_thread(command, daemon, "status")

        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        await daemon.noted("did", "as", "ever")
        await wait_until(lambda: descriptors(pid) > limit, within=LONG)

    assert status.returncode == 0, status.stderr
    refused = daemon.records("clients refused")
    assert f"nofile is {limit}" in str(refused[0]["reason"])
    assert daemon.records("mule not started") == []
    assert daemon.records("cannot accept connections") == []


async def test_with_no_descriptor_at_all_the_master_waits_and_recovers(
    daemon: Daemon,
) -> None:
    await start(daemon)
    pid = daemon.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    async with daemon.client("early") as early:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        async with attacked(daemon, "crowd", 3):
            await daemon.logged("cannot accept connections")
            await early.farm_msg("quiet", "as ever")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

        words = ("send", "--farm", "quiet", "later")
        late = await asyncio.to_thread(command, daemon, *words)
    assert late.returncode == 0, late.stderr
    await daemon.noted("did", "later")


LIMITED: Final = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))
os.execv(sys.executable, [sys.executable, "-m", "pymule.cli.pymuled", *sys.argv[1:]])
"""


async def test_a_low_soft_limit_is_raised_and_a_low_hard_limit_is_told(
    daemon: Daemon,
) -> None:
    daemon.program("work", WORK)
    daemon.configure(CONFIG.replace("max_clients = 200", "max_clients = 1000"))
    words = [sys.executable, "-c", LIMITED, "-c", str(daemon.config)]
    master = subprocess.Popen(  # noqa: ASYNC220, S603  (our own interpreter)
        words, env=daemon.environ, stderr=subprocess.PIPE
    )
    assert master.stderr is not None
    try:
        await wait_until(daemon.socket.exists, within=LONG)
        async with daemon.client() as client:
            await client.farm_msg("quiet", "works")
        limits = resource.prlimit(master.pid, resource.RLIMIT_NOFILE)
        await daemon.noted("did", "works")
        master.send_signal(signal.SIGQUIT)
        read = await asyncio.to_thread(master.stderr.read)
    finally:
        master.kill()
        master.wait()
        master.stderr.close()

    assert limits == (300, 300)
    assert b'"few descriptors", "nofile": 300' in read


# Frames


async def test_a_frame_split_at_every_byte_is_a_frame(daemon: Daemon) -> None:
    await start(daemon)
    frame = Submit(1, 1, 1, "farm:quiet", b"", b"\x02\x00\x00\x00hi").pack()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        for byte in hello() + frame:
            sock.sendall(bytes([byte]))
            await asyncio.sleep(0)

        await daemon.noted("did", "hi")


async def test_a_frame_cut_at_any_byte_is_no_message(daemon: Daemon) -> None:
    await start(daemon)
    frame = Submit(1, 1, 1, "farm:quiet", b"", b"\x02\x00\x00\x00hi").pack()
    for length in range(len(frame)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(daemon.socket))
            sock.sendall(hello() + frame[:length])
    await daemon.status_when(lambda status: len(status["clients"]) == 1)

    async with daemon.client() as client:
        await client.farm_msg("quiet", "whole")
    await daemon.noted("did", "whole")

    assert daemon.notes() == [["did", "whole"]]


async def test_a_byte_at_a_time_is_too_slow(daemon: Daemon) -> None:
    await start(daemon)
    call = Call(1, {"method": "ping"}).pack()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        sock.sendall(hello() + call[:1])
        with contextlib.suppress(OSError):
            for byte in call[1:]:
                await asyncio.sleep(0.2)
                sock.sendall(bytes([byte]))

        said = await asyncio.to_thread(talk, sock)

    assert "not the rest of a frame" in str(said[-1])


# The log


async def test_a_log_that_nobody_reads_does_not_stop_the_master(
    daemon: Daemon,
) -> None:
    daemon.program("work", WORK)
    daemon.configure(CONFIG)
    words = [sys.executable, "-m", "pymule.cli.pymuled", "-c", str(daemon.config)]
    master = subprocess.Popen(  # noqa: ASYNC220, S603  (our own interpreter)
        words, env=daemon.environ, stderr=subprocess.PIPE
    )
    assert master.stderr is not None
    try:
        await wait_until(daemon.socket.exists, within=LONG)
        async with daemon.client() as client:
            # Each is a record, and more than a pipe and the log's memory hold.
            await client.farm_msg("loud", "30000")
            for _ in range(3):
                await client.farm_msg("quiet", "unheard")
            status = await asyncio.to_thread(command, daemon, "status")
            await daemon.noted("did", "unheard", count=3)
            master.send_signal(signal.SIGQUIT)
            read = await asyncio.to_thread(master.stderr.read)
    finally:
        master.kill()
        master.wait()
        master.stderr.close()

    assert status.returncode == 0, status.stderr
    assert b"pymuled stops" in read


async def test_a_mule_that_floods_its_output_slows_itself_only(daemon: Daemon) -> None:
    await start(daemon)
    async with daemon.client() as client:
        await client.farm_msg("loud", "20000")
        await daemon.logged("mule output")

        await client.farm_msg("quiet", "meanwhile")
        await daemon.noted("did", "meanwhile")
        status = await daemon.status()

    assert mule_of(status, 4)["in_hand"] == 1, "it is still at it"


# Unix signals


async def test_a_storm_of_reloads_is_a_few(daemon: Daemon) -> None:
    await start(daemon)
    before = descriptors(daemon.process.pid)

    for _ in range(100):
        daemon.signal(signal.SIGHUP)
    await daemon.logged("reloaded")
    async with daemon.client() as client:
        await client.farm_msg("quiet", "after")
    await daemon.noted("did", "after")
    await daemon.status_when(
        lambda status: status["state"] == "running" and len(status["mules"]) == 4
    )

    refused = len(daemon.records("reload refused"))
    assert len(daemon.records("reloaded")) + refused <= 100
    await wait_until(lambda: descriptors(daemon.process.pid) <= before + 1, within=LONG)
