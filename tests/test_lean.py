"""What each kind of process may load: every mule and every web process pays for it.

Each process notes what it imports, and who imported it. What one of our own modules
imports must be allowed below, unless asyncio has brought it along anyway.
"""

import asyncio
import functools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.daemon.harness import Daemon

ROOT: Final = Path(__file__).parent.parent

CLIENT: Final = frozenset({"bisect", "json"})
SYNC_CLIENT: Final = CLIENT | {"array", "atexit"}
RECEIVER: Final = CLIENT | {"copy", "mmap"}
MULE: Final = RECEIVER | {"_ctypes", "faulthandler", "setproctitle", "uvloop"}
MASTER: Final = (
    (MULE - {"_ctypes", "faulthandler", "copy"})
    | {"cronsim", "ctypes", "gc", "grp", "pwd", "resource"}
    # To read the configuration and the command line.
    | {"pydantic", "tomllib", "typer"}
)
LOOP: Final = frozenset({"asyncio", "concurrent", "inspect", "logging", "ssl"})
"""What only a process with an event loop needs."""

# Python runs it first. It must not load what it is to find.
NOTER: Final = '''
import os, sys

class Noter:
    """Notes the name of each module, who imports it, who imports that, and so on."""

    def __init__(self):
        path = os.path.join(os.environ["IMPORTS"], str(os.getpid()))
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def find_spec(self, name, path=None, target=None):
        names, frame = [name], sys._getframe(1)
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if module != names[-1] and "importlib" not in module:
                names.append(module)
            frame = frame.f_back
        os.write(self.fd, (" ".join(names) + "\\n").encode())

sys.meta_path.insert(0, Noter())
'''


class Import(NamedTuple):
    """A module, and who imported it, the innermost first."""

    name: str
    chain: tuple[str, ...]

    @property
    def is_ours(self) -> bool:
        """Whether one of our modules imports a module of another."""
        is_of_us = self.chain[:1] and self.chain[0].split(".")[0] == "pymule"
        return bool(is_of_us) and self.top != "pymule"

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    def __str__(self) -> str:
        return " -> ".join([*reversed(self.chain), self.name])


def uncovered() -> dict[str, str]:
    """Return an environment without what measures the coverage, which imports, too."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}


class Imports:
    """What the processes that were given its environment imported."""

    def __init__(self, directory: Path) -> None:
        self.notes = directory / "imports"
        self.notes.mkdir()
        (self.notes / "sitecustomize.py").write_text(NOTER)

    @property
    def environ(self) -> dict[str, str]:
        path = f"{self.notes}:{ROOT}"
        return {**uncovered(), "PYTHONPATH": path, "IMPORTS": str(self.notes)}

    def run(self, script: str, **environ: str) -> list[Import]:
        """Return what *script* imports."""
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and script)
            [sys.executable, "-c", textwrap.dedent(script)],
            env={**self.environ, **environ},
        )
        assert process.wait() == 0
        return self.of(process.pid)

    def of(self, pid: int) -> list[Import]:
        lines = (self.notes / str(pid)).read_text().splitlines()
        return [Import(name, tuple(chain)) for name, *chain in map(str.split, lines)]


@pytest.fixture
def imports(tmp_path: Path) -> Imports:
    return Imports(tmp_path)


@functools.cache
def brought_by_asyncio() -> frozenset[str]:
    script = "import asyncio, sys; print(*sys.modules)"
    done = subprocess.run(  # noqa: S603  (as above)
        [sys.executable, "-c", script],
        env=uncovered(),
        check=True,
        capture_output=True,
        text=True,
    )
    return frozenset(name.split(".")[0] for name in done.stdout.split())


def not_allowed(found: list[Import], allowed: frozenset[str]) -> list[str]:
    """Return, as the chain of its imports, each one of ours that is not allowed."""
    free = allowed | brought_by_asyncio()
    return [str(one) for one in found if one.is_ours and one.top not in free]


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        ("", frozenset()),
        ("farm_msg, pymule.Client, pymule.farm_msgs", CLIENT),
        ("mule_get_msg, pymule.receive, pymule.Message", RECEIVER),
        ("mulefunc, pymule.timer, pymule.filemon, pymule.worker", CLIENT),
    ],
    ids=["alone", "sender", "receiver", "decorators"],
)
def test_an_application_loads_little_beside_asyncio(
    imports: Imports, names: str, allowed: frozenset[str]
) -> None:
    names = f"pymule.{names}" if names else "None"

    found = imports.run(f"import asyncio, pymule; {names}")

    assert not_allowed(found, allowed) == []


def test_a_script_that_blocks_loads_no_event_loop(imports: Imports) -> None:
    found = imports.run("from pymule.sync import Client, farm_msg, lock, raise_signal")

    assert not_allowed(found, SYNC_CLIENT) == []
    assert [str(one) for one in found if one.top in LOOP] == []


def test_what_is_not_allowed_is_told_with_who_imports_it(imports: Imports) -> None:
    found = imports.run("import asyncio, pymule; pymule.farm_msg")

    (told,) = not_allowed(found, frozenset({"bisect"}))

    assert told.startswith("__main__ -> pymule -> pymule.client.api -> ")
    assert told.endswith(" -> pymule.sansio.body -> json")


# A daemon, its mules and its clients

ASYNC: Final = """
    from pymule import mule_get_msg
    async def main():
        while True:
            note(await mule_get_msg())
    """
BLOCKING: Final = """
    from pymule.sync import mule_get_msg
    def main():
        while True:
            note(mule_get_msg())
    """


class NotedDaemon(Daemon):
    """One that notes what it and its mules import."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.imports = Imports(directory)

    @property
    def environ(self) -> dict[str, str]:
        environ = {**super().environ, **self.imports.environ}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return environ


@pytest.fixture
def daemon(socket_dir: Path) -> Iterator[NotedDaemon]:
    daemon = NotedDaemon(socket_dir)
    yield daemon
    daemon.close()


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_daemon_and_its_mules_load_what_they_use(daemon: NotedDaemon) -> None:
    daemon.program("one", ASYNC)
    daemon.program("two", BLOCKING)
    daemon.configure('[[mule]]\nprogram = "one:main"\n[[mule]]\nprogram = "two:main"\n')

    master, *mules = asyncio.run(_run_until_messages_came(daemon))

    for mule in mules:
        assert not_allowed(mule, MULE | {"one", "two"}) == []
        assert "pymule.client" not in {one.name for one in mule}
    assert not_allowed(master, MASTER) == []


async def _run_until_messages_came(daemon: NotedDaemon) -> list[list[Import]]:
    """Return what the master and its mules imported while they got messages."""
    await daemon.start()
    async with daemon.client() as client:
        for number in (1, 2):
            await client.mule_msg(b"message", number)
        status = await daemon.status_of(client)
    await daemon.noted(b"message", count=2)
    pids = [status["pid"], *(row["pid"] for row in status["mules"])]
    assert await daemon.stop() == 0
    return [daemon.imports.of(pid) for pid in pids if pid is not None]
