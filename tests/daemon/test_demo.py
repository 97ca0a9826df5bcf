"""A newcomer types the lines of the README, in order, and sees what it says."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

import pytest

from tests.conftest import MS
from tests.test_docs import ROOT, Block, section_of

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LONG: Final = 30_000 * MS
"""Seconds that a line may take to appear; on an idle machine it takes one."""

REQUESTS: Final = 60

# Two runs differ in these, and in who was free first.
_VARIES: Final = re.compile(r"\b(mule|pid|in_hand_s|uptime_s)=\S+")
# Words of the README, and what they are in the environment that runs the tests.
_MODULES: Final = {
    "pymule": ["-m", "pymule.cli.pymule"],
    "pymuled": ["-m", "pymule.cli.pymuled"],
    "python": [],
    "uvicorn": ["-m", "uvicorn"],
}


class Newcomer:
    """Somebody in a directory who types, and reads what appears.

    Args:
        home: The directory; what appears is collected beside it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), "PWD": str(home)}
        self.port = free_port()
        self._screen = home.parent / "screen"
        self._ends = ExitStack()
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def screen(self) -> str:
        """All that has appeared, in whatever terminal."""
        return self._screen.read_text(errors="replace")

    def type(self, line: str) -> None:
        """Do what the shell would; a command that goes on is left running."""
        self._last = line
        words = shlex.split(os.path.expandvars(self._here(line)), comments=True)
        if words[0] == "export":
            self.environ |= dict(word.split("=", 1) for word in words[1:])
        elif words[0] == "curl":
            self._ask(words[-1])
        elif words[0] in {"pymuled", "uvicorn"}:
            self._start(words)
        else:
            ended = self._popen(words).wait(LONG)
            assert ended == 0, f"{line}: status {ended}\n{self.screen}"

    def sees(self, promise: str) -> None:
        """Wait until a line like *promise* has appeared."""
        pattern = pattern_of(promise)
        deadline = time.monotonic() + LONG
        while not pattern.search(self.screen):
            assert time.monotonic() < deadline, f"not seen: {promise}\n{self.screen}"
            time.sleep(10 * MS)
            if self._last.startswith("pymule status"):
                # What it shows was true when it was asked.
                self.type(self._last)

    def runs(self, blocks: list[Block]) -> None:
        """Type each line for the shell, and wait for each that is to appear."""
        for block in blocks:
            for line in block.lines:
                if block.language == "sh":
                    self.type(line)
                elif block.language == "text" and line != "...":
                    self.sees(line)

    def ask(self, *words: str) -> str:
        """Return what a command prints."""
        done = subprocess.run(  # noqa: S603  (our own interpreter, no shell)
            [sys.executable, *_MODULES[words[0]], *words[1:]],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            check=True,
            text=True,
            timeout=LONG,
        )
        return done.stdout

    def stop(self, process: "subprocess.Popen[bytes]") -> int:
        """Press Ctrl-C; return the status."""
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        return process.wait(LONG)

    def start_demo(self) -> "subprocess.Popen[bytes]":
        """Do what ``make run`` does after the installation."""
        process = self._start(["pymuled", "-c", "configs/demo.toml"])
        self.sees("pymuled ready mules=6 up=6")
        return process

    def _here(self, line: str) -> str:
        return line.replace("$PWD", str(self.home)).replace(":8000", f":{self.port}")

    def _ask(self, url: str) -> None:
        answer = post(url)
        with self._screen.open("a") as screen:
            screen.write(f"{answer}\n")

    def _start(self, words: list[str]) -> "subprocess.Popen[bytes]":
        if words[0] == "uvicorn":
            words = [*words, "--port", str(self.port)]
        process = self._popen(words)
        self._ends.callback(end, process)
        if words[0] == "uvicorn":
            self.sees("Application startup complete")
        elif words[0] == "pymuled":
            self.sees("pymuled ready ...")
        return process

    def _popen(self, words: list[str]) -> "subprocess.Popen[bytes]":
        with self._screen.open("ab") as screen:
            return subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
                [sys.executable, *_MODULES[words[0]], *words[1:]],
                cwd=self.home,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )


def end(process: "subprocess.Popen[bytes]") -> None:
    """Leave nothing of *process* behind: neither workers nor mules."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(LONG)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def post(url: str) -> str:
    request = urllib.request.Request(url, method="POST")  # noqa: S310  (our own)
    with urllib.request.urlopen(request, timeout=LONG) as response:  # noqa: S310
        text: str = response.read().decode()
        return text


def pattern_of(promise: str) -> re.Pattern[str]:
    """Return what matches a line that differs from *promise* only in what varies."""
    fixed = _VARIES.sub(lambda found: f"{found[1]}=\0", promise)
    parts = re.split(r"(\0|\.\.\.|\s+)", fixed)
    free = {"\0": r"\S+", "...": r".*"}
    return re.compile(
        "".join(
            free.get(part, r"[^\S\n]+" if part.isspace() else re.escape(part))
            for part in parts
        )
    )


@pytest.fixture
def newcomer(socket_dir: Path) -> Iterator[Newcomer]:
    home = socket_dir / "checkout"
    home.mkdir()
    with Newcomer(home) as newcomer:
        yield newcomer


@pytest.fixture
def demo(newcomer: Newcomer) -> "subprocess.Popen[bytes]":
    """The demonstration, from a copy, so that one that runs is not disturbed."""
    ignored = shutil.ignore_patterns("*.sock", "*.sock.lock", "__pycache__")
    shutil.copytree(ROOT / "configs", newcomer.home / "configs", ignore=ignored)
    return newcomer.start_demo()


def queue(newcomer: Newcomer, target: str) -> Mapping[str, int]:
    status = json.loads(newcomer.ask("pymule", "status", "--json"))
    found: list[Mapping[str, int]] = [
        row for row in status["queues"] if row["target"] == target
    ]
    return found[0]


def test_the_demonstration_does_what_the_readme_says(
    newcomer: Newcomer, demo: "subprocess.Popen[bytes]"
) -> None:
    blocks = section_of("See it work")

    newcomer.runs(blocks)

    assert sum(block.language == "sh" for block in blocks) == 8
    assert "trouble.py" in newcomer.screen, "the stacks name the line that hangs"
    assert newcomer.stop(demo) == 0


def test_three_files_of_ones_own_do_what_the_readme_says(newcomer: Newcomer) -> None:
    blocks = section_of("Yours, in sixty seconds")
    for block in blocks:
        if block.file_name is not None:
            (newcomer.home / block.file_name).write_text(block.text)

    newcomer.runs(blocks)

    assert {path.name for path in newcomer.home.glob("*.*")} >= {
        "pymule.toml",
        "send.py",
        "work.py",
    }


def test_two_web_workers_hand_over_every_request(
    newcomer: Newcomer, demo: "subprocess.Popen[bytes]"
) -> None:
    newcomer.type("export PYMULE_SOCKET=$PWD/configs/pymule.sock")
    newcomer.type("uvicorn --app-dir configs --workers 2 demo.web:app")
    url = f"http://127.0.0.1:{newcomer.port}/count?text=request+"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: post(f"{url}{n}"), range(REQUESTS)))

    ids = {json.loads(answer)["message"] for answer in answers}
    assert len(ids) == REQUESTS
    for number in range(REQUESTS):
        newcomer.sees(f"2 words in 'request {number}'")
    assert queue(newcomer, "mule")["accepted"] == REQUESTS
    assert newcomer.stop(demo) == 0
