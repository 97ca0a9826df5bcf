import asyncio
from pathlib import Path

import pytest

from pymule.cli.stopping import _ended, _open_process
from tests.cli.conftest import Daemon, Start, run_pymule

HOLDS = """
import asyncio, pymule
async def main():
    while True:
        print("holds", await pymule.mule_get_msg(), flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.mark.slow
def test_stop_returns_when_the_daemon_is_gone(ready: Daemon) -> None:
    done = run_pymule(ready.directory, "stop")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert ready.process.poll() == 0


@pytest.mark.slow
def test_stop_now_does_not_wait_for_what_is_in_hand(
    start: Start, socket_dir: Path
) -> None:
    (socket_dir / "holds.py").write_text(HOLDS)
    daemon = start("--mule=holds.py", "--socket=s.sock")
    daemon.wait_for("pymuled ready")
    run_pymule(socket_dir, "send", "work")
    daemon.wait_for("holds")

    done = run_pymule(socket_dir, "stop", "--now")

    assert done.returncode == 0
    assert daemon.process.poll() == 1


def test_a_process_of_another_namespace_is_not_waited_for() -> None:
    assert [_open_process(pid) for pid in (0, -1, 2**31 - 1, 2**70)] == [None] * 4


def test_the_end_of_a_process_is_seen() -> None:
    async def main() -> int:
        process = await asyncio.create_subprocess_exec("cat", stdin=-1)
        pidfd = _open_process(process.pid)
        assert pidfd is not None
        assert process.stdin is not None
        process.stdin.close()
        await _ended(pidfd)
        return await process.wait()

    assert asyncio.run(main()) == 0
