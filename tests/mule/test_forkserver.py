"""A forkserver as the master starts it: a real process, the test at the other end."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

import pymule
from pymule.master.ends import Ends, open_ends
from pymule.sansio.forkserver import (
    MAX_WORD_BYTES,
    Broken,
    Fork,
    Forked,
    Loaded,
    NotForked,
    Preload,
    Unfit,
    Word,
    read_word,
    write_word,
)
from pymule.sansio.session import Role, Session
from pymule.sansio.verbs import Hello, JsonObject, Ready, Verb, Welcome
from pymule.scoreboard import BOARD_BYTES
from tests.conftest import MS

ROOT: Final = Path(pymule.__file__).parents[1]
SLOW: Final = 20_000 * MS
pytestmark = pytest.mark.timeout(60)


class Child:
    """A mule that was forked, and is a child of the test."""

    def __init__(self, pid: int, ends: Ends) -> None:
        self.pid = pid
        self.ends = ends
        self._session = Session(Role.MASTER, Role.MULE)
        ends.link.settimeout(SLOW)

    def hear(self) -> list[Verb]:
        """Return what it says next; nothing at its end."""
        data = self.ends.link.recv(65_536)
        return self._session.receive_data(data) if data else []

    def welcome(self, **mule: object) -> None:
        """Take its hello, and tell it what to be."""
        (hello,) = self.hear()
        assert isinstance(hello, Hello)
        about: JsonObject = {"id": 3, "name": "busy", "farms": [], "program": None}
        words = {"mule": about | mule, "epoch": 1, "protocol": 1}
        self.ends.link.sendall(self._session.pack(Welcome(words)))

    def end(self) -> int:
        """Wait for its end, as only its parent can; return its return code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def printed(self) -> str:
        """Return what it printed, once it has ended."""
        return os.read(self.ends.stdout, 65_536).decode()


class Stud:
    """One forkserver, and its master."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self._undo = ExitStack()
        with ExitStack() as undo_theirs:
            self.ends, theirs = open_ends(
                socket.SOCK_SEQPACKET, 4096, self._undo, undo_theirs
            )
            variable = {
                "title": "pymule: forkserver 1",
                "master": os.getpid(),
                "link": theirs.link.fileno(),
                "board": theirs.board,
                "stacks": theirs.stacks,
            }
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pymule.mule.forkserver"],
                cwd=cwd,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYMULE_MULE": json.dumps(variable),
                },
                stdin=subprocess.DEVNULL,
                stdout=theirs.stdout,
                stderr=theirs.stderr,
                pass_fds=(theirs.link.fileno(), theirs.board, theirs.stacks),
                process_group=0,
            )
        self.ends.link.settimeout(SLOW)

    def write(self, name: str, source: str) -> None:
        (self.cwd / name).write_text(textwrap.dedent(source))

    def say(self, word: Word, fds: Sequence[int] = ()) -> None:
        socket.send_fds(self.ends.link, [write_word(word)], fds)

    def hear(self) -> Word:
        return read_word(self.ends.link.recv(MAX_WORD_BYTES))

    def load(self, *modules: str, uwsgi: bool = False) -> Word:
        """Have it import; return its answer."""
        self.say(Preload([str(self.cwd)], list(modules), uwsgi))
        return self.hear()

    def fork(self, number: int = 1) -> Child:
        """Have it fork a mule."""
        with ExitStack() as undo_theirs:
            kind = socket.SOCK_STREAM
            ours, theirs = open_ends(kind, BOARD_BYTES, self._undo, undo_theirs)
            fds = (theirs.link.fileno(), theirs.board, theirs.stacks)
            mule: JsonObject = {"title": "pymule: mule 3 busy"}
            self.say(Fork(number, mule), (*fds, theirs.stdout, theirs.stderr))
        word = self.hear()
        assert isinstance(word, Forked)
        assert word.number == number
        return Child(word.pid, ours)

    def end(self) -> int:
        """Close its link and wait for its end; return its return code."""
        self.ends.link.shutdown(socket.SHUT_RDWR)
        return self.process.wait(SLOW)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._undo.close()


@pytest.fixture
def stud(tmp_path: Path, subreaper: None) -> Iterator[Stud]:
    # Mules that are forked become children of the test.
    del subreaper
    stud = Stud(tmp_path)
    yield stud
    stud.close()


def test_a_mule_has_what_was_imported_and_is_a_child_of_the_master(stud: Stud) -> None:
    stud.write(
        "app.py",
        """
        import os, pymule
        HOME = os.getpid()
        STATE = "imported"
        @pymule.after_fork
        def fresh():
            global STATE
            STATE = "fresh"
        """,
    )
    stud.write(
        "work.py",
        """
        import os, random, sys, app
        def main():
            print(app.STATE, app.HOME, os.getppid(), os.getpgrp(), random.random())
            print(open("/proc/self/cmdline").read().rstrip(chr(0)))
            sys.exit(5)
        """,
    )
    assert stud.load("app") == Loaded()

    mules = [stud.fork(number) for number in range(2)]
    for mule in mules:
        mule.welcome(program="work:main", preload=["app"])

    assert [mule.end() for mule in mules] == [5, 5]
    lines = [mule.printed().splitlines() for mule in mules]
    for mule, (facts, title) in zip(mules, lines, strict=True):
        home = stud.process.pid
        expected = f"fresh {home} {os.getpid()} {mule.pid}"
        assert facts.rpartition(" ")[0] == expected
        assert title == "pymule: mule 3 busy"
    assert lines[0][0].split()[-1] != lines[1][0].split()[-1], "the same random number"
    assert stud.end() == 0


def test_what_ends_it_is_told_to_the_master_as_of_any_child(stud: Stud) -> None:
    assert stud.load() == Loaded()
    mule = stud.fork()
    mule.welcome()
    while Ready() not in mule.hear():
        pass

    os.kill(mule.pid, signal.SIGKILL)

    assert mule.end() == -signal.SIGKILL
    assert mule.hear() == []


def test_a_mule_outlives_its_forkserver_but_not_its_link(stud: Stud) -> None:
    assert stud.load() == Loaded()
    mule, early = stud.fork(1), stud.fork(2)
    mule.welcome()
    while Ready() not in mule.hear():
        pass

    stud.process.kill()
    stud.process.wait()

    # The one was never told what to be.
    for child in (mule, early):
        os.kill(child.pid, 0)
        child.ends.link.shutdown(socket.SHUT_RDWR)
        assert child.end() == 75


def test_an_import_that_fails_is_told_and_printed(stud: Stud) -> None:
    stud.write("app.py", "raise OSError('no such table')")

    word = stud.load("app")

    assert isinstance(word, Broken)
    assert word.error["type"] == "OSError"
    assert word.error["text"] == "no such table"
    assert stud.process.wait(SLOW) == 1
    assert "OSError: no such table" in os.read(stud.ends.stderr, 65_536).decode()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            (
                "import threading\n"
                "threading.Thread(target=threading.Event().wait, name='poller',"
                " daemon=True).start()"
            ),
            "thread 'poller', which the import of 'app' started",
        ),
        (
            # Of these the module threading knows nothing.
            "import _thread, time\n_thread.start_new_thread(time.sleep, (1000,))",
            "which the import of 'app' started",
        ),
        (
            "import asyncio\nloop = asyncio.new_event_loop()",
            "event loops that are not closed: 1",
        ),
    ],
)
def test_what_a_fork_would_not_have_makes_it_unfit(
    stud: Stud, source: str, reason: str
) -> None:
    stud.write("app.py", source)

    word = stud.load("app")

    assert isinstance(word, Unfit)
    assert len(word.reasons) == 1
    assert word.reasons[0].endswith(reason)
    assert stud.end() == 0


def test_threads_and_loops_that_have_ended_are_no_harm(stud: Stud) -> None:
    stud.write(
        "app.py",
        """
        import asyncio, threading
        thread = threading.Thread(target=str)
        thread.start()
        thread.join()
        asyncio.run(asyncio.sleep(0))
        """,
    )

    assert stud.load("app") == Loaded()


def test_the_application_may_import_uwsgi_and_be_mule_0(stud: Stud) -> None:
    stud.write(
        "app.py",
        """
        import uwsgi
        from uwsgidecorators import timer
        AT_IMPORT = uwsgi.mule_id()
        @timer(1000, target="mule3")
        def tick(signum): pass
        """,
    )
    stud.write(
        "work.py",
        """
        import app, uwsgi
        from pymule.handlers import registry
        print(app.AT_IMPORT, uwsgi.mule_id(), len(registry.handlers))
        raise SystemExit(4)
        """,
    )
    assert stud.load("app", uwsgi=True) == Loaded()
    mule = stud.fork()

    mule.welcome(program="work:main", preload=["app"], uwsgi=True)

    assert mule.end() == 4
    assert mule.printed() == "0 3 1\n"


def test_it_leaves_what_the_application_wants_at_its_exit_to_the_mules(
    stud: Stud,
) -> None:
    stud.write("app.py", "import atexit\natexit.register(print, 'bye', flush=True)")
    assert stud.load("app") == Loaded()
    mule = stud.fork()
    mule.welcome(program="nothing:main")
    assert mule.end() == 1

    assert stud.end() == 0

    assert mule.printed() == "bye\n"
    assert os.read(stud.ends.stdout, 100) == b""


def test_an_application_that_waits_for_no_child_does_not_confuse_it(
    stud: Stud,
) -> None:
    stud.write("app.py", "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    stud.write(
        "work.py",
        """
        import signal
        print(signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
        raise SystemExit(0)
        """,
    )
    assert stud.load("app") == Loaded()
    mule = stud.fork()

    mule.welcome(program="work:main")

    assert mule.end() == 0
    assert mule.printed() == "True\n"


def test_how_garbage_is_looked_for_is_as_the_application_set_it(stud: Stud) -> None:
    stud.write("app.py", "import gc\ngc.disable()")
    stud.write(
        "work.py",
        """
        import gc
        print(gc.isenabled(), gc.get_freeze_count() > 1000)
        raise SystemExit(0)
        """,
    )
    assert stud.load("app") == Loaded()
    mule = stud.fork()

    mule.welcome(program="work:main")

    assert mule.end() == 0
    assert mule.printed() == "False True\n"


def test_without_descriptors_it_says_so_and_goes_on(stud: Stud) -> None:
    assert stud.load() == Loaded()

    stud.say(Fork(7, {"title": "x"}))

    word = stud.hear()
    assert isinstance(word, NotForked)
    assert (word.number, "Too many open files" in word.error) == (7, True)
    os.kill(stud.fork().pid, signal.SIGKILL)


def test_a_master_that_says_something_else_ends_it(stud: Stud) -> None:
    stud.say(Loaded())

    assert stud.process.wait(SLOW) == 0


@pytest.mark.parametrize("last", [1, 2])
def test_a_fork_that_the_system_refuses_is_told(stud: Stud, last: int) -> None:
    # The first is a trial, then come that of the process between and its own.
    stud.write(
        "app.py",
        f"""
        import os
        fork, count = os.fork, 0
        def limited():
            global count
            count += 1
            if count > {last}:
                raise BlockingIOError("no more processes")
            return fork()
        os.fork = limited
        """,
    )
    assert stud.load("app") == Loaded()

    stud.say(Fork(7, {"title": "x"}), [0, 0, 0, 0, 0])

    assert stud.hear() == NotForked(7, "no more processes")
    assert stud.end() == 0
