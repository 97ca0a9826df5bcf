"""Signals and timers through a real daemon, with mules that die at bad moments."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Final

import pytest

from pymule.errors import NoHandlerError
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

APP: Final = """
import pymule, os, time

@pymule.timer(0.02, target="mule")
def tick(number):
    note("tick", number, pymule.mule_id())

@pymule.signal(17, target="mule2")
def seventeen(number):
    note("seventeen", number, pymule.mule_id())

@pymule.signal(18, target="mules")
async def eighteen(number):
    note("eighteen", number, pymule.mule_id())

@pymule.signal(19, target="mules")
def fails(number):
    note("fails", pymule.mule_id())
    raise ValueError("as it should")
"""

TWO: Final = """
    app = "app"
    [[mule]]
    count = 2
"""


async def raise_signal(daemon: Daemon, number: int) -> None:
    async with daemon.client() as client:
        await client.call("raise", signal=number)


async def signals(daemon: Daemon) -> dict[int, dict[str, object]]:
    """Return what the daemon says of each signal, by its number."""
    async with daemon.client() as client:
        rows = (await client.call("signals"))["signals"]
    assert isinstance(rows, list)
    return {row["signal"]: row for row in rows}


async def test_the_decorators_of_an_application_do_what_they_say(
    daemon: Daemon,
) -> None:
    daemon.program("app", APP)
    daemon.configure(TWO)
    await daemon.start()

    await raise_signal(daemon, 17)
    await raise_signal(daemon, 18)
    await raise_signal(daemon, 19)

    await daemon.noted("seventeen", 17, 2)
    for mule in (1, 2):
        await daemon.noted("eighteen", 18, mule)
        await daemon.noted("fails", mule)
    await daemon.noted("tick", 0, count=10)
    rows = await signals(daemon)
    assert rows[0]["source"] == {"kind": "timer", "every": 0.02, "iterations": 0}
    assert rows[19]["failed"] == 2
    assert ["seventeen", "17", "1"] not in daemon.notes()
    assert "ValueError: as it should" in daemon.output("stderr")
    status = await daemon.status()
    assert [mule["restarts"] for mule in status["mules"]] == [0, 0]
    assert await daemon.stop() == 0


async def test_each_tick_runs_in_one_mule_and_all_mules_get_some(
    daemon: Daemon,
) -> None:
    daemon.program("app", APP)
    daemon.configure(TWO)
    await daemon.start()

    await daemon.noted("tick", 0, 1, count=5)
    await daemon.noted("tick", 0, 2, count=5)

    row = (await signals(daemon))[0]
    ran = Counter(words[2] for words in daemon.notes() if words[0] == "tick")
    done = int(str(row["handled"]))
    # One that was noted may be told a moment later.
    assert done <= sum(ran.values()) <= done + 3
    assert await daemon.stop() == 0


async def test_a_mule_killed_in_its_handler_runs_it_once_more_when_it_is_back(
    daemon: Daemon,
) -> None:
    daemon.program(
        "app",
        """
        import pymule, os
        @pymule.signal(17, target="mule1")
        def handler(number):
            note("began", os.getpid())
            wait_for("go")
            note("ended", os.getpid())
        """,
    )
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start()
    pid = mule_of(await daemon.status(), 1)["pid"]
    assert pid is not None

    await raise_signal(daemon, 17)
    await daemon.noted("began", pid)
    os.kill(pid, signal.SIGKILL)
    await daemon.noted("began", count=2)
    daemon.allow("go")

    await daemon.noted("ended", count=1)
    assert ["ended", str(pid)] not in daemon.notes()
    assert (await signals(daemon))[17]["raised"] == 1
    assert await daemon.stop() == 0


async def test_a_signal_waits_for_a_mule_that_is_restarted(daemon: Daemon) -> None:
    daemon.program(
        "app",
        """
        import pymule
        note("imported")
        @pymule.signal(17, target="mule1")
        def handler(number):
            note("ran")
        """,
    )
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start(policies={"restarts": {"backoff_s": 0.3}})
    pid = mule_of(await daemon.status(), 1)["pid"]
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    await daemon.logged("mule exited")
    for _ in range(5):
        await raise_signal(daemon, 17)

    await daemon.noted("ran")
    row = (await signals(daemon))[17]
    assert (row["raised"], row["coalesced"]) == (5, 4)
    assert await daemon.stop() == 0


async def test_a_restart_neither_loses_nor_doubles_a_tick(daemon: Daemon) -> None:
    daemon.program(
        "app",
        """
        import pymule
        @pymule.timer(0.4, target="mule1", overlap="queue")
        def tick(number):
            note("tick")
        """,
    )
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start(policies={"restarts": {"backoff_s": 0.01}})
    for kills in range(1, 4):
        await daemon.noted("tick", count=kills)
        pid = mule_of(await daemon.status(), 1)["pid"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await daemon.logged("mule ready", kills + 1)
    await daemon.noted("tick", count=8)

    row = (await signals(daemon))[0]
    ticks = len(daemon.notes())
    # A tick that was due and one under way may not be told yet; a handler that was
    # killed after its note runs once more.
    assert int(str(row["raised"])) - 2 <= ticks <= int(str(row["raised"])) + 3
    assert len(await signals(daemon)) == 1
    assert await daemon.stop() == 0


FLOOD: Final = """
import asyncio, sys
import pymule

async def main():
    for _ in range(int(sys.argv[1])):
        await asyncio.gather(*[pymule.raise_signal(17) for _ in range(1000)])

asyncio.run(main())
"""


async def test_after_a_flood_of_raises_each_mule_runs_the_handler_once_more(
    daemon: Daemon,
) -> None:
    daemon.program(
        "app",
        """
        import pymule, os
        @pymule.signal(17, target="mules")
        def handler(number):
            note("saw", pymule.mule_id(), os.path.exists(os.environ["FILES"] + "/last"))
        """,
    )
    daemon.configure("""
        app = "app"
        [[mule]]
        count = 3
    """)
    await daemon.start()
    environ = daemon.environ | {"PYMULE_SOCKET": str(daemon.socket)}
    senders = [
        subprocess.Popen(  # noqa: S603, ASYNC220  (our own interpreter; it starts in ms)
            [sys.executable, "-c", FLOOD, "250"], env=environ
        )
        for _ in range(4)
    ]
    await wait_until(
        lambda: None not in [sender.poll() for sender in senders], within=3 * LONG
    )
    assert [sender.returncode for sender in senders] == [0, 0, 0, 0]

    daemon.allow("last")
    await raise_signal(daemon, 17)

    for mule in (1, 2, 3):
        await daemon.noted("saw", mule, "True")
    assert await daemon.stop() == 0


async def test_programs_run_handlers_while_they_wait(daemon: Daemon) -> None:
    daemon.program(
        "blocking",
        """
        import threading
        from pymule.sync import mule_get_msg, signal
        @signal(21, target="mule1")
        def handler(number):
            note("blocking", threading.current_thread() is threading.main_thread())
        def main():
            while True:
                note("got", mule_get_msg().decode())
        """,
    )
    daemon.program(
        "asynchronous",
        """
        import pymule
        @pymule.signal(22, target="mule2")
        async def handler(number):
            note("async", number)
        @pymule.signal(23, target="mule2")
        def plain(number):
            note("plain", number)
        async def main():
            while True:
                note("waited", await pymule.signal_wait(23))
        """,
    )
    daemon.configure("""
        [[mule]]
        program = "blocking:main"
        [[mule]]
        program = "asynchronous:main"
    """)
    await daemon.start()

    for number in (21, 22, 23):
        await raise_signal(daemon, number)
    async with daemon.client() as client:
        await client.mule_msg("hello", 1)

    await daemon.noted("blocking", "True")
    await daemon.noted("async", 22)
    await daemon.noted("plain", 23)
    await daemon.noted("waited", 23)
    await daemon.noted("got", "hello")
    assert await daemon.stop() == 0


async def test_two_programs_that_claim_one_number_are_told_of_each_other(
    daemon: Daemon,
) -> None:
    for name in ("one", "two"):
        daemon.program(
            name,
            """
            import pymule
            @pymule.signal(17, target="mules")
            def handler(number):
                pass
            async def main():
                await pymule.mule_get_msg()
            """,
        )
    daemon.configure("""
        [[mule]]
        program = "one:main"
        [[mule]]
        program = "two:main"
    """)
    daemon.begin()

    await daemon.logged("mule exited")

    errors = "\n".join(map(str, daemon.output("stderr")))
    assert "SignalConflictError" in errors
    assert "one.py:" in errors
    assert "two.py:" in errors
    assert await daemon.stop() == 0


async def test_a_reload_keeps_timers_and_brings_the_handlers_of_new_code(
    daemon: Daemon,
) -> None:
    daemon.program("app", APP)
    daemon.configure(TWO)
    await daemon.start()
    await daemon.noted("tick", 0)
    daemon.program("app", APP.replace('note("seventeen"', 'note("new"'))

    async with daemon.client() as client:
        assert (await client.call("reload"))["ok"] is True
    await raise_signal(daemon, 17)

    await daemon.noted("new", 17, 2)
    rows = await signals(daemon)
    assert sorted(rows) == [0, 17, 18, 19]
    assert rows[0]["holders"] == ["mule1", "mule2"]
    assert await daemon.stop() == 0


async def test_the_command_raises_a_signal_or_says_why_not(daemon: Daemon) -> None:
    daemon.program("app", APP)
    daemon.configure(TWO)
    await daemon.start()
    words = [sys.executable, "-m", "pymule.cli.pymule", "signal"]
    environ = daemon.environ | {"PYMULE_SOCKET": str(daemon.socket)}

    def signal_(number: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  (our own interpreter)
            [*words, number], env=environ, capture_output=True, text=True, check=False
        )

    done = await asyncio.to_thread(signal_, "17")
    unknown = await asyncio.to_thread(signal_, "99")
    out_of_range = await asyncio.to_thread(signal_, "256")

    assert done.returncode == 0
    await daemon.noted("seventeen", 17, 2)
    assert unknown.returncode == 65
    assert "there are handlers for: 0, 17, 18, 19" in unknown.stderr
    assert out_of_range.returncode == 64
    assert await daemon.stop() == 0


async def test_a_signal_that_nobody_has_is_refused_in_the_caller(
    daemon: Daemon,
) -> None:
    daemon.program("app", APP)
    daemon.configure(TWO)
    await daemon.start()

    with pytest.raises(NoHandlerError, match="no handler for signal 99"):
        await raise_signal(daemon, 99)

    async with asyncio.timeout(LONG):
        assert await daemon.stop() == 0
