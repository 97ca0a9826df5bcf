"""Real daemons and real commands, each in a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.cli.queue_run import Runs
from tests.conftest import MS

__all__ = ("Daemon", "Start", "environment", "run_pymule", "run_pymuled")

ROOT: Final = Path(__file__).parents[2]
LIMIT_S: Final = 15_000 * MS
DAEMON: Final = (sys.executable, "-m", "pymule.cli.pymuled")

ECHO: Final = """
import asyncio, urllib.parse, pymule
async def main():
    while True:
        message = await pymule.mule_get_msg()
        print(f"<{urllib.parse.quote(message)}>", flush=True)
asyncio.run(main())
"""


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Return the variables of a process in *directory*, free of what we run under."""
    foreign = ("NO_COLOR", "FORCE_COLOR", "NOTIFY_SOCKET", "WATCHDOG_USEC", "TERM")
    own = {key: value for key, value in os.environ.items() if key not in foreign}
    socket = str(directory / "s.sock")
    return {**own, "PYTHONPATH": str(ROOT), "PYMULE_SOCKET": socket, **more}


def run(
    command: Sequence[str], directory: Path, stdin: bytes, env: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603  (our own commands)
        command,
        cwd=directory,
        env=environment(directory, **env),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
    )


def run_pymuled(
    directory: Path, *arguments: str, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``pymuled`` to its end."""
    return run((*DAEMON, *arguments), directory, b"", env)


def run_pymule(
    directory: Path, *arguments: str, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``pymule`` to its end."""
    command = (sys.executable, "-m", "pymule.cli.pymule", *arguments)
    return run(command, directory, stdin, env)


class Daemon:
    """A pymuled in *directory*, and what it has logged."""

    def __init__(
        self, directory: Path, arguments: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self.log = ""
        self.process = subprocess.Popen(  # noqa: S603  (our own command)
            (*DAEMON, *arguments),
            cwd=directory,
            env=environment(directory, **env),
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, text: str) -> str:
        """Return the next line of the log with *text*."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in:\n{self.log}")

    def end(self) -> int:
        """Return the exit status, when the daemon has ended."""
        self.log += self.process.communicate(timeout=LIMIT_S)[1]
        return self.process.returncode

    def close(self) -> None:
        """End it, in good order if it can, so that coverage hears of it."""
        assert self.process.stderr is not None
        if self.process.stderr.closed:
            return
        self.process.terminate()
        try:
            self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


Start = Callable[..., Daemon]


@pytest.fixture(scope="module")
def module_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mule-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(socket_dir: Path) -> Iterator[Start]:
    """Start daemons that are gone after the test."""
    daemons: list[Daemon] = []

    def start_one(*arguments: str, **env: str) -> Daemon:
        daemons.append(Daemon(socket_dir, arguments, env))
        return daemons[-1]

    yield start_one
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def run_words(
    socket_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Runs]:
    """Commands in this process, against a master of queues without mules."""
    runs = Runs(socket_dir / "q", monkeypatch, capsys)
    with runs.master:
        yield runs


@pytest.fixture
def ready(start: Start, socket_dir: Path) -> Daemon:
    """A daemon with a mule that echoes and one for signals, from pymule.toml."""
    (socket_dir / "echo.py").write_text(ECHO)
    (socket_dir / "pymule.toml").write_text(
        'socket = "s.sock"\n[[mule]]\nprogram = "echo.py"\n[[mule]]\n'
    )
    daemon = start()
    daemon.wait_for("pymuled ready")
    return daemon
