"""A program that is interrupted leaves no process and no mount, however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.disk import why_no_mounts
from tests.chaos.programs import SKIPPED, Ended
from tests.chaos.stage import until
from tests.conftest import MS

_ROOT = Path(__file__).parents[2]


def processes_with(mark: str) -> list[int]:
    """Return the processes that have *mark* somewhere in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(120_000 * MS)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_no_mount(
    socket_dir: Path, signum: int
) -> None:
    if (reason := why_no_mounts()) is not None:
        pytest.skip(reason)
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--durability", "disk"],
        cwd=_ROOT,
        env={**os.environ, "TMPDIR": str(socket_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        asyncio.run(
            until(lambda: list(socket_dir.glob("chaos-*/mules")), "mules are at work")
        )
    finally:
        # As run_program() does, and as Ctrl-C does to all that a shell has started.
        os.killpg(program.pid, signum)
        program.wait()

    asyncio.run(until(lambda: not processes_with(str(socket_dir)), "all are gone"))

    assert str(socket_dir) not in Path("/proc/mounts").read_text()
    if signum == signal.SIGINT:
        assert list(socket_dir.iterdir()) == []


def test_a_program_that_cannot_run_here_skips_its_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="no loop device"):
        _ = Ended(SKIPPED, "", "no power cut: no loop device\n").outcome


def test_a_program_that_broke_shows_what_it_printed() -> None:
    with pytest.raises(AssertionError, match="Traceback of something"):
        _ = Ended(1, "", "Traceback of something").outcome
