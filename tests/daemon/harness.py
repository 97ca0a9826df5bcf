"""A real pymuled in a directory of its own, with the programs of its mules.

What the mules do is seen from outside: they append lines to a file (``note``), and wait
for files that the test makes (``wait_for``). The log is JSON, so a test reads fields.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict, cast

from pymule.client.aio import Client
from tests.conftest import MS, wait_until

__all__ = (
    "LONG",
    "Daemon",
    "LockRow",
    "MuleRow",
    "QueueRow",
    "Status",
    "is_alive",
    "mule_of",
    "queue_of",
)

LONG: Final = 20_000 * MS
"""Seconds that something may take which takes a few hundred milliseconds."""

_ROOT: Final = Path(__file__).parents[2]

# What the programs import. One write(2) a line, so that lines of many mules do not mix
# and none is lost at a SIGKILL.
_NOTES_MODULE: Final = '''
import os, time

_fd = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(_fd, (" ".join(map(str, words)) + "\\n").encode())

def wait_for(name):
    """Block until the test makes the file."""
    while not os.path.exists(os.path.join(os.environ["FILES"], name)):
        time.sleep(0.002)
'''


class MuleRow(TypedDict):
    id: int
    name: str
    pid: int | None
    mode: str
    program: str | None
    start_method: str
    state: str
    uptime_s: float
    restarts: int
    handled: int
    in_hand: int
    leased: int
    last_exit: dict[str, object] | None
    rss_bytes: int


class ForkserverRow(TypedDict):
    number: int
    pid: int | None
    state: str
    preload: list[str]
    mules: list[int]
    uptime_s: float
    restarts: int
    unfit: list[str]
    rss_bytes: int


class QueueRow(TypedDict):
    target: str
    ready: int
    leased: int
    delayed: int
    waiting: int
    dead: int
    bytes: int
    accepted: int
    acked: int
    failed: int
    redelivered: int
    closed: bool
    durability: str
    paused: bool
    expired: int
    purged: int
    deduplicated: int
    blocked: int
    storing: int


class LockRow(TypedDict):
    name: str
    holder: str
    pid: int
    held_s: float
    waiting: int
    token: int


class Status(TypedDict):
    pid: int
    state: str
    config_error: str | None
    rss_bytes: int
    late_acks: int
    mules: list[MuleRow]
    forkservers: list[ForkserverRow]
    queues: list[QueueRow]
    clients: list[dict[str, object]]
    locks: list[LockRow]


class Daemon:
    """One pymuled, its files and its log.

    Args:
        directory: Where everything is; short enough for a socket's path.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "s"
        self.config = directory / "pymule.toml"
        self._log = directory / "log"
        self._notes = directory / "notes"
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "notes_module.py").write_text(_NOTES_MODULE)
        self._notes.touch()

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its processes, and of others that import programs."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "NOTES": str(self._notes),
            "FILES": str(self.directory),
        }
        # A mule that compiles what it imports starts a quarter later.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return environ

    # Before the start

    def program(self, name: str, source: str) -> None:
        """Write *source* as the module *name*; ``note`` and ``wait_for`` are there."""
        head = "from notes_module import note, wait_for\n"
        # Two versions of one second and one size look the same to the import system.
        for compiled in (self.directory / "__pycache__").glob(f"{name}.*"):
            compiled.unlink()
        (self.directory / f"{name}.py").write_text(head + textwrap.dedent(source))

    def configure(self, text: str) -> None:
        """Write the file of settings: *text* after those that all tests need."""
        head = f'socket = "{self.socket}"\nlog_format = "json"\npython_path = ["."]\n'
        (self.directory / "new.toml").write_text(head + textwrap.dedent(text))
        (self.directory / "new.toml").replace(self.config)

    # Its life

    def launch(
        self,
        *,
        policies: Mapping[str, object] | None = None,
        loop: str | None = None,
        via: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a process and return it; more than one is the test's affair.

        Args:
            policies: Of the plan, what the file has no key for.
            loop: The word for ``--loop``.
            via: A command that executes what follows it.
        """
        words = ["pymule.cli.pymuled", "-c", str(self.config)]
        if loop is not None:
            words += ["--loop", loop]
        if policies is not None:
            words = ["tests.daemon.runner", str(self.config), json.dumps(policies)]
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
                [*via, sys.executable, "-m", *words],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def begin(
        self,
        *,
        policies: Mapping[str, object] | None = None,
        loop: str | None = None,
        via: Sequence[str] = (),
    ) -> None:
        """Start it, and do not wait."""
        self._process = self.launch(policies=policies, loop=loop, via=via)

    async def start(
        self,
        *,
        policies: Mapping[str, object] | None = None,
        loop: str | None = None,
        via: Sequence[str] = (),
    ) -> None:
        """Start it and wait until it says that it is ready."""
        starts = len(self.records("pymuled ready"))
        self.begin(policies=policies, loop=loop, via=via)
        await wait_until(
            lambda: len(self.records("pymuled ready")) > starts or self.has_ended(),
            within=LONG,
        )
        assert not self.has_ended(), self.log()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, once started."""
        assert self._process is not None, "started"
        return self._process

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def signal(self, signum: int) -> None:
        """Send it a unix signal."""
        self.process.send_signal(signum)

    async def ended(self) -> int:
        """Wait for its end; return the status."""
        await wait_until(self.has_ended, within=LONG)
        return self.process.returncode

    async def stop(self) -> int:
        """Let it drain; return its status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def close(self) -> None:
        """Leave nothing behind, and tell what the master got wrong unseen."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for line in self.log().splitlines():
            assert line.startswith("{"), f"not a log record: {line}"
        faults = [r for r in self.records() if r["logger"] == "asyncio"]
        faults += self.records("task failed")
        assert not faults, faults

    # What is seen of it

    def client(self, name: str = "test") -> Client:
        """Return a client of it, not connected yet."""
        return Client(self.socket, name=name)

    async def status(self) -> Status:
        """Ask it."""
        async with self.client("status") as client:
            return cast("Status", await client.call("status"))

    async def status_of(self, client: Client) -> Status:
        """Ask it on a connection that exists."""
        return cast("Status", await client.call("status"))

    async def status_when(self, condition: Callable[[Status], bool]) -> Status:
        """Ask it until *condition* holds of the answer; return that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONG
        async with self.client("status") as client:
            while True:
                status = cast("Status", await client.call("status"))
                if condition(status):
                    return status
                assert loop.time() < deadline, f"last seen: {status}"
                await asyncio.sleep(5 * MS)

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text() if self._log.exists() else ""

    def records(self, event: str | None = None) -> list[dict[str, object]]:
        """Return the records of the log, or those of *event*, oldest first."""
        found: list[dict[str, object]] = []
        for line in self.log().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                record = json.loads(line)
                if event in (None, record["event"]):
                    found.append(record)
        return found

    def output(self, stream: str) -> list[object]:
        """Return what the mules wrote to their *stream*, line by line."""
        lines = self.records("mule output")
        return [line["line"] for line in lines if line["stream"] == stream]

    async def logged(self, event: str, count: int = 1) -> list[dict[str, object]]:
        """Wait until the log has *count* records of *event*; return all of them."""
        await wait_until(lambda: len(self.records(event)) >= count, within=LONG)
        return self.records(event)

    # What is seen of its mules

    def notes(self) -> list[list[str]]:
        """Return what the programs noted, line by line, each as words."""
        text = self._notes.read_text()
        return [line.split(" ") for line in text.splitlines()]

    def notes_bytes(self) -> int:
        """Return how much the programs noted."""
        return self._notes.stat().st_size

    async def noted(self, *words: object, count: int = 1) -> None:
        """Wait until the programs noted a line that starts with *words*, *count* times.

        A failing test shows what they did note.
        """
        start = [str(word) for word in words]

        def is_there() -> bool:
            lines = self.notes()
            return sum(line[: len(start)] == start for line in lines) >= count

        try:
            await wait_until(is_there, within=LONG)
        except AssertionError as exc:
            raise AssertionError(f"{start} not among {self.notes()[-50:]}") from exc

    def allow(self, name: str) -> None:
        """Make the file that a program waits for."""
        (self.directory / name).touch()


def is_alive(pid: int) -> bool:
    """Whether a process of that number exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def mule_of(status: Status, number: int) -> MuleRow:
    """Return the row of mule *number* that is current."""
    return next(row for row in status["mules"] if row["id"] == number)


def queue_of(status: Status, target: str) -> QueueRow:
    """Return the row of the queue of *target*."""
    return next(row for row in status["queues"] if row["target"] == target)
