"""Sending without a client in hand: one client a loop, closed with it."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from pymule.client import api
from pymule.client.api import (
    default_client,
    farm_msg,
    farm_msgs,
    flush,
    mule_msg,
    mule_msgs,
)
from pymule.errors import MasterUnavailableError, QueueFullError
from tests.client.fake_master import FakeMaster
from tests.conftest import MS, wait_until

ROOT = Path(__file__).parents[2]
LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run(main: Coroutine[object, object, None], factory: LoopFactory) -> list[str]:
    """Run *main* as asyncio.run does; return what was said on the loop."""
    said: list[str] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(
            lambda _loop, context: said.append(repr(context.get("exception")))
        )
        runner.run(main)
    return said


async def test_the_functions_use_one_client_for_the_loop(master: FakeMaster) -> None:
    ids = [
        await mule_msg(b"a", 1),
        await farm_msg("busy", b"b", headers={"x": "y"}),
        *await mule_msgs([b"c"]),
        *await farm_msgs("busy", [b"d"]),
    ]
    await flush()

    assert ids == [1, 2, 3, 4]
    assert len(master.clients) == 1
    await (await default_client()).close()


async def test_the_short_path_keeps_the_order_and_the_frames_small(
    master: FakeMaster,
) -> None:
    for number in range(3_000):
        await mule_msg(b"%d" % number, confirm=False)
        await farm_msg("busy", b"%d" % number, confirm=False)
    await mule_msg("text", confirm=False)
    await farm_msg("busy", "text", confirm=False)
    await farm_msg("busy", b"late", confirm=False, ttl=0)
    await flush()

    expected = [b"%d" % number for number in range(3_000)]
    assert master.bodies() == [*expected, b"text"]
    assert master.bodies("farm:busy") == [*expected, b"text", b"late"]
    assert max(len(submit.payload) for submit in master.submits) <= 131_072
    assert master.submits[-1].options == b'{"ttl":0}'
    await (await default_client()).close()


async def test_tasks_that_start_together_open_one_client(master: FakeMaster) -> None:
    await asyncio.gather(*(mule_msg(b"x") for _ in range(10)))

    assert len(master.clients) == 1
    await (await default_client()).close()


async def test_nobody_listens_is_told_every_time(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", str(socket_dir / "none.sock"))

    for _ in range(2):
        with pytest.raises(MasterUnavailableError):
            await mule_msg(b"x")


@pytest.mark.parametrize("factory", LOOPS)
def test_the_end_of_the_loop_flushes_and_closes(
    master: FakeMaster, factory: LoopFactory
) -> None:
    async def main() -> None:
        for _ in range(1_000):
            await mule_msg(b"x", confirm=False)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said = run(main(), factory)
        gc.collect()

    assert (said, [str(warning.message) for warning in caught]) == ([], [])
    assert len(master.bodies()) == 1_000
    assert not api._clients
    assert not api._guards


@pytest.mark.parametrize("factory", LOOPS)
def test_the_end_of_the_loop_says_what_was_refused(
    master: FakeMaster, factory: LoopFactory
) -> None:
    master.refusals["mule"] = QueueFullError("mule", 10)

    async def main() -> None:
        await mule_msg(b"x", confirm=False)

    assert "QueueFullError" in "".join(run(main(), factory))


@pytest.mark.parametrize("factory", LOOPS)
def test_the_end_of_the_loop_waits_for_a_master_that_restarts(
    master: FakeMaster, factory: LoopFactory
) -> None:
    async def main() -> None:
        await mule_msg(b"a")
        await asyncio.to_thread(master.stop)
        await mule_msg(b"b", confirm=False)
        await asyncio.sleep(0)
        asyncio.get_running_loop().run_in_executor(None, master.start)

    said = run(main(), factory)

    assert said == []
    assert master.bodies() == [b"a", b"b"]


@pytest.mark.parametrize("factory", LOOPS)
def test_the_end_of_the_loop_does_not_wait_for_ever(
    master: FakeMaster, factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_LAST_FLUSH_S", 0.02)
    master.held.add("mule")

    async def main() -> None:
        await mule_msg(b"x", confirm=False)

    assert "1 messages have no answer" in "".join(run(main(), factory))


def test_a_loop_that_was_closed_without_care_is_forgotten(
    master: FakeMaster,
) -> None:
    async def main() -> None:
        await mule_msg(b"x")
        # What a careless program would leave to the collector.
        await (await default_client()).close()

    careless = asyncio.new_event_loop()
    careless.run_until_complete(main())
    careless.close()

    run(main(), asyncio.new_event_loop)

    assert len(master.bodies()) == 2
    assert not api._clients
    assert not api._guards


def test_two_loops_in_two_threads_have_a_client_each(master: FakeMaster) -> None:
    async def main() -> None:
        for number in range(200):
            await mule_msg(b"x", confirm=number % 10 == 0)

    threads = [
        threading.Thread(target=run, args=(main(), factory)) for factory in LOOPS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(master.bodies()) == 400
    assert len(set(master.clients)) == 2


@pytest.mark.parametrize("factory", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
def test_a_forked_child_has_a_connection_of_its_own(
    master: FakeMaster, factory: str
) -> None:
    script = f"""
        import asyncio, os, uvloop
        from pymule import mule_msg

        def child():
            with asyncio.Runner(loop_factory={factory}) as runner:
                runner.run(mule_msg(b"child"))

        async def main():
            await mule_msg(b"parent 1")
            pid = os.fork()
            if pid == 0:
                return True
            await asyncio.to_thread(os.waitpid, pid, 0)
            await mule_msg(b"parent 2")
            return False

        loop = {factory}()
        if loop.run_until_complete(main()):
            child()
            os._exit(0)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    """

    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-W", "always", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "PYMULE_SOCKET": str(master.path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=10_000 * MS,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(master.bodies()) == [b"child", b"parent 1", b"parent 2"]
    assert len(set(master.clients)) == len(master.clients) == 2


async def test_a_lost_connection_is_replaced_for_the_functions_too(
    master: FakeMaster,
) -> None:
    await mule_msg(b"a")
    master.cut()
    await mule_msg(b"b", confirm=False)
    await flush()

    await wait_until(lambda: master.bodies() == [b"a", b"b"])
    await (await default_client()).close()
