"""Mules as the master starts them: real processes, the test at the other end."""

import asyncio
import os
import select
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

import pymule
from pymule.errors import SignalConflictError
from pymule.master.spawner import MULE_COMMAND, MuleProcess, Spawner, SpawnSpec
from pymule.sansio.signal_words import Outcome
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import (
    Call,
    Close,
    Deliver,
    Drain,
    Handled,
    Listen,
    Nack,
    Ready,
    Signal,
    Stacks,
)
from pymule.scoreboard import BOARD_BYTES, STACKS_SIGNAL, Scoreboard
from tests.conftest import MS, wait_until
from tests.mule.conftest import Master

ORPHANED = 75
ROOT = Path(pymule.__file__).parents[1]
pytestmark = pytest.mark.timeout(60)
SLOW = 20_000 * MS


@pytest.fixture(autouse=True)
def _what_may_block(blockbuster: BlockBuster) -> None:
    # Popen waits for the exec of its child; a write to /proc never waits.
    blockbuster.functions["os.read"].can_block_in("subprocess.py", "_execute_child")
    blockbuster.functions["os.write"].can_block_in("spawner.py", "_make_killable")


class Stall:
    """Starts one mule, and is its master."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.master = Master()
        self.status: int | None = None
        self._stdout = b""
        self._stderr = b""
        self.process: MuleProcess | None = None

    def write(self, name: str, program: str) -> None:
        (self.cwd / name).write_text(textwrap.dedent(program))

    async def start(self, program: str | None, app: str | None = None) -> None:
        """Start a mule and take its hello."""
        self.master.mule |= {
            "program": program,
            "app": app,
            "python_path": [str(self.cwd)],
        }
        loop = asyncio.get_running_loop()
        self.process = Spawner(loop, self._exited).spawn(
            SpawnSpec(
                mule=MuleId(3),
                name="busy",
                title="pymule: mule 3 busy",
                cwd=self.cwd,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                nice=None,
                umask=None,
                limits={},
                uid=None,
                gid=None,
                board_bytes=BOARD_BYTES,
            )
        )
        sock = self.process.link.dup()
        sock.setblocking(False)  # noqa: FBT003  (the standard library's)
        await self.master.connect(sock)

    def _exited(self, process: MuleProcess, status: int) -> None:
        self.status = status
        assert self.master.connection is not None
        self.master.connection.read_rest(process.link.fileno())

    async def end(self) -> int:
        """Wait for the mule's own end; return its status."""
        await wait_until(lambda: self.status is not None, within=SLOW)
        assert self.status is not None
        return self.status

    async def ready(self) -> None:
        await wait_until(lambda: self.master.all(Ready), within=SLOW)

    async def listens(self, times: int = 1) -> None:
        """Wait until the mule has said so often that it could run a handler."""
        listening = Listen(is_listening=True)
        await wait_until(
            lambda: self.master.said.count(listening) >= times, within=SLOW
        )

    async def printed(self, line: str) -> None:
        """Wait until the mule printed *line*."""
        await wait_until(lambda: line in self.out.splitlines(), within=SLOW)

    def kill(self, signum: int) -> None:
        assert self.process is not None
        self.process.kill(signum)

    @property
    def out(self) -> str:
        assert self.process is not None
        self._stdout += _read(self.process.stdout)
        return self._stdout.decode()

    @property
    def err(self) -> str:
        assert self.process is not None
        self._stderr += _read(self.process.stderr)
        return self._stderr.decode()

    @property
    def stacks(self) -> str:
        assert self.process is not None
        return self.process.read_stacks()

    @property
    def error(self) -> dict[str, str]:
        """The error of the mule's goodbye."""
        (close,) = self.master.all(Close)
        error = close.value["error"]
        assert isinstance(error, dict)
        return error

    def in_hand(self) -> int:
        """Return how many messages the mule has in hand, by its scoreboard."""
        assert self.process is not None
        board = Scoreboard(self.process.board)
        count = len(board.held())
        board.close()
        return count

    async def close(self) -> None:
        if self.process is None:
            return
        self.kill(signal.SIGKILL)
        await self.end()
        self.process.close()
        if self.master.connection is not None:
            self.master.connection.abort()
            await self.master.connection.wait_closed()


def _read(fd: int) -> bytes:
    data = b""
    try:
        while more := os.read(fd, 65_536):
            data += more
    except BlockingIOError:
        pass
    return data


@pytest.fixture
async def stall(tmp_path: Path) -> AsyncIterator[Stall]:
    stall = Stall(tmp_path)
    yield stall
    await stall.close()


ASYNC_ECHO = """
    import asyncio, atexit, pymule
    atexit.register(print, "atexit")
    async def main():
        print("started", pymule.mule_id(), pymule.in_farm("busy"))
        try:
            while (body := await pymule.mule_get_msg()) != b"end":
                print(body.decode())
        finally:
            print("finally")
    """
BLOCKING_ECHO = """
    import atexit, threading
    from pymule.sync import mule_get_msg
    atexit.register(print, "atexit")
    def main():
        assert threading.current_thread() is threading.main_thread()
        try:
            while (body := mule_get_msg()) != b"end":
                print(body.decode())
        finally:
            print("finally")
    """


async def start_echo(stall: Stall, mode: str) -> None:
    match mode:
        case "async":
            stall.write("echo.py", ASYNC_ECHO)
            await stall.start("echo:main")
        case "blocking":
            stall.write("echo.py", BLOCKING_ECHO)
            await stall.start("echo:main")
        case _:
            stall.write("echo.py", textwrap.dedent(BLOCKING_ECHO) + "main()\n")
            await stall.start("echo.py")


MODES = pytest.mark.parametrize("mode", ["async", "blocking", "script"])


# A program's life


@MODES
async def test_a_program_handles_messages_and_returns(stall: Stall, mode: str) -> None:
    await start_echo(stall, mode)
    ids = stall.master.submit(b"one", b"two", b"end")

    assert await stall.end() == 0, stall.err
    assert stall.out.splitlines()[-4:] == ["one", "two", "finally", "atexit"]
    assert stall.master.acked == ids
    assert stall.master.all(Close) == [Close({})]
    assert len(stall.master.all(Ready)) == 1


@pytest.mark.parametrize("kind", ["callable", "script", "app"])
async def test_hooks_run_before_the_program_of_a_mule_that_is_spawned(
    stall: Stall, kind: str
) -> None:
    stall.write(
        "shared.py",
        "import pymule\n@pymule.after_fork\n"
        "def hook(): print('hook of', __name__, 'in mule', pymule.mule_id())",
    )
    stall.write("work.py", "import shared\nprint('loaded')\ndef main(): print('runs')")
    stall.write("work_script.py", "import shared\nprint('runs')")
    stall.master.mule["preload"] = ["shared"]
    match kind:
        case "callable":
            await stall.start("work:main")
        case "script":
            await stall.start("work_script.py")
        case _:
            await stall.start(None, app="work")

    expected = {
        "callable": ["loaded", "hook of shared in mule 3", "runs"],
        "script": ["hook of shared in mule 3", "runs"],
        "app": ["loaded", "hook of shared in mule 3"],
    }
    await wait_until(lambda: stall.out.splitlines() == expected[kind], within=SLOW)


@pytest.mark.parametrize("program", ["work:main", None])
async def test_a_hook_that_raises_ends_the_mule(
    stall: Stall, program: str | None
) -> None:
    stall.write(
        "work.py",
        "import pymule\n"
        "@pymule.after_fork\n"
        "def hook(): raise OSError('no such host')\n"
        "def main(): print('runs')",
    )

    await stall.start(program, app=None if program else "work")

    assert await stall.end() == 1
    assert "in hook" in stall.err
    assert stall.error["text"] == "no such host"
    assert not stall.master.all(Ready)
    assert stall.out == ""


@MODES
async def test_term_ends_a_program_in_good_order(stall: Stall, mode: str) -> None:
    await start_echo(stall, mode)
    ids = stall.master.submit(b"one", b"two")
    await stall.printed("two")

    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0, stall.err
    assert stall.out.splitlines()[-2:] == ["finally", "atexit"]
    assert "Traceback" not in stall.err
    # What it had asked beyond is acknowledged, and nothing else.
    assert stall.master.acked == ids
    assert stall.in_hand() == 0


@MODES
async def test_an_interrupt_is_not_for_a_mule(stall: Stall, mode: str) -> None:
    await start_echo(stall, mode)
    await stall.ready()

    stall.kill(signal.SIGINT)
    stall.master.submit(b"still here")

    await stall.printed("still here")


@pytest.mark.parametrize("mode", ["async", "blocking"])
async def test_term_at_work_leaves_the_message_in_hand(stall: Stall, mode: str) -> None:
    if mode == "async":
        stall.write(
            "work.py",
            """
            import asyncio, pymule
            async def main():
                await pymule.mule_get_msg()
                print("at work")
                await asyncio.get_running_loop().create_future()
            """,
        )
    else:
        stall.write(
            "work.py",
            """
            import time
            from pymule.sync import mule_get_msg
            def main():
                mule_get_msg()
                print("at work")
                time.sleep(1000)
            """,
        )
    await stall.start("work:main")
    stall.master.submit(b"a")
    await stall.printed("at work")

    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0, stall.err
    assert stall.master.acked == []
    assert stall.in_hand() + len(stall.master.all(Nack)) == 1


@pytest.mark.parametrize("mode", ["async", "blocking", "script"])
async def test_a_program_that_raises_says_so_and_keeps_its_message(
    stall: Stall, mode: str
) -> None:
    def_, await_, module = (
        ("async def", "await", "pymule")
        if mode == "async"
        else ("def", "", "pymule.sync")
    )
    program = textwrap.dedent(
        f"""
        from {module} import mule_get_msg
        {def_} main():
            body = {await_} mule_get_msg()
            body = {await_} mule_get_msg()
            raise ValueError(body.decode())
        """
    )
    name = "fail.py" if mode == "script" else "fail:main"
    stall.write("fail.py", program + ("main()\n" if mode == "script" else ""))
    await stall.start(name)
    ids = stall.master.submit(b"one", b"two")

    assert await stall.end() == 1
    assert stall.error["type"] == "ValueError"
    assert stall.error["text"] == "two"
    assert "raise ValueError(body.decode())" in stall.error["traceback"]
    assert "ValueError: two" in stall.err
    assert stall.master.acked == ids[:1]
    assert stall.in_hand() == 1


@pytest.mark.parametrize("mode", ["async", "blocking", "script"])
async def test_a_program_that_ends_with_a_verdict_is_obeyed(
    stall: Stall, mode: str
) -> None:
    def_, await_, module = (
        ("async def", "await", "pymule")
        if mode == "async"
        else ("def", "", "pymule.sync")
    )
    program = textwrap.dedent(
        f"""
        from {module} import Retry, mule_get_msg
        {def_} main():
            first = {await_} mule_get_msg()
            second = {await_} mule_get_msg()
            raise LookupError("not there yet") from Retry(2.5)
        """
    )
    name = "fail.py" if mode == "script" else "fail:main"
    stall.write("fail.py", program + ("main()\n" if mode == "script" else ""))
    await stall.start(name)
    ids = stall.master.submit(b"one", b"two")

    assert await stall.end() == 1
    (nack,) = stall.master.all(Nack)
    assert (nack.id, nack.delay, nack.final) == (ids[1], 2.5, False)
    assert stall.master.acked == ids[:1]
    assert stall.error["text"] == "try again in 2.5 seconds"
    assert "LookupError: not there yet" in stall.err
    assert isinstance(stall.master.said[-1], Close)


@pytest.mark.parametrize(
    ("raising", "status"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit()", 0),
        ("sys.exit('no more')", 1),
        ("sys.exit(125)", 125),
    ],
)
@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_program_may_choose_its_exit_status(
    stall: Stall, raising: str, status: int, kind: str
) -> None:
    stall.write("leave.py", f"import sys\n{kind} main():\n    {raising}\n")
    await stall.start("leave:main")

    assert await stall.end() == status
    assert stall.master.all(Close) == [Close({})]
    assert stall.err == ("no more\n" if status == 1 else "")


async def test_a_program_that_cancels_itself_has_failed(stall: Stall) -> None:
    stall.write(
        "cancel.py",
        """
        import asyncio
        async def main():
            raise asyncio.CancelledError("by itself")
        """,
    )
    await stall.start("cancel:main")

    assert await stall.end() == 1
    assert stall.error["type"] == "CancelledError"


@pytest.mark.parametrize(
    ("program", "type_", "text"),
    [
        ("nowhere:main", "ModuleNotFoundError", "No module named 'nowhere'"),
        ("things:absent", "ImportError", "things has no 'absent'"),
        ("things:number", "TypeError", "things:number is int, which cannot be called"),
        ("broken:main", "SyntaxError", "was never closed"),
    ],
)
async def test_a_program_that_cannot_be_loaded_says_why(
    stall: Stall, program: str, type_: str, text: str
) -> None:
    stall.write("things.py", "number = 1\n")
    stall.write("broken.py", "(\n")
    await stall.start(program)

    assert await stall.end() == 1
    assert stall.error["type"] == type_
    assert text in stall.error["text"]
    assert text in stall.err
    assert not stall.master.all(Ready)


async def test_a_program_that_leaves_while_it_is_loaded_keeps_its_status(
    stall: Stall,
) -> None:
    stall.write("leave.py", "import sys; sys.exit(125)\n")
    await stall.start("leave:main")

    assert await stall.end() == 125


async def test_a_script_that_is_not_there_says_so(stall: Stall) -> None:
    await stall.start("absent.py")

    assert await stall.end() == 1
    assert stall.error["type"] == "FileNotFoundError"


async def test_a_callable_within_a_class_is_found(stall: Stall) -> None:
    stall.write(
        "app.py",
        """
        class App:
            @staticmethod
            def run():
                print("run")
        """,
    )
    await stall.start("app:App.run")

    assert await stall.end() == 0, stall.err
    assert stall.out == "run\n"


# Scripts


async def test_no_search_for_garbage_goes_through_what_was_loaded(
    stall: Stall,
) -> None:
    stall.write(
        "loaded.py",
        """
        import gc
        before = gc.get_freeze_count()
        application = [[] for _ in range(5_000)]
        async def main():
            print(gc.isenabled(), before > 0, gc.get_freeze_count() - before > 5_000)
        """,
    )

    await stall.start("loaded:main")

    assert await stall.end() == 0
    assert stall.out == "True True True\n"


async def test_a_script_runs_as_python_itself_would_run_it(stall: Stall) -> None:
    (stall.cwd / "sub").mkdir()
    stall.write("sub/beside.py", "here = True\n")
    stall.write(
        "sub/script.py",
        """
        import sys, __main__
        import beside
        print(__name__, __file__, sys.argv)
        print(sys.path[0].endswith("/sub"), __main__.__dict__ is globals())
        def square(number): return number * number
        print([square(number) for number in range(3)])
        """,
    )
    await stall.start("sub/script.py")

    assert await stall.end() == 0, stall.err
    assert stall.out.splitlines() == [
        "__main__ sub/script.py ['sub/script.py']",
        "True True",
        "[0, 1, 4]",
    ]


async def test_a_script_lives_as_long_as_its_threads(stall: Stall) -> None:
    stall.write(
        "script.py",
        """
        import threading
        from pymule.sync import mule_get_msg
        def work():
            while (body := mule_get_msg()) != b"end":
                print(body.decode())
        threading.Thread(target=work).start()
        print("main is over")
        """,
    )
    await stall.start("script.py")
    await stall.printed("main is over")

    ids = stall.master.submit(b"one", b"end")

    assert await stall.end() == 0, stall.err
    assert stall.out.splitlines() == ["main is over", "one"]
    assert stall.master.acked == ids


async def test_term_ends_threads_that_wait(stall: Stall) -> None:
    stall.write(
        "script.py",
        """
        import threading
        from pymule.sync import mule_get_msg
        for _ in range(3):
            threading.Thread(target=mule_get_msg).start()
        print("main is over")
        """,
    )
    await stall.start("script.py")
    await stall.printed("main is over")
    await wait_until(lambda: stall.master.limits[0] == 3)

    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0
    assert stall.err == ""


async def test_a_thread_that_raises_nacks_and_the_program_goes_on(
    stall: Stall,
) -> None:
    stall.write(
        "script.py",
        """
        import threading
        from pymule.sync import mule_get_msg
        def work():
            raise ValueError(mule_get_msg())
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(mule_get_msg().decode())
        """,
    )
    await stall.start("script.py")
    ids = stall.master.submit(b"one")
    await wait_until(lambda: stall.master.all(Nack), within=SLOW)
    ids += stall.master.submit(b"two")

    assert await stall.end() == 0, stall.err
    (nack,) = stall.master.all(Nack)
    assert (nack.id, nack.error["type"]) == (ids[0], "ValueError")
    assert "ValueError: b'one'" in stall.err
    assert stall.out == "two\n"
    assert stall.master.acked == ids[1:]


async def test_a_script_that_never_asks_is_ready_after_a_while(stall: Stall) -> None:
    stall.write("script.py", "import time; time.sleep(1000)\n")
    await stall.start("script.py")

    await stall.ready()

    stall.kill(signal.SIGTERM)
    assert await stall.end() == 0


async def test_lines_are_seen_as_they_are_printed(stall: Stall) -> None:
    stall.write(
        "script.py",
        """
        import sys, time
        print("on stdout")
        print("on stderr", file=sys.stderr)
        time.sleep(1000)
        """,
    )
    await stall.start("script.py")

    await stall.printed("on stdout")
    await wait_until(lambda: stall.err == "on stderr\n")


# Signal-only mules


async def test_a_mule_without_a_program_imports_the_application_and_waits(
    stall: Stall,
) -> None:
    stall.write(
        "app.py", "import atexit; print('imported'); atexit.register(print, 'atexit')\n"
    )
    await stall.start(None, "app")
    await stall.ready()
    await stall.printed("imported")

    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0, stall.err
    assert stall.out.splitlines() == ["imported", "atexit"]


async def test_a_mule_without_anything_waits(stall: Stall) -> None:
    await stall.start(None)
    await stall.ready()

    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0, stall.err


async def test_an_application_that_cannot_be_imported_is_never_ready(
    stall: Stall,
) -> None:
    stall.write("app.py", "raise LookupError('no database')\n")
    await stall.start(None, "app")

    assert await stall.end() == 1
    assert (stall.error["type"], stall.error["text"]) == ("LookupError", "no database")
    assert not stall.master.all(Ready)


# Handlers of signals

HANDLERS = """
    import threading, pymule, pymule.sync
    def where():
        return threading.current_thread() is threading.main_thread()
    @pymule.signal(7)
    def plain(number):
        print("plain", number, where())
    @pymule.signal(8)
    async def asynchronous(number):
        print("asynchronous", number, where())
    """
PROGRAMS = {
    "async": "async def main():\n    await pymule.mule_get_msg()\n",
    "blocking": "def main():\n    pymule.sync.mule_get_msg()\n",
    "script": "pymule.sync.mule_get_msg()\n",
    "app": "",
}
EVERY_MODE = pytest.mark.parametrize("mode", list(PROGRAMS))


async def start_with_handlers(stall: Stall, mode: str, more: str = "") -> None:
    text = textwrap.dedent(HANDLERS) + textwrap.dedent(more) + PROGRAMS[mode]
    stall.write("hears.py", text)
    program = {"app": None, "script": "hears.py"}.get(mode, "hears:main")
    await stall.start(program, "hears" if mode == "app" else None)


@EVERY_MODE
async def test_handlers_of_the_module_are_registered_before_the_mule_is_ready(
    stall: Stall, mode: str
) -> None:
    await start_with_handlers(stall, mode)
    await stall.ready()

    said = [type(verb) for verb in stall.master.said]
    assert [call.value["handler"] for call in stall.master.all(Call)] == [
        "plain",
        "asynchronous",
    ]
    assert said.index(Ready) > max(i for i, kind in enumerate(said) if kind is Call)


@pytest.mark.parametrize(
    ("mode", "plain", "asynchronous"),
    [
        ("async", False, True),
        ("blocking", True, False),
        ("script", True, False),
        ("app", True, False),
    ],
)
async def test_handlers_run_where_the_kind_of_the_program_has_it(
    stall: Stall, mode: str, *, plain: bool, asynchronous: bool
) -> None:
    await start_with_handlers(stall, mode)
    for count, number in enumerate((7, 8), 1):
        await stall.listens(count)
        stall.master.send(Signal(number))
    await wait_until(lambda: len(stall.master.all(Handled)) == 2, within=SLOW)
    handled = stall.master.all(Handled)
    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0, stall.err
    assert sorted(stall.out.splitlines()) == [
        f"asynchronous 8 {asynchronous}",
        f"plain 7 {plain}",
    ]
    assert sorted((one.number, one.outcome) for one in handled) == [(7, 0), (8, 0)]


@EVERY_MODE
async def test_a_refused_handler_fails_the_program_before_it_is_ready(
    stall: Stall, mode: str
) -> None:
    stall.master.refusals["plain"] = SignalConflictError(7, "app.py:1", "hears.py:5")

    await start_with_handlers(stall, mode)

    assert await stall.end() == 1
    assert stall.error["type"] == "SignalConflictError"
    assert "signal 7 is registered at app.py:1" in stall.err
    assert not stall.master.all(Ready)


@pytest.mark.parametrize("mode", ["blocking", "script", "app"])
async def test_a_handler_that_leaves_ends_a_blocking_program(
    stall: Stall, mode: str
) -> None:
    await start_with_handlers(
        stall,
        mode,
        """
        @pymule.signal(9)
        def leave(number):
            raise SystemExit(number)
        """,
    )
    await stall.listens()

    stall.master.send(Signal(9))

    assert await stall.end() == 9
    assert stall.master.all(Handled) == [Handled(9, Outcome.DONE)]


async def test_a_refused_handler_of_an_application_is_raised_in_it(
    stall: Stall,
) -> None:
    stall.master.refusals["plain"] = SignalConflictError(7, "app.py:1", "hears.py:5")
    stall.write(
        "hears.py",
        """
        import pymule
        try:
            @pymule.signal(7)
            def plain(number): pass
        except pymule.SignalConflictError as exc:
            print("refused", exc.number)
        """,
    )
    await stall.start(None, "hears")

    await stall.ready()
    await stall.printed("refused 7")


# The master's death, draining, stacks


@MODES
async def test_a_mule_does_not_outlive_its_link(stall: Stall, mode: str) -> None:
    await start_echo(stall, mode)
    await stall.ready()
    assert stall.master.connection is not None

    stall.master.connection.abort()
    assert stall.process is not None
    stall.process.link.close()

    assert await _end_without_link(stall) == ORPHANED


async def _end_without_link(stall: Stall) -> int:
    await wait_until(lambda: stall.process and stall.process.returncode is not None)
    assert stall.process is not None
    assert stall.process.returncode is not None
    stall.status = stall.process.returncode
    return stall.status


async def test_a_mule_whose_master_has_died_already_does_not_start() -> None:
    variable = '{"title": "", "master": 1, "link": 0, "board": 0, "stacks": 0}'

    process = await asyncio.create_subprocess_exec(
        *MULE_COMMAND, env={**os.environ, "PYMULE_MULE": variable}, cwd=ROOT
    )

    assert await process.wait() == ORPHANED


FOSTER_MASTER = """
import json, os, subprocess, sys, time
link, board, stacks = map(int, sys.argv[1:])
mule = {
    "mule": 3, "name": "busy", "title": "pymule: mule 3 busy", "link": link,
    "board": board, "stacks": stacks, "master": os.getpid(),
}
env = {**os.environ, "PYMULE_MULE": json.dumps(mule)}
command = [sys.executable, "-m", "pymule.mule"]
process = subprocess.Popen(command, env=env, pass_fds=(link, board, stacks))
print(process.pid, flush=True)
time.sleep(1000)
"""


async def test_a_mule_dies_with_its_master_whatever_it_is_blocked_in(
    stall: Stall,
) -> None:
    stall.write("block.py", "import time\ndef main():\n    time.sleep(1000)\n")
    paths = [str(stall.cwd), str(ROOT)]
    stall.master.mule |= {"program": "block:main", "python_path": paths}
    # The test keeps the other end, so that only the kernel tells of the death.
    link, their_link = socket.socketpair()
    link.setblocking(False)  # noqa: FBT003  (the standard library's)
    await stall.master.connect(link)
    board, stacks = os.memfd_create("board"), os.memfd_create("stacks")
    os.ftruncate(board, BOARD_BYTES)
    fds = (their_link.fileno(), board, stacks)
    foster_master = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FOSTER_MASTER,
        *map(str, fds),
        pass_fds=fds,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert foster_master.stdout is not None
    pidfd = os.pidfd_open(int(await foster_master.stdout.readline()))
    await stall.ready()

    foster_master.kill()
    await foster_master.wait()

    await wait_until(lambda: select.select([pidfd], [], [], 0)[0])
    their_link.close()
    for fd in (board, stacks, pidfd):
        os.close(fd)
    assert stall.master.connection is not None
    stall.master.connection.abort()
    await stall.master.connection.wait_closed()


@MODES
async def test_a_drained_mule_finishes_what_it_has(stall: Stall, mode: str) -> None:
    await start_echo(stall, mode)
    ids = stall.master.submit(b"one")
    await stall.printed("one")

    stall.master.send(Drain())
    await wait_until(lambda: stall.master.acked == ids)
    stall.kill(signal.SIGTERM)

    assert await stall.end() == 0


@pytest.mark.parametrize(
    "blocked_in", ["time.sleep(1000)", "re.match('(a+)+b', 'a' * 64)"]
)
@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_stacks_are_written_even_by_a_mule_blocked_in_c(
    stall: Stall, blocked_in: str, kind: str
) -> None:
    stall.write(
        "block.py",
        f"""
        import re, time
        {kind} main():
            print("about to block")
            {blocked_in}
        """,
    )
    await stall.start("block:main")
    await stall.printed("about to block")

    stall.kill(STACKS_SIGNAL)
    await wait_until(lambda: "in main" in stall.stacks)

    assert "block.py" in stall.stacks


async def test_the_stacks_of_tasks_are_written_when_the_master_asks(
    stall: Stall,
) -> None:
    stall.write("echo.py", ASYNC_ECHO)
    await stall.start("echo:main")
    await wait_until(lambda: stall.master.limits[0], within=SLOW)

    stall.master.send(Stacks())
    await wait_until(lambda: "pymule program" in stall.stacks)

    assert "echo.py" in stall.stacks
    # In good order, for it to tell which of its lines were run.
    stall.kill(signal.SIGTERM)
    assert await stall.end() == 0


def _title(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_the_title_says_what_the_process_is(stall: Stall) -> None:
    await start_echo(stall, "async")
    await stall.ready()
    assert stall.process is not None

    title = _title(stall.process.pid)

    assert title.strip(b"\0") == b"pymule: mule 3 busy"


async def test_more_than_the_limit_ends_the_mule(stall: Stall) -> None:
    await start_echo(stall, "blocking")
    await wait_until(lambda: stall.master.limits[0], within=SLOW)

    stall.master.send(Deliver(1, 2, 0, 1, b"mule", b"", b"\1\0\0\0\1\0\0\0ab"))

    assert await stall.end() == ORPHANED
    assert "the limit is" in str(stall.master.all(Close)[0].value["reason"])
