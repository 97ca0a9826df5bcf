"""Real forkservers of a master in this process."""

import copy
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pymule.master import forkservers
from pymule.master.generation import MuleSpec
from pymule.master.status import _hide_words
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import JsonObject
from tests.conftest import MS
from tests.master.conftest import Logged
from tests.master.harness import Yard, a_plan, a_spec, first, until
from tests.master.test_status import documented_keys, rows

ROOT = str(Path(__file__).parents[2])
WORK = """
import pymule

async def main():
    await pymule.mule_get_msg()
"""
pytestmark = [pytest.mark.usefixtures("subreaper"), pytest.mark.timeout(60)]

Forked = Callable[..., MuleSpec]


@pytest.fixture
def forked(socket_dir: Path) -> Forked:
    """Write a module to preload; return a mule that is forked after that."""
    (socket_dir / "work.py").write_text(WORK)

    def forked(app: str = "", number: int = 1, **keys: object) -> MuleSpec:
        (socket_dir / f"app{number}.py").write_text(app)
        spec = replace(
            a_spec(number),
            start_method="forkserver",
            preload=(f"app{number}",),
            program="work:main",
            python_path=(str(socket_dir),),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
        )
        return replace(spec, **keys)  # type: ignore[arg-type]  # of the tests

    return forked


async def test_mules_share_a_forkserver_or_have_their_own(
    yard: Yard, forked: Forked, logged: Logged
) -> None:
    one = forked()
    specs = (one, replace(one, id=MuleId(2)), replace(one, id=MuleId(3), umask=0o77))
    await yard.open_ready(a_plan(*specs))

    found = rows(await yard.status(), "forkservers")

    assert [row["mules"] for row in found] == [[1, 2], [3]]
    assert len({row["pid"] for row in found}) == 2
    assert documented_keys("forkservers") == set(found[0])
    assert await yard.stop()
    assert len(logged("forkserver exited")) == 2
    assert yard.master.mules.forkservers.describe() == []


async def test_what_an_import_raises_is_for_admins(
    yard: Yard, forked: Forked, logged: Logged
) -> None:
    await yard.open(a_plan(forked("raise OSError('hunter2')")))
    await until(lambda: first(yard).last_exit)
    unfit = {"unfit": ["thread 'hunter2'"]}

    full = await yard.status()
    seen: JsonObject = {**copy.deepcopy(full), "forkservers": [unfit, {"unfit": []}]}
    _hide_words(seen)

    assert "'text': 'hunter2'" in str(full["mules"])
    assert "its forkserver ended: OSError" in str(seen["mules"])
    assert "hunter2" not in str(seen)
    assert seen["forkservers"] == [{"unfit": ["(for admins)"]}, {"unfit": []}]
    assert logged("forkserver exited")[0]["reason"] == "OSError: hunter2"


async def test_one_that_cannot_be_started_is_tried_again(
    yard: Yard, forked: Forked, logged: Logged
) -> None:
    await yard.open(a_plan(forked(cwd=Path("/nowhere"))))

    await until(lambda: len(logged("forkserver not started")) > 2)

    assert "/nowhere" in str(logged("forkserver not started")[0]["error"])
    assert "/nowhere" in str(logged("mule not started")[0]["error"])
    assert await yard.stop()


async def test_one_that_says_what_it_must_not_is_killed(
    yard: Yard, forked: Forked, logged: Logged
) -> None:
    app = """
import os
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
            os.write(fd, b"garbage")
    except OSError:
        pass
"""
    await yard.open(a_plan(forked(app)))

    await until(lambda: logged("forkserver exited"))

    (error,) = {
        str(found["error"]) for found in logged("forkserver broke the protocol")
    }
    assert "garbage" in error
    assert logged("forkserver exited")[0]["reason"] == "signal 9 (SIGKILL)"
    assert await yard.stop()


async def test_one_that_ends_for_good_is_started_when_a_mule_asks_again(
    yard: Yard, forked: Forked, logged: Logged, socket_dir: Path
) -> None:
    app = f"""
import os
if not os.path.exists("{socket_dir}/again"):
    open("{socket_dir}/again", "w").close()
    os._exit(125)
"""
    await yard.open_ready(a_plan(forked(app)))

    assert logged("forkserver exited")[0]["reason"] == "status 125"
    assert "status 125" in str(logged("mule not started")[0]["error"])
    assert await yard.stop()


async def test_one_that_is_told_too_much_says_so(
    yard: Yard, forked: Forked, logged: Logged
) -> None:
    path = ("x" * 400_000,)

    await yard.open(a_plan(forked(python_path=path)))

    await until(lambda: logged("forkserver exited"))
    assert "Message too long" in str(logged("forkserver exited")[0]["reason"])
    assert await yard.stop()


async def test_a_mule_that_is_stopped_while_it_waits_is_not_started(
    yard: Yard, forked: Forked, logged: Logged
) -> None:
    await yard.open(a_plan(forked("import time\ntime.sleep(1000)")))
    await until(lambda: logged("forkserver spawned"))
    assert yard.states() == {1: "starting"}

    assert await yard.stop()

    reason = "asked to stop, before its forkserver forked it"
    assert reason in str(logged("mule not started")[0]["error"])
    assert logged("forkserver exited")[0]["status"] == -signal.SIGTERM
    assert not logged("mule spawned")


async def test_no_unknown_child_is_reaped_while_one_owes_an_answer(
    yard: Yard, forked: Forked
) -> None:
    await yard.open_ready(a_plan(forked()))
    forkservers_ = yard.master.mules.forkservers
    (forkserver,), pid = forkservers_.pids, yard.pid()
    assert pid is not None
    os.kill(forkserver, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: forkservers_.is_busy)

    # It might be the mule that was asked for.
    child = subprocess.Popen(["true"])  # noqa: ASYNC220, S607  (at once)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    yard.master.mules.reap()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222

    os.kill(forkserver, signal.SIGCONT)
    await until(lambda: yard.states() == {1: "up"})
    await until(lambda: not Path(f"/proc/{child.pid}").exists())
    child.returncode = 0
    assert await yard.stop()


async def test_one_that_does_not_end_is_killed(
    yard: Yard, forked: Forked, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkservers, "_KILL_AFTER_S", 50 * MS)
    await yard.open_ready(a_plan(forked()))
    (row,) = yard.master.mules.forkservers.describe()
    assert isinstance(row["pid"], int)
    os.kill(row["pid"], signal.SIGSTOP)

    assert await yard.stop()

    assert logged("forkserver exited")[0]["status"] == -signal.SIGKILL
