"""Decorators of uWSGI's programs, in a real daemon."""

import signal

import pytest

from pymule.compat.brains import pack_call
from tests.conftest import MS
from tests.daemon.harness import Daemon, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]


def brain(program: str) -> str:
    return f'[[mule]]\nprogram = "{program}"\nuwsgi = true\n'


async def test_the_decorator_example(daemon: Daemon) -> None:
    daemon.program(
        "decorated",
        """
        from uwsgidecorators import *

        @timer(0.05, target="mule")
        def hello(signum):
            note("hello", signum, uwsgi.mule_id())

        @signal(17, target="mule2")
        def i_am_mule2(signum):
            note("seventeen", signum, uwsgi.mule_id())

        note("free", get_free_signal() not in (0, 17))
        """,
    )
    daemon.configure('app = "decorated"\n[[mule]]\ncount = 3\nuwsgi = true\n')
    await daemon.start()
    await daemon.noted("hello", count=3)

    async with daemon.client() as client:
        await client.call("raise", signal=17)

    await daemon.noted("seventeen", 17, 2)
    await daemon.noted("free", "True", count=3)


FARMS = """
    app = "farms"
    [[mule]]
    count = 3
    uwsgi = true
    [[farm]]
    name = "busy"
    mules = [1, 2]
    [[farm]]
    name = "idle"
    mules = [3]
"""


async def test_the_example_of_two_farms(daemon: Daemon) -> None:
    daemon.program(
        "farms",
        """
        from uwsgidecorators import *

        @farm("busy")
        def work(message):
            note("busy", uwsgi.mule_id(), message.decode(), uwsgi.in_farm("idle"))
            wait_for("both")

        @farm(b"idle")
        def idle(message):
            note("idle", uwsgi.mule_id(), message.decode(), uwsgi.in_farm(b"idle"))
            if message == b"fan out":
                assert uwsgi.farm_msg("busy", "a") is None
                assert uwsgi.mule_msg(b"b", "busy") is True
                assert uwsgi.farm_msg("nowhere", "x") is None
                note("opt", uwsgi.opt["farm"], uwsgi.opt.get(b"mule"))
        """,
    )
    daemon.configure(FARMS)
    await daemon.start()

    async with daemon.client() as client:
        await client.farm_msg("idle", "fan out")

    await daemon.noted("busy", 1)
    await daemon.noted("busy", 2)
    daemon.allow("both")
    await daemon.noted("idle", 3, "fan", "out", "True")
    await daemon.noted("opt", "[b'busy:1,2',", "b'idle:3']", "[True,", "True,", "True]")
    assert all(words[-1] == "None" for words in daemon.notes() if words[0] == "busy")


async def test_functions_are_called_in_whatever_mule_or_in_a_farm(
    daemon: Daemon,
) -> None:
    daemon.program(
        "functions",
        """
        from uwsgidecorators import *

        @mulefunc
        def anywhere(*args, **kwargs):
            note("anywhere", args, kwargs)
            in_second("x")
            in_farm("y")
            raise ValueError("printed")

        @mulefunc(2)
        def in_second(word):
            note("second", word, uwsgi.mule_id())

        @mulefunc("idle")
        def in_farm(word):
            note("farm", word, uwsgi.mule_id())

        @postfork
        def forked():
            if uwsgi.mule_id() == 1:
                anywhere(1, b=2)
        """,
    )
    daemon.configure(FARMS.replace('"farms"', '"functions"'))
    await daemon.start()

    await daemon.noted("anywhere", "(1,)", "{'b':", "2}")
    await daemon.noted("second", "x", 2)
    await daemon.noted("farm", "y", 3)
    status = await daemon.status_when(
        lambda status: sum(queue["acked"] for queue in status["queues"]) == 3
    )
    assert all(mule["restarts"] == 0 for mule in status["mules"])


async def test_brains_of_decorators_run_in_their_mules(daemon: Daemon) -> None:
    daemon.program(
        "brains",
        """
        from uwsgidecorators import *

        @mule(1)
        def returns():
            note("brain", uwsgi.mule_id())
            start_thread("ok")

        @thread
        def start_thread(word):
            note("thread", word)

        @muleloop(2)
        def loops():
            note("loop", uwsgi.mule_id(), uwsgi.mule_get_msg().decode())

        @mulemsg(3)
        def each(message):
            note("each", uwsgi.mule_id(), message.decode())
            if message == b"bad":
                raise ValueError(message)
        """,
    )
    daemon.configure("""
        app = "brains"
        [[mule]]
        count = 3
        uwsgi = true
        max_attempts = 2
        backoff_s = 0.01
    """)
    await daemon.start()
    await daemon.noted("brain", 1)
    await daemon.noted("thread", "ok")

    async with daemon.client() as client:
        await client.mule_msg("to 2", 2)
        await client.mule_msg("bad", 3)
        await client.mule_msg("good", 3)

    await daemon.noted("loop", 2, "to", 2)
    await daemon.noted("each", 3, "bad", count=2)
    await daemon.noted("each", 3, "good")
    status = await daemon.status()
    assert all(mule["restarts"] == 0 for mule in status["mules"])


async def test_a_function_that_takes_too_long_ends_its_mule(daemon: Daemon) -> None:
    daemon.program(
        "slow",
        """
        import time
        from uwsgidecorators import harakiri

        @harakiri(1)
        def sleep_long():
            note("sleeps")
            wait_for("never")

        @harakiri(1)
        def quick():
            return 5

        def main():
            note("quick", quick())
            sleep_long()
        """,
    )
    daemon.configure(brain("slow:main"))
    await daemon.start()

    await daemon.noted("sleeps", count=2)
    await daemon.noted("quick", 5, count=2)
    assert any("Timeout (0:00:01)" in str(line) for line in daemon.output("stderr"))


async def test_cron_entries_and_file_monitors_are_one_for_all_mules(
    daemon: Daemon,
) -> None:
    daemon.program(
        "sources",
        """
        import os
        from uwsgidecorators import *

        watched = os.path.join(os.environ["FILES"], "watched")

        def changed(signum):
            note("changed", signum)

        uwsgi.register_signal(5, "mules", changed)
        assert uwsgi.add_file_monitor(5, watched) is None
        assert uwsgi.add_cron(6, 0, 3, -1, -1, -1) is True

        @filemon(watched, target="mules")
        def decorated(signum):
            note("decorated", uwsgi.mule_id())

        @cron(59, 3, -1, -1, -1, target="mule")
        def nightly(signum):
            note("unexpected")

        note("loaded")
        """,
    )
    daemon.configure('app = "sources"\n[[mule]]\ncount = 2\nuwsgi = true\n')
    await daemon.start()
    await daemon.noted("loaded", count=2)

    daemon.allow("watched")

    await daemon.noted("decorated", 1)
    await daemon.noted("decorated", 2)
    await daemon.noted("changed", 5, count=2)
    async with daemon.client() as client:
        answer = await client.call("signals")
    rows = answer["signals"]
    assert isinstance(rows, list)
    assert len(rows) == 5


async def test_with_a_lock_one_mule_of_a_farm_does_the_work(daemon: Daemon) -> None:
    daemon.program(
        "locking",
        """
        import os, uwsgi
        from uwsgidecorators import lock

        @lock
        def once():
            assert uwsgi.is_locked() is True
            path = os.path.join(os.environ["FILES"], "done")
            if not os.path.exists(path):
                note("does it", uwsgi.mule_id())
                open(path, "w").close()

        def main():
            try:
                uwsgi.lock("name")
            except TypeError:
                note("TypeError")
            uwsgi.unlock(3)
            once()
            note("after", uwsgi.mule_id())
            uwsgi.farm_get_msg()
        """,
    )
    daemon.configure("""
        [[mule]]
        program = "locking:main"
        count = 4
        uwsgi = true
        [[farm]]
        name = "all"
        mules = [1, 2, 3, 4]
    """)
    await daemon.start()

    await daemon.noted("after", count=4)
    await daemon.noted("TypeError", count=4)
    assert sum(words[0] == "does" for words in daemon.notes()) == 1


async def test_a_reload_changes_a_timer_and_keeps_the_mules_hooked(
    daemon: Daemon,
) -> None:
    source = """
        from uwsgidecorators import *

        @mulefunc
        def work(word):
            note("work", word)

        def ticked(signum):
            note("tick", {every})

        uwsgi.register_signal(1, "mule", ticked)
        uwsgi.add_ms_timer(1, {every})
        note("loaded", {every})
        """
    daemon.program("app", source.format(every=20))
    daemon.configure('app = "app"\n[[mule]]\nuwsgi = true\n')
    await daemon.start()
    await daemon.noted("tick", 20, count=2)

    daemon.program("app", source.format(every=30))
    daemon.configure('app = "app"\n[[mule]]\nuwsgi = true\nnice = 1\n')
    daemon.signal(signal.SIGHUP)
    await daemon.noted("tick", 30, count=2)

    status = await daemon.status_when(lambda status: len(status["mules"]) == 1)
    async with daemon.client() as client:
        await client.mule_msg(pack_call("work", ("after",), {}))
        await daemon.noted("work", "after")
    assert mule_of(status, 1)["state"] == "up"
