"""Programs written for uWSGI, in a real daemon."""

import json
import os
import signal

import pytest

from tests.conftest import MS
from tests.daemon.harness import Daemon, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]


def brain(program: str) -> str:
    return f'[[mule]]\nprogram = "{program}"\nuwsgi = true\n'


async def test_a_blocking_loop_over_json_returns_on_purpose_and_comes_back(
    daemon: Daemon,
) -> None:
    daemon.program(
        "scheduler",
        """
        import json, sys, uwsgi

        def main():
            note("started", uwsgi.mule_id(), uwsgi.worker_id())
            while True:
                task = json.loads(uwsgi.mule_get_msg())
                note("got", task["job"])
                if task["job"] == "shutdown_mule":
                    return

        if __name__ == "__main__":
            main()
        """,
    )
    daemon.configure(brain("scheduler.py"))
    await daemon.start()

    async with daemon.client() as client:
        for job in ("a", "shutdown_mule", "b"):
            await client.mule_msg(json.dumps({"job": job}))

    await daemon.noted("got", "b")
    await daemon.noted("started", 1, 0, count=2)
    assert [words[1] for words in daemon.notes() if words[0] == "got"] == [
        "a",
        "shutdown_mule",
        "b",
    ]


async def test_a_thread_waits_beside_a_main_thread_that_sleeps(daemon: Daemon) -> None:
    daemon.program(
        "bot",
        """
        import threading, time, uwsgi

        reload = threading.Event()

        def listen():
            while True:
                message = uwsgi.mule_get_msg()
                note("thread", message.decode())
                if message == b"reload":
                    reload.set()

        def main():
            threading.Thread(target=listen, daemon=True).start()
            while not reload.is_set():
                time.sleep(0.01)
            note("reloading")
            time.sleep(1000)
        """,
    )
    daemon.configure(brain("bot:main"))
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msg("hello")
        await client.mule_msg("reload")

    await daemon.noted("thread", "hello")
    await daemon.noted("reloading")


async def test_a_sentinel_that_a_mule_sends_to_itself_ends_its_loop(
    daemon: Daemon,
) -> None:
    daemon.program(
        "servo",
        """
        import uwsgi

        def main():
            assert uwsgi.mule_msg(b"exit", uwsgi.mule_id()) is True
            for message in iter(uwsgi.mule_get_msg, b"exit"):
                note("unexpected", message)
            note("over")
            note("empty", uwsgi.mule_get_msg(True, True, 65536, 0))
            wait_for("never")
        """,
    )
    daemon.configure(brain("servo:main"))
    await daemon.start()

    await daemon.noted("over")
    await daemon.noted("empty", "b''")


async def test_a_mule_without_a_program_takes_messages_once_it_has_hooks(
    daemon: Daemon,
) -> None:
    daemon.program(
        "app",
        """
        import threading, time, uwsgi

        def plain(message):
            note("plain", message.decode())
            raise ValueError("not mine")

        def extra(message):
            note("extra", message.decode())

        def late():
            wait_for("hooks")
            uwsgi.mule_msg_hook = plain
            uwsgi.install_mule_msg_hook(extra)

        threading.Thread(target=late, daemon=True).start()
        note("loaded")
        """,
    )
    daemon.configure('app = "app"\n[[mule]]\nuwsgi = true\n')
    await daemon.start()
    await daemon.noted("loaded")

    async with daemon.client() as client:
        await client.mule_msg("one")
        await client.mule_msg("two", 1)
        await daemon.status_when(
            lambda status: all(queue["leased"] == 0 for queue in status["queues"])
        )
        assert not any(words[0] == "plain" for words in daemon.notes())
        daemon.allow("hooks")

    for message in ("one", "two"):
        await daemon.noted("extra", message)
    await daemon.status_when(
        lambda status: sum(queue["acked"] for queue in status["queues"]) == 2
    )
    assert "ValueError: not mine" in daemon.output("stderr")


async def test_a_timer_is_set_before_its_handler_and_is_one_for_all_mules(
    daemon: Daemon,
) -> None:
    daemon.program(
        "metrics",
        """
        import uwsgi

        def publish(signum):
            note("tick", signum, uwsgi.mule_id())

        uwsgi.add_ms_timer(42, 20)
        note("registered", uwsgi.signal_registered(42))
        uwsgi.register_signal(42, "mule1", publish)
        uwsgi.add_ms_timer(42, 20)
        """,
    )
    daemon.configure('app = "metrics"\n[[mule]]\ncount = 2\nuwsgi = true\n')
    await daemon.start()

    await daemon.noted("tick", 42, 1, count=5)

    async with daemon.client() as client:
        answer = await client.call("signals")
    rows = answer["signals"]
    assert isinstance(rows, list)
    # The handler's, and one for each of the two timers, whichever mule was first.
    assert len(rows) == 3
    assert not any(words[:3] == ["tick", "42", "2"] for words in daemon.notes())


@pytest.mark.parametrize("place", ["main", "module"])
async def test_a_one_shot_timer_fires_once_and_at_once(
    daemon: Daemon, place: str
) -> None:
    setting = """
uwsgi.register_signal(7, "mule", ran)
uwsgi.add_rb_timer(7, 0, 1)
"""
    indented = setting.replace("\n", "\n    ") if place == "main" else ""
    daemon.program(
        "tasks",
        f"""
import uwsgi

def ran(signum):
    note("ran", signum)

{setting if place == "module" else ""}

def main():
    {indented}
    note("wait", uwsgi.signal_wait(7), uwsgi.signal_received())
    wait_for("never")
""",
    )
    daemon.configure(brain("tasks:main"))
    await daemon.start()

    await daemon.noted("wait", "b''", 7)
    assert [words for words in daemon.notes() if words[0] == "ran"] == [["ran", "7"]]


async def test_the_hooks_of_the_end_of_a_mule_run(daemon: Daemon) -> None:
    daemon.program(
        "ends",
        """
        import atexit, uwsgi

        atexit.register(note, "python", "atexit")
        uwsgi.atexit = lambda: note("uwsgi", "atexit")

        def main():
            note("started")
            uwsgi.mule_get_msg()
        """,
    )
    daemon.configure(brain("ends:main"))
    await daemon.start()
    await daemon.noted("started")

    await daemon.stop()

    await daemon.noted("python", "atexit")
    await daemon.noted("uwsgi", "atexit")


async def test_a_handler_of_a_unix_signal_interrupts_a_blocking_get(
    daemon: Daemon,
) -> None:
    daemon.program(
        "mulebrain",
        """
        import os, signal, uwsgi

        def hup(signum, frame):
            note("hup")
            raise SystemExit(0)

        def main():
            signal.signal(signal.SIGUSR1, hup)
            note("pid", os.getpid())
            uwsgi.farm_get_msg()
        """,
    )
    daemon.configure(brain("mulebrain:main"))
    await daemon.start()
    await daemon.noted("pid")

    status = await daemon.status()
    pid = mule_of(status, 1)["pid"]
    assert pid is not None

    os.kill(pid, signal.SIGUSR1)

    await daemon.noted("hup")


async def test_the_example_of_two_loops_in_a_programmed_mule(daemon: Daemon) -> None:
    daemon.program(
        "two_loops",
        """
        from threading import Thread
        import time
        import uwsgi

        def loop1():
            while True:
                print("loop1: Waiting for messages... yawn.")
                message = uwsgi.mule_get_msg()
                print(message)
                note("loop1", message)

        def loop2():
            print("Hi! I am loop2.")
            while True:
                time.sleep(0.02)
                note("loop2")

        t = Thread(target=loop2)
        t.daemon = True
        t.start()

        if __name__ == "__main__":
            loop1()
        """,
    )
    daemon.configure(brain("two_loops.py"))
    await daemon.start()

    async with daemon.client() as client:
        await client.mule_msg("one")
        await client.mule_msg("two")

    for words in (("loop1", "b'one'"), ("loop1", "b'two'"), ("loop2",)):
        await daemon.noted(*words)


async def test_uwsgi_is_not_there_unless_it_was_asked_for(daemon: Daemon) -> None:
    daemon.program(
        "guarded",
        """
        import sys

        def main():
            try:
                import uwsgidecorators
            except ImportError:
                note("without")
            else:
                # Where uWSGI itself is installed, its module is found.
                note("foreign", "pymule" in uwsgidecorators.__file__)
            wait_for("never")
        """,
    )
    daemon.configure('[[mule]]\nprogram = "guarded:main"\n')
    await daemon.start()

    await daemon.status_when(lambda _status: bool(daemon.notes()))
    assert daemon.notes() in ([["without"]], [["foreign", "False"]])


async def test_a_client_that_registers_a_handler_becomes_a_worker(
    daemon: Daemon,
) -> None:
    daemon.program("nothing", "")
    daemon.configure(brain("nothing:wait_for").replace("nothing:wait_for", "web:main"))
    daemon.program(
        "web",
        """
        import subprocess, sys

        CODE = '''
        import pymule.compat, time
        pymule.compat.install()
        from notes_module import note, wait_for
        import uwsgi, uwsgidecorators

        @uwsgidecorators.signal(1, target="worker")
        def raised(signum):
            note("raised", signum, uwsgi.worker_id(), uwsgi.mule_id())

        note("master", uwsgi.masterpid(), uwsgi.mule_msg_recv_size() > 65536)
        note("size", uwsgi.opt["mule"])
        wait_for("end")
        '''

        def main():
            import textwrap, uwsgi
            child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CODE)])
            while not uwsgi.signal_registered(1):
                pass
            note("pid", uwsgi.masterpid())
            uwsgi.signal(1)
            uwsgi.signal(99)
            wait_for("end")
            child.wait()
        """,
    )
    await daemon.start()

    await daemon.noted("raised", 1, 1, 0)
    await daemon.noted("master", daemon.process.pid, "True")
    await daemon.noted("pid", daemon.process.pid)
    await daemon.noted("size", "b'web:main'")
    daemon.allow("end")


async def test_an_asyncio_program_may_use_the_old_names_too(daemon: Daemon) -> None:
    daemon.program(
        "modern",
        """
        import asyncio, pymule, uwsgi

        def ran(signum):
            note("ran", signum)

        uwsgi.register_signal(9, "mule", ran)
        uwsgi.add_rb_timer(9, 0, 1)

        async def main():
            uwsgi.mule_msg("hello")
            note("got", await pymule.mule_get_msg())
            await asyncio.sleep(1000)
        """,
    )
    daemon.configure(brain("modern:main"))
    await daemon.start()

    await daemon.noted("got", "b'hello'")
    await daemon.noted("ran", 9)
