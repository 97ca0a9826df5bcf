"""A pymuled and its senders, to be tormented; gone without a trace when closed.

Every process has ``CHAOS_NOTES`` in its environment, the directory of this stage, by
which those that are left behind are found.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from pymule.client.aio import Client
from pymule.errors import PymuleError
from tests.chaos.history import Entry, Settle, Take
from tests.chaos.notes import parse, read

__all__ = ("ORDERED", "QUEUES", "SENDERS", "Stage", "until")

QUEUES: Final = ("mule", "farm:line", "farm:crowd", "farm:small")
ORDERED: Final = frozenset({"farm:line"})
SENDERS: Final = ("a", "b", "c")

_ROOT: Final = Path(__file__).parents[2]
_SLOWNESS: Final = float(os.environ.get("PYMULE_TEST_SLOWNESS", "1"))
_PATIENCE_S: Final = 30.0 * _SLOWNESS
# For what a sender is at: at most a queue full of messages is before it.
_ANSWER_S: Final = 10.0 * _SLOWNESS

# Of the notes of the mules: some 50 messages.
_LATELY_BYTES: Final = 8192

# Nothing becomes a dead letter here, whatever happens to it.
_QUEUE: Final = """
durability = "{durability}"
max_attempts = 65535
max_crashes = 65535
backoff_s = 0.02
backoff_max_s = 0.1
"""

_SETTINGS: Final = """
socket = "{directory}/s"
log_format = "json"
python_path = ["{root}"]
{state_dir}

[shared]
max_messages = 300
{queue}

[[mule]]
program = "tests.chaos.mules:line"
stop_timeout_s = {stop_s}

[[mule]]
program = "tests.chaos.mules:crowd"
stop_timeout_s = {stop_s}

[[mule]]
program = "tests.chaos.mules:hasty"
stop_timeout_s = {stop_s}
credit = 20

[[mule]]
program = "tests.chaos.mules:blunt"
stop_timeout_s = {stop_s}

[[farm]]
name = "line"
mules = [1]
max_messages = 200
{queue}

[[farm]]
name = "crowd"
mules = [2, 3, 4]
max_messages = 300
{queue}

[[farm]]
name = "small"
mules = [2, 4]
max_messages = 2
when_full = "refuse"
{queue}
"""


class Stage:
    """One directory, one daemon at a time, a few senders.

    Args:
        durability: Of every queue.
        saboteur: Names of planted bugs, or nothing.
        state_dir: Where the journal is, if not in the directory of the stage.
    """

    def __init__(
        self,
        durability: str = "memory",
        *,
        saboteur: str = "none",
        state_dir: Path | None = None,
    ) -> None:
        # Short enough for a socket's path.
        self.directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.state_dir = state_dir or self.directory / "state"
        self.socket = self.directory / "s"
        # Where the senders connect.
        self.front = self.socket
        self.log = self.directory / "log"
        self.master_deaths: list[int] = []
        # Statuses of masters that ended though nobody killed them.
        self.exits: list[int] = []
        self.starts = 0
        # How far the log was when the current one was started.
        self._log_start = 0
        self._saboteur = saboteur
        self._master: subprocess.Popen[bytes] | None = None
        self._senders: dict[str, subprocess.Popen[bytes]] = {}
        self._log_file = self.log.open("ab")
        self._configure(durability)

    def _configure(self, durability: str) -> None:
        self.config = self.directory / "pymule.toml"
        is_durable = durability != "memory"
        if is_durable:
            self.state_dir.mkdir(mode=0o700, exist_ok=True)
        self.config.write_text(
            _SETTINGS.format(
                directory=self.directory,
                root=_ROOT,
                stop_s=5.0 * _SLOWNESS,
                state_dir=f'state_dir = "{self.state_dir}"' if is_durable else "",
                queue=_QUEUE.format(durability=durability),
            )
        )

    # The master

    @property
    def master(self) -> subprocess.Popen[bytes]:
        """The process of the current daemon."""
        assert self._master is not None, "launched"
        return self._master

    @property
    def is_up(self) -> bool:
        """Whether there is a daemon."""
        return self._master is not None and self._master.poll() is None

    @property
    def is_serving(self) -> bool:
        """Whether there is a daemon, and it has said that clients may come."""
        return self.is_up and self.has_said("pymuled listens")

    def has_said(self, event: str) -> bool:
        """Whether the log of the current daemon, or of its mules, has *event*."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return f'"{event}"'.encode() in log.read()

    def launch(self) -> None:
        """Start a daemon, and do not wait."""
        self._log_start = self.log.stat().st_size
        words = ["tests.chaos.saboteur", self._saboteur, "-c", str(self.config)]
        self._master = self._popen(words)
        self.starts += 1

    async def start(self) -> None:
        """Start a daemon and wait until it is ready."""
        self.launch()
        await until(
            lambda: self.has_said("pymuled ready") or not self.is_up,
            "the daemon is ready",
        )
        assert self.is_up, self.log.read_text()[-3000:]

    def is_standing_still(self) -> bool:
        """Whether the daemon was stopped: its loop runs no more, until it continues."""
        return psutil.Process(self.master.pid).status() == psutil.STATUS_STOPPED

    def kill(self) -> None:
        """Kill the daemon, and wait until it is gone."""
        if self.is_up:
            self.master_deaths.append(time.monotonic_ns())
            self.master.kill()
            self.master.wait()

    async def ended(self) -> int:
        """Wait until the daemon ended by itself; return its status."""
        await until(lambda: not self.is_up, "the daemon ends")
        return self.master.returncode

    async def stop(self) -> int:
        """Let the daemon drain and end; return its status."""
        self.master.send_signal(signal.SIGTERM)
        return await self.ended()

    def mules(self) -> list[int]:
        """Return the processes that the daemon has."""
        if not self.is_up:
            return []
        with suppress(psutil.NoSuchProcess):
            return [p.pid for p in psutil.Process(self.master.pid).children()]
        return []

    def busy_mules(self) -> list[int]:
        """Return those of them that took or finished something lately."""
        notes = self.directory / "mules"
        if not notes.exists():
            return []
        with notes.open("rb") as file:
            file.seek(max(0, notes.stat().st_size - _LATELY_BYTES))
            lines = file.read().decode().splitlines()[1:]
        entries = map(parse, lines)
        pids = {entry.pid for entry in entries if isinstance(entry, Take | Settle)}
        return [pid for pid in self.mules() if pid in pids]

    def resources(self) -> dict[str, int]:
        """Return what the daemon holds, and must not hold more of in the end."""
        process = psutil.Process(self.master.pid)
        zombies = [one for one in process.children(recursive=True) if _is_zombie(one)]
        return {
            "fds": process.num_fds(),
            "threads": process.num_threads(),
            "zombies": len(zombies),
        }

    def open_files(self) -> list[str]:
        """Return what the descriptors of the daemon are, for who looks for a leak."""
        links = Path(f"/proc/{self.master.pid}/fd").iterdir()
        return sorted(f"{link.readlink()}".split(":")[0] for link in links)

    async def status(self) -> dict[str, list[dict[str, object]]]:
        """Ask the daemon; nothing if it does not answer."""
        client = Client(self.socket, name="status")
        try:
            async with asyncio.timeout(_PATIENCE_S), client:
                answer = await client.call("status")
        except (PymuleError, TimeoutError):
            return {}
        return {k: v for k, v in answer.items() if isinstance(v, list)}

    # The senders

    def start_senders(self, *, pause_s: float) -> None:
        """Start all of them."""
        for name in SENDERS:
            self.start_sender(name, pause_s=pause_s)

    def start_sender(self, name: str, *, pause_s: float) -> None:
        """Start the process of that name, or the next one after it died."""
        words = [name, str(self.front), str(self._notes_of(name)), str(pause_s)]
        self._senders[name] = self._popen(["tests.chaos.sender", *words, *QUEUES])

    def sender(self, choice: int) -> tuple[str, subprocess.Popen[bytes]]:
        """Return one of the senders."""
        names = sorted(self._senders)
        name = names[choice % len(names)]
        return name, self._senders[name]

    async def stop_senders(self) -> list[str]:
        """Let them finish what they are at; kill those that cannot, and name them."""
        for process in self._senders.values():
            process.send_signal(signal.SIGTERM)

        def stuck() -> list[str]:
            return [name for name, p in self._senders.items() if p.poll() is None]

        with suppress(AssertionError):
            await until(lambda: not stuck(), "the senders end", _ANSWER_S)
        left = stuck()
        for process in self._senders.values():
            process.kill()
            process.wait()
        return left

    def _notes_of(self, name: str) -> Path:
        return self.directory / f"sender-{name}"

    # What is seen in the end

    def entries(self) -> Iterator[Entry]:
        """Yield what senders and mules noted."""
        yield from read(sorted(self.directory.glob("sender-*")))
        yield from read([self.directory / "mules"])

    def records(self, event: str | None = None) -> Iterator[dict[str, object]]:
        """Yield the records of the log, or those of *event*."""
        for line in self.log.read_text().splitlines():
            # A daemon that was killed may have left half a line.
            with suppress(json.JSONDecodeError):
                record = json.loads(line)
                if event in (None, record["event"]):
                    yield record

    def stray_lines(self) -> list[str]:
        """Return what is in the log and is no record: a traceback, most likely."""
        return [line for line in self.log.read_text().splitlines() if line[:1] != "{"]

    def dead_pids(self) -> frozenset[int]:
        """Return the mules that did not end as they were asked to."""
        exits = self.records("mule exited")
        return frozenset(int(str(e["pid"])) for e in exits if e["status"] != 0)

    def overlapping_pids(self) -> frozenset[int]:
        """Return the mules that were started before their predecessor had ended."""
        running: dict[object, set[int]] = {}
        found: set[int] = set()
        for record in self.records():
            pid = int(str(record.get("pid", 0)))
            if record["event"] == "pymuled listens":
                # The mules of the one before die with it.
                running.clear()
            elif record["event"] == "mule spawned":
                others = running.setdefault(record["mule"], set())
                if others:
                    found.add(pid)
                others.add(pid)
            elif record["event"] == "mule exited":
                running.get(record["mule"], set()).discard(pid)
        return frozenset(found)

    def left_over(self) -> list[int]:
        """Return the processes of this stage that still run."""
        return [pid for pid in _pids() if self._is_ours(pid)]

    def close(self) -> None:
        """End all processes, whatever they do, and remove the directory."""
        for process in filter(None, [self._master, *self._senders.values()]):
            process.kill()
            process.wait()
        deadline = time.monotonic() + _PATIENCE_S
        while (left := self.left_over()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._log_file.close()
        if "CHAOS_KEEP" in os.environ:
            kept = Path(os.environ["CHAOS_KEEP"]) / self.directory.name
            sys.stderr.write(f"kept in {kept}\n")
            for name in ("s", "p"):
                (self.directory / name).unlink(missing_ok=True)
            shutil.copytree(self.directory, kept)
        shutil.rmtree(self.directory)

    # Private

    def _popen(self, words: Iterable[str]) -> subprocess.Popen[bytes]:
        environ = {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "CHAOS_NOTES": str(self.directory),
        }
        # A mule that compiles what it imports starts a quarter later.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
            [sys.executable, "-m", *words],
            env=environ,
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log_file,
            stderr=self._log_file,
        )

    def _is_ours(self, pid: int) -> bool:
        mark = b"CHAOS_NOTES=" + os.fsencode(self.directory)
        with suppress(OSError):
            return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False


async def until(
    condition: Callable[[], object], what: str, patience_s: float = _PATIENCE_S
) -> None:
    """Wait until *condition* holds, which means *what*."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s:g} s: {what}")
        await asyncio.sleep(0.01)


def _pids() -> list[int]:
    names = (path.name for path in Path("/proc").iterdir())
    return [int(name) for name in names if name.isdecimal()]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        # It was there when the others were listed.
        return False
