"""The folder and the processes of one round; when it is left, all of them are gone."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from benchmarks.disk import disk_folder
from benchmarks.notes import COUNT, FOLDER, SCENARIO, Note, read_note, write_note

__all__ = ("PeerError", "Stage", "cpu_seconds")

_ROOT: Final = Path(__file__).parent.parent
_STOP_S: Final = 5.0
_LOG_TAIL_BYTES: Final = 1000


class PeerError(Exception):
    """A peer did not do its part; the message says which process, and why."""


class Stage:
    """Where one round of one peer happens.

    Args:
        scenario: What to do, for programs that take no words.
        count: Messages that are measured.
        words: More of the environment.
    """

    def __init__(self, scenario: str = "", count: int = 0, **words: str) -> None:
        # Short: a socket's path has 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.socket = self.folder / "s"
        self._environ = {
            **os.environ,
            FOLDER: str(self.folder),
            COUNT: str(count),
            SCENARIO: scenario,
            "PYTHONPATH": str(_ROOT),
            "PYMULE_SOCKET": str(self.socket),
            **words,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for process in reversed(self._processes.values()):
                _kill_group(process)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            if "state" in vars(self):
                shutil.rmtree(self.state, ignore_errors=True)

    @cached_property
    def state(self) -> Path:
        """A folder on a disk, for what must outlive the processes of this round."""
        return Path(tempfile.mkdtemp(prefix="bench-state-", dir=disk_folder()))

    def start(self, name: str, *words: str, is_quiet: bool = False) -> int:
        """Start a process, in a group of its own; return its pid.

        Args:
            name: For the log and for messages.
            words: The command.
            is_quiet: Throw away what it prints.
        """
        tied = [sys.executable, "-S", "-m", "benchmarks.tied", str(os.getpid())]
        log = Path(os.devnull) if is_quiet else self._log_of(name)
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  (our own words, no shell)
                [*tied, *words],
                cwd=_ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # No session of its own: the kernel may share the cores out by session,
                # and then a peer with more sessions would get more of them.
                process_group=0,
            )
        self._processes[name] = process
        return process.pid

    def start_python(self, module: str, *words: str) -> int:
        """Start ``python -m module``."""
        name = module.rpartition(".")[2] + "-".join(("", *words[:1]))
        if (count := sum(one.startswith(name) for one in self._processes)) > 0:
            name = f"{name}-{count + 1}"
        return self.start(name, sys.executable, "-m", module, *words)

    def wait(self, name: str, *, within: float = 30.0, step: float = 0.01) -> Note:
        """Block until a process of this round left the note.

        Args:
            name: Of the note.
            within: Seconds until the round has failed.
            step: Seconds between two looks; a look costs some 20 us of a core.

        Raises:
            PeerError: It did not come, or a process ended badly.
        """
        deadline = time.monotonic() + within
        while (facts := read_note(self.folder, name)) is None:
            self._check_processes()
            if time.monotonic() > deadline:
                logs = "".join(map(self._tail_of, self._processes))
                raise PeerError(f"no note {name!r} within {within:g} s{logs}")
            time.sleep(step)
        return facts

    def wait_for_socket(self, path: Path, *, within: float = 30.0) -> None:
        """Block until somebody listens there; raises as :meth:`wait`."""
        self.wait_until(path.is_socket, "socket", within=within)

    def wait_for_file(self, pattern: str, *, within: float = 30.0) -> None:
        """Block until a file of this name is there; raises as :meth:`wait`."""

        def is_there() -> bool:
            return any(self.folder.glob(pattern))

        self.wait_until(is_there, f"file {pattern!r}", within=within)

    def pid_of(self, name: str) -> int:
        """Return the pid of a process that was started under this name."""
        return self._processes[name].pid

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes that run now, in steps of 10 ms."""
        seconds = 0.0
        for name in self._processes:
            with suppress(psutil.NoSuchProcess):
                started = psutil.Process(self.pid_of(name))
                for one in (started, *started.children(recursive=True)):
                    seconds += cpu_seconds(one.pid)
        return seconds

    def note(self, name: str, **facts: object) -> None:
        """Leave a note for the processes of this round."""
        write_note(self.folder, name, facts)

    def stop(self, name: str, signum: signal.Signals) -> None:
        """Ask a process to end, and wait a little; the end of the stage insists."""
        process = self._processes[name]
        process.send_signal(signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)

    def wait_until(
        self,
        is_there: Callable[[], bool],
        what: str,
        *,
        within: float = 30.0,
        step: float = 0.01,
    ) -> None:
        """Block until it is there; *what* says in a message what that is."""
        deadline = time.monotonic() + within
        while not is_there():
            self._check_processes()
            if time.monotonic() > deadline:
                raise PeerError(f"no {what} within {within:g} s")
            time.sleep(step)

    def _check_processes(self) -> None:
        for name, process in self._processes.items():
            if process.poll():
                tail = self._tail_of(name)
                raise PeerError(f"{name} ended with {process.returncode}{tail}")

    def _log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _tail_of(self, name: str) -> str:
        with suppress(FileNotFoundError):
            tail = (
                self._log_of(name)
                .read_bytes()[-_LOG_TAIL_BYTES:]
                .decode(errors="replace")
            )
            return f"\n[{name}] {tail.strip()}" if tail.strip() else ""
        return ""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in steps of 10 ms."""
    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # When the leader is gone, so are those that it started, which are tied to it; and
    # its number may be another's by now.
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    # Members of the group that became ours, if this process is a subreaper.
    deadline = time.monotonic() + _STOP_S
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-process.pid, os.WNOHANG) == (0, 0):
                time.sleep(0.001)
