"""Measure what each attack costs the master, and a client that means no harm.

``python -m tests.attacks [--seconds S] [--rounds N] [--clients N] [NAME ...]``

One line of JSON for each: memory of the master at its highest (VmHWM), and which part
of its rate another client keeps: the median over the rounds, each of which has a phase
without the attack and one with it, in one run. The rate is that of confirmed sends, one
after the other. Attackers are niced, because they run on the same cores. ``kept_cpu``
is the same by the processor time of the master, so that other load on the machine does
not matter: how much of its time is left for the other client.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

from pymule.client.sync import Client
from tests.attacks.attackers import ATTACKS
from tests.daemon.harness import Daemon

__all__ = ("main",)

CONFIG: Final = """
max_clients = {clients}
[[mule]]
program = "work:quiet"
[[mule]]
program = "work:sink"
[[mule]]
program = "work:asleep"
[[farm]]
name = "quiet"
mules = [1]
[[farm]]
name = "sink"
mules = [2]
max_bytes = 16_777_216
[[farm]]
name = "full"
mules = [3]
max_bytes = 67_108_864
[[farm]]
name = "tiny"
mules = [3]
max_messages = 1
when_full = "refuse"
"""
WORK: Final = """
import asyncio
import pymule

async def quiet():
    async for message in pymule.messages("quiet"):
        pass

async def sink():
    async for message in pymule.messages("sink"):
        pass

async def asleep():
    await asyncio.Event().wait()
"""


def vm_hwm(pid: int) -> int:
    """Return the most memory that a process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells VmHWM")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(client: Client, seconds: float, pid: int) -> tuple[float, float]:
    """Return confirmed sends in a second, and in one of the master's time."""
    count, start, used = 0, time.perf_counter(), cpu_s(pid)
    while time.perf_counter() < start + seconds:
        for _ in range(20):
            client.farm_msg("quiet", b"x" * 128)
        count += 20
    seconds = time.perf_counter() - start
    return count / seconds, count / max(cpu_s(pid) - used, 0.01)


def command_s(daemon: Daemon, *words: str) -> float:
    """Return how long a command takes, as a process of its own; -1 if it fails."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-m", "pymule.cli.pymule", *words],
        env={**daemon.environ, "PYMULE_SOCKET": str(daemon.socket)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return -1 if done.returncode else time.perf_counter() - start


def _run(name: str, path: str, stop: Event, count: int) -> None:
    os.nice(19)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ATTACKS[name](path, stop, count)


async def attack(name: str, args: argparse.Namespace) -> dict[str, object]:
    """Measure one attack, on a daemon of its own."""
    with tempfile.TemporaryDirectory(prefix="mule-") as directory:
        daemon = Daemon(Path(directory))
        daemon.program("work", WORK)
        daemon.configure(CONFIG.format(clients=args.max_clients))
        await daemon.start()
        try:
            return await asyncio.to_thread(_measured, daemon, name, args)
        finally:
            if not daemon.has_ended():
                await daemon.kill()


def _measured(daemon: Daemon, name: str, args: argparse.Namespace) -> dict[str, object]:
    ratios, shares, rates, status = [], [], [], []
    pid = daemon.process.pid
    with Client(daemon.socket, name="victim") as client:
        rate(client, 0.5, pid)
        before = vm_hwm(pid)
        for _ in range(args.rounds):
            calm, calm_cpu = rate(client, args.seconds, pid)
            stop = multiprocessing.Event()
            attacker = multiprocessing.Process(
                target=_run, args=(name, str(daemon.socket), stop, args.clients)
            )
            attacker.start()
            time.sleep(args.seconds / 2)
            under, under_cpu = rate(client, args.seconds, pid)
            status.append(command_s(daemon, "status"))
            stop.set()
            attacker.join(5)
            attacker.kill()
            attacker.join()
            ratios.append(under / calm)
            shares.append(under_cpu / calm_cpu)
            rates.append(calm)
            time.sleep(0.3)
    after = vm_hwm(pid)
    stop_s = command_s(daemon, "stop", "--now")
    return {
        "attack": name,
        "calm_rate": round(statistics.median(rates)),
        "kept": round(statistics.median(ratios), 2),
        "kept_min": round(min(ratios), 2),
        "kept_cpu": round(statistics.median(shares), 2),
        "status_s": round(max(status), 2),
        "status_failed": sum(s < 0 for s in status),
        "stop_ok": stop_s >= 0 or daemon.has_ended(),
        "hwm_mib": round(after / 2**20),
        "grown_mib": round((after - before) / 2**20),
    }


def main() -> None:
    """Measure the attacks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks")
    parser.add_argument("names", nargs="*", choices=[[], *ATTACKS], default=[])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--max-clients", type=int, default=1000)
    args = parser.parse_args()
    for name in args.names or ATTACKS:
        result = asyncio.run(attack(name, args))
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
