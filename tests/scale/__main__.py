"""Live through the life of a daemon with very many mules, and tell how long it takes.

``python -m tests.scale [--mules N] [--farms N] [--messages N] [--forkserver]``

Start, status, messages to all and to the last, reload, stop: a line of JSON for each,
with its seconds and the processor time of the master. A mule takes some 12 MiB and a
tenth of a second of a core to start, so 1,000 take two minutes and 12 GiB.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pymule.cli.table import rows_of
from pymule.cli.whole import whole_status
from pymule.client.aio import Client
from tests.daemon.harness import Daemon

__all__ = ("main",)

WORK: Final = """
import pymule

async def run():
    async for message in pymule.messages():
        pass
"""
# Who asks more often how 1,000 mules are is held back for it.
_LOOK_S: Final = 2.0


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def pss_kib(pid: int) -> int:
    """Return the memory of a process, its part of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("the kernel tells Pss")


def descriptors_of(pid: int) -> int:
    """Return how many descriptors a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


class Life:
    """A daemon, and what its life takes."""

    def __init__(self, daemon: Daemon, args: argparse.Namespace) -> None:
        self._daemon = daemon
        self._mules: int = args.mules
        self._messages: int = args.messages
        self._farms: int = args.farms
        self._method: str = "forkserver" if args.forkserver else "spawn"

    def configure(self, more: str = "") -> None:
        farms = "".join(
            f'[[farm]]\nname = "farm{number}"\nmules = [1, {self._mules}]\n'
            for number in range(self._farms)
        )
        everybody = ", ".join(map(str, range(1, self._mules + 1)))
        self._daemon.configure(
            f'start_method = "{self._method}"\n[[mule]]\nprogram = "work:run"\n'
            f"count = {self._mules}\n{more}\n{farms}"
            f'[[farm]]\nname = "all"\nmules = [{everybody}]\n'
        )

    @contextmanager
    def _told(self, what: str) -> Iterator[dict[str, object]]:
        """Print what an act takes, and what is put into the dictionary meanwhile."""
        pid = self._daemon.process.pid
        found: dict[str, object] = {"what": what}
        start, used = time.monotonic(), cpu_s(pid)
        yield found
        found["s"] = round(time.monotonic() - start, 2)
        if Path(f"/proc/{pid}/schedstat").exists() and not self._daemon.has_ended():
            found["master_cpu_s"] = round(cpu_s(pid) - used, 2)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()

    async def live(self) -> None:
        self.configure()
        self._daemon.begin()
        with self._told("socket"):
            await asyncio.to_thread(self._wait_for_socket)
        async with Client(self._daemon.socket, name="scale") as client:
            with self._told("start") as found:
                found.update(await self._wait_until_up(client))
            await self._ask(client)
            await self._send(client)
        with self._told("pymule status"):
            self._command("status")
        self.configure("stop_timeout_s = 11.0")
        with self._told("reload"):
            self._command("reload", "--timeout", "3600")
        with self._told("stop") as found:
            found["status"] = self._command("stop", "--timeout", "3600").returncode
            found["exit"] = await asyncio.to_thread(self._daemon.process.wait)

    def _wait_for_socket(self) -> None:
        while not self._daemon.socket.exists():
            time.sleep(0.01)

    async def _wait_until_up(self, client: Client) -> dict[str, object]:
        """Return how long the first took, and the longest answer meanwhile."""
        start, longest = time.monotonic(), 0.0
        first: float | None = None
        while True:
            asked = time.monotonic()
            mules = rows_of(await whole_status(client, "mules"), "mules")
            longest = max(longest, time.monotonic() - asked)
            up = Counter(str(row["state"]) for row in mules)["up"]
            if up and first is None:
                first = time.monotonic() - start
            if up == self._mules:
                return {"first_s": first, "longest_status_s": round(longest, 3)}
            await asyncio.sleep(_LOOK_S)

    async def _ask(self, client: Client) -> None:
        with self._told("status") as found:
            status = await whole_status(client)
        mules = rows_of(status, "mules")
        pids = [int(str(row["pid"])) for row in mules]
        found = {
            "what": "master and mules",
            "rss_mib": int(str(status["rss_bytes"])) >> 20,
            "descriptors": descriptors_of(self._daemon.process.pid),
            "mule_pss_kib": [pss_kib(pid) for pid in (pids[0], pids[-1])],
            "queues": len(rows_of(status, "queues")),
        }
        sys.stdout.write(json.dumps(found) + "\n")

    async def _send(self, client: Client) -> None:
        with self._told(f"{self._messages} messages, one by one, to all"):
            for _ in range(self._messages):
                await client.farm_msg("all", b"x" * 128)
        with self._told(f"{self._messages} messages, one by one, to the last mule"):
            for _ in range(self._messages):
                await client.mule_msg(b"x" * 128, self._mules)
        with self._told("100 messages to each mule, at once"):
            bodies = [b"x" * 128] * 100
            for number in range(1, self._mules + 1):
                await client.mule_msgs(bodies, number)

    def _command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603  (our own interpreter)
            [sys.executable, "-m", "pymule.cli.pymule", *words],
            env={**self._daemon.environ, "PYMULE_SOCKET": str(self._daemon.socket)},
            capture_output=True,
            check=False,
        )


def main() -> None:
    """Live, and leave nothing behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale")
    parser.add_argument("--mules", type=int, default=1_000)
    parser.add_argument("--farms", type=int, default=0)
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--forkserver", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mule-") as directory:
        daemon = Daemon(Path(directory))
        daemon.program("work", WORK)
        try:
            asyncio.run(Life(daemon, args).live())
        finally:
            if not daemon.has_ended():
                daemon.process.kill()
                daemon.process.wait()


if __name__ == "__main__":
    main()
