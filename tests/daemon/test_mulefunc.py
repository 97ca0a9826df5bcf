"""Functions that mules run, through a real daemon."""

import asyncio
import os
import signal
import subprocess
import sys
from typing import Final

import pytest

from pymule.errors import UnknownTargetError
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, mule_of, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

APP: Final = """
import os, pathlib
from datetime import date
from pymule import mule_id, mulefunc

@mulefunc
def plain(number: int, *, when: date | None = None):
    note("plain", mule_id(), number, when)

@mulefunc
async def asynchronous(text):
    note("asynchronous", mule_id(), text)

@mulefunc(2)
def second():
    note("second", mule_id())

@mulefunc("busy")
async def busy():
    note("busy", mule_id())

@mulefunc
def flaky():
    path = pathlib.Path(os.environ["FILES"], "tried")
    is_first = not path.exists()
    path.touch()
    note("flaky", "first" if is_first else "again")
    if is_first:
        raise ValueError("as it should")

class Own:
    def __init__(self, value):
        self.value = value

@mulefunc
def own(thing):
    note("own", thing.value)
"""

CALLER: Final = """
import asyncio, app, sys
from datetime import date

async def main():
    calls = app.plain(1, when=date(2026, 2, 3)), app.asynchronous("a")
    ids = await asyncio.gather(*calls)
    assert all(number > 0 for number in ids), ids
    await app.second()
    await app.busy()

assert app.plain(2) > 0
app.plain.function(3)
asyncio.run(main())
"""


async def run(daemon: Daemon, source: str) -> subprocess.CompletedProcess[str]:
    """Run *source* in a process that calls functions."""
    environ = daemon.environ | {"PYMULE_SOCKET": str(daemon.socket)}
    environ["PYTHONPATH"] += f":{daemon.directory}"
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", source],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_call_runs_in_a_mule_that_has_the_function(daemon: Daemon) -> None:
    daemon.program("app", APP)
    daemon.program(
        "program",
        """
        import pymule
        async def main():
            while True:
                note("got", await pymule.mule_get_msg())
        """,
    )
    daemon.configure("""
        app = "app"
        [[mule]]
        count = 2
        [[mule]]
        program = "program:main"
        [[farm]]
        name = "busy"
        mules = [1, 3]
    """)
    await daemon.start()

    done = await run(daemon, CALLER)

    assert done.stderr == ""
    await daemon.noted("plain", 0, 3, "None")
    await daemon.noted("second", 2)
    await daemon.noted("busy", 1)
    await daemon.status_when(
        lambda status: all(
            queue["acked"] == queue["accepted"] for queue in status["queues"]
        )
    )
    lines = daemon.notes()
    assert [words[0] for words in lines if "1" in words[2:]] == ["plain"]
    assert ["2026-02-03"] in [words[3:] for words in lines]
    assert sorted(words[0] for words in lines) == sorted(
        ["plain", "plain", "plain", "asynchronous", "second", "busy"]
    )
    assert {words[1] for words in lines} <= {"0", "1", "2"}
    assert await daemon.stop() == 0


async def test_programs_run_functions_beside_what_they_do(daemon: Daemon) -> None:
    daemon.program("app", APP)
    daemon.program(
        "blocking",
        """
        import app, time
        def main():
            wait_for("go")
        """,
    )
    daemon.program(
        "script",
        """
        from pymule.sync import mule_get_msg, mulefunc
        @mulefunc
        def scripted():
            note("scripted")
        note("got", mule_get_msg())
        """,
    )
    daemon.configure("""
        [[mule]]
        program = "blocking:main"
        [[mule]]
        program = "script.py"
    """)
    await daemon.start()

    done = await run(daemon, "import app; app.plain(1); app.asynchronous('b')")
    assert done.stderr == ""
    await daemon.noted("plain", 1, 1)
    await daemon.noted("asynchronous", 1, "b")
    async with daemon.client() as client:
        await client.send("func:script:scripted", b"\1\x92\x90\x80")
    await daemon.noted("scripted")
    assert await daemon.stop() == 0


async def test_what_raises_is_tried_again(daemon: Daemon) -> None:
    daemon.program("app", APP)
    daemon.configure("""
        app = "app"
        [shared]
        backoff_s = 0.01
        [[mule]]
    """)
    await daemon.start()

    done = await run(daemon, "import app; app.flaky()")

    assert done.stderr == ""
    await daemon.noted("flaky", "again")
    assert "ValueError: as it should" in daemon.output("stderr")
    status = await daemon.status_when(
        lambda status: queue_of(status, "func:app:flaky")["acked"] == 1
    )
    assert queue_of(status, "func:app:flaky")["failed"] == 1
    assert mule_of(status, 1)["restarts"] == 0
    assert await daemon.stop() == 0


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("app.plain('x')", "argument number: Expected `int`, got `str`"),
        ("app.plain(1, 2)", "too many positional arguments"),
        ("app.plain()", "missing a required argument: 'number'"),
        ("send(b'')", "its first byte is b''; allowed: 1 and 2"),
        ("send(b'\\1x')", "it has no arguments; allowed: [args, kwargs]"),
        ("send(b'\\1')", "its arguments cannot be read"),
        ("send(b'\\2x')", "it is pickled, and allow_pickle is false"),
    ],
)
async def test_a_call_that_cannot_be_made_is_a_dead_letter_with_the_reason(
    daemon: Daemon, call: str, reason: str
) -> None:
    daemon.program("app", APP)
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start()
    head = (
        "import app\n"
        "from pymule.client.sync import default_client\n"
        "send = lambda body: default_client().send('func:app:plain', body)\n"
    )

    done = await run(daemon, head + call)

    assert done.stderr == ""
    status = await daemon.status_when(
        lambda status: queue_of(status, "func:app:plain")["dead"] == 1
    )
    assert queue_of(status, "func:app:plain")["failed"] == 1
    line = f"call of app:plain refused: {reason}"
    await wait_until(
        lambda: any(str(one).startswith(line) for one in daemon.output("stderr")),
        within=LONG,
    )
    assert await daemon.stop() == 0


async def test_a_function_that_no_mule_has_is_refused_in_the_caller(
    daemon: Daemon,
) -> None:
    daemon.program("app", APP)
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start()

    async with daemon.client() as client:
        with pytest.raises(UnknownTargetError, match="func:app:nothing"):
            await client.send("func:app:nothing", b"\1\x92\x90\x80")
    done = await run(daemon, "import app; app.second()")

    assert "UnknownTargetError: no queue for target 'func:app:second'" in done.stderr
    assert await daemon.stop() == 0


async def test_a_call_before_the_mules_are_up_waits_for_them(daemon: Daemon) -> None:
    daemon.program("app", APP.replace("import os", "wait_for('go')\nimport os", 1))
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    daemon.begin()
    await daemon.logged("pymuled listens")

    async with daemon.client() as client, asyncio.timeout(LONG):
        known = asyncio.create_task(
            client.send("func:app:plain", b"\1\x92\x91\x07\x80")
        )
        unknown = asyncio.create_task(client.send("func:app:no", b"\1\x92\x90\x80"))
        await daemon.status_when(
            lambda status: [q["waiting"] for q in status["queues"]] == [1, 1]
        )
        daemon.allow("go")

        assert await known > 0
        with pytest.raises(UnknownTargetError):
            await unknown
    await daemon.noted("plain", 1, 7)
    assert await daemon.stop() == 0


async def test_a_mule_killed_in_a_call_leaves_it_to_its_next_process(
    daemon: Daemon,
) -> None:
    daemon.program(
        "app",
        """
        import os, pymule
        @pymule.mulefunc
        def slow():
            note("began", os.getpid())
            wait_for("go")
            note("ended", os.getpid())
        """,
    )
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start(policies={"restarts": {"backoff_s": 0.3}})
    pid = mule_of(await daemon.status(), 1)["pid"]
    assert pid is not None

    async with daemon.client() as client:
        await client.send("func:app:slow", b"\1\x92\x90\x80")
        await daemon.noted("began", pid)
        os.kill(pid, signal.SIGKILL)
        await daemon.logged("mule exited")
        # Its mule is on its way back.
        await client.send("func:app:slow", b"\1\x92\x90\x80")
        daemon.allow("go")

    await daemon.noted("ended", count=2)
    assert ["ended", str(pid)] not in daemon.notes()
    assert await daemon.stop() == 0


async def test_a_reload_takes_away_the_functions_that_new_code_lacks(
    daemon: Daemon,
) -> None:
    daemon.program("app", APP)
    daemon.configure("""
        app = "app"
        [[mule]]
    """)
    await daemon.start()
    daemon.program("app", APP.replace("def asynchronous(", "def renamed("))

    async with daemon.client() as client:
        await client.call("reload")
        with pytest.raises(UnknownTargetError):
            await client.send("func:app:asynchronous", b"\1\x92\x91\x01\x80")
        await client.send("func:app:renamed", b"\1\x92\x91\x01\x80")
    await daemon.noted("asynchronous", 1, 1)

    assert await daemon.stop() == 0


@pytest.mark.parametrize("allow", ["true", "false"])
async def test_other_objects_are_pickled_where_the_file_allows_it(
    daemon: Daemon, allow: str
) -> None:
    daemon.program("app", APP)
    daemon.configure(f"""
        app = "app"
        allow_pickle = {allow}
        [[mule]]
    """)
    await daemon.start()

    blocking = await run(daemon, "import app; app.own(app.Own(1))")
    tasks = await run(
        daemon,
        "import app, asyncio\nasync def main():\n await app.own(app.Own(2))\n"
        "asyncio.run(main())",
    )

    if allow == "true":
        assert blocking.stderr + tasks.stderr == ""
        await daemon.noted("own", 1)
        await daemon.noted("own", 2)
    else:
        for done in (blocking, tasks):
            assert "TypeError: app:own: argument 1 is Own: " in done.stderr
    assert await daemon.stop() == 0
