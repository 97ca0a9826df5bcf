"""From an inherited link to a running program, and to the end of it.

An ``async def`` program shares its loop with the link. Any other runs in the main
thread, where Unix signals arrive, and the link in a thread beside it. A mule without
a program imports the application and waits for signals.
"""

import asyncio
import gc
import importlib
import inspect
import io
import os
import signal
import socket
import sys
import threading
import traceback
import types
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

import uvloop

from pymule.errors import RefusedError
from pymule.hooks import hooks
from pymule.mule import api
from pymule.mule.hands import describe_error
from pymule.mule.inherited import EXIT_ORPHANED, Inherited
from pymule.mule.process import introduce, set_runtime
from pymule.mule.runtime import Runtime
from pymule.sansio.frame import DEFAULT_MAX_FRAME_BYTES
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session
from pymule.sansio.verbs import Close, Hello, JsonObject, Welcome
from pymule.scoreboard import Scoreboard
from pymule.verdicts import verdict_behind

__all__ = ("be_mule", "main")

# A script that never asks for a message is taken for ready after so many seconds.
_READY_S: Final = 1.0
_STEPS: Final = (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await"))


def main() -> int:
    """Be the mule that ``PYMULE_MULE`` describes; return the exit status."""
    inherited = Inherited.from_environ(os.environ)
    if not inherited.tie_to_master():
        return EXIT_ORPHANED
    return be_mule(inherited)


def be_mule(inherited: Inherited, *, is_forked: bool = False) -> int:
    """Be a mule with what it inherited; return the exit status."""
    session = Session(Role.MULE, Role.MASTER)
    sock = socket.socket(fileno=inherited.link)
    # The master answers while the rest is done.
    _say_hello(session, sock)
    inherited.settle()
    board = Scoreboard(inherited.board)
    board.sign()
    if not is_forked:
        # The program's garbage is looked for, among what comes from here on. One that
        # is forked has it as its forkserver, and what that imported, left it.
        gc.freeze()
        gc.enable()
    mule = _welcomed(session, sock)
    # One that is forked had another parent. The master says WELCOME to its children.
    if is_forked and not inherited.tie_to_master():
        return EXIT_ORPHANED
    return _Mule(session, sock, board, mule, inherited.stacks).run()


def _say_hello(session: Session, sock: socket.socket) -> None:
    sock.setblocking(True)  # noqa: FBT003  (the standard library's signature)
    hello: JsonObject = {"protocol": list(PROTOCOL_VERSIONS), "client": "", "name": ""}
    sock.sendall(session.pack(Hello(hello)))


def _welcomed(session: Session, sock: socket.socket) -> JsonObject:
    """Return what the master tells this mule about itself."""
    while True:
        data = sock.recv(65_536)
        if not data:
            os._exit(EXIT_ORPHANED)
        for verb in session.receive_data(data):
            if isinstance(verb, Close):
                raise SystemExit(f"the master refused this mule: {verb.value}")
            if isinstance(verb, Welcome):
                limit = verb.value.get("max_frame_bytes", DEFAULT_MAX_FRAME_BYTES)
                session.allow_frames(int(str(limit)))
                mule = verb.value["mule"]
                if not isinstance(mule, dict):
                    raise AssertionError("WELCOME to a mule describes it")  # noqa: TRY004  (ours)
                sock.setblocking(False)  # noqa: FBT003  (as above)
                return mule


class _Mule:
    """The program of this process, and its link."""

    def __init__(
        self,
        session: Session,
        sock: socket.socket,
        board: Scoreboard,
        mule: JsonObject,
        stacks: int,
    ) -> None:
        self._session = session
        self._sock = sock
        self._board = board
        self._mule = mule
        self._stacks = stacks
        self._runtime: Runtime | None = None
        # What a program for uWSGI needs besides.
        self._compat: types.ModuleType | None = None
        self._was_asked_to_stop = False

    def run(self) -> int:
        """Load and run the program; return the exit status."""
        program, app = self._mule.get("program"), self._mule.get("app")
        introduce(int(str(self._mule["id"])), self._texts("farms"))
        paths = self._texts("python_path")
        # A forkserver has put them there.
        if sys.path[: len(paths)] != paths:
            sys.path[:0] = paths
        threading.excepthook = self._thread_raised
        if self._mule.get("uwsgi"):
            # By its name: it is on a floor above this one.
            self._compat = importlib.import_module("pymule.compat.mules")
            self._compat.prepare(self._mule)
        path = None if program is None else str(program)
        try:
            target = self._load(path)
        except BaseException as exc:  # noqa: BLE001  (the user's code)
            return self._failed_to_load(exc)
        _keep_what_was_loaded()
        if path is None:
            return self._run_blocking(lambda: self._attend(str(app) if app else None))
        if target is None:
            from pathlib import Path  # noqa: PLC0415  (3 ms, which others save)

            script = Path(path).absolute()
            sys.path.insert(0, str(script.parent))
            return self._run_blocking(lambda: _run_script(path, str(script)))
        if inspect.iscoroutinefunction(target):
            return self._run_async(target())
        return self._run_blocking(target, is_loaded=True)

    def _load(self, path: str | None) -> Callable[[], object] | None:
        """Import what comes before the program, and the program if it is a module."""
        for name in self._texts("preload"):
            importlib.import_module(name)
        if path is None:
            return None
        sys.argv = [path]
        target = None if path.endswith(".py") else _load(path)
        hooks.run()
        return target

    def _texts(self, key: str) -> list[str]:
        found = self._mule.get(key, [])
        if not isinstance(found, list):
            raise AssertionError("a JSON list")  # noqa: TRY004  (ours)
        return [str(text) for text in found]

    # An asyncio program, on the loop of the link

    def _run_async(self, program: Coroutine[object, object, object]) -> int:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._with_link(program))

    async def _with_link(self, program: Coroutine[object, object, object]) -> int:
        runtime = await self._connect(is_blocking=False)
        try:
            await runtime.signals.register_noted()
        except RefusedError as exc:
            program.close()
            return await self._finish(runtime, exc, None)
        if self._compat is not None:
            self._compat.begin(is_loaded=False)
        loop = asyncio.get_running_loop()
        # In a blocking mule the tasks are the link's, and of no interest.
        runtime.link.on_stacks = self._write_task_stacks
        task = loop.create_task(_outcome(program), name="pymule program")
        loop.add_signal_handler(signal.SIGTERM, self._stop_task, task)
        runtime.link.ready()
        try:
            error = await task
        except asyncio.CancelledError as exc:
            if not self._was_asked_to_stop:
                return await self._finish(runtime, exc, task)
            await runtime.close(None, is_done=False)
            return 0
        return await self._finish(runtime, error, task)

    def _stop_task(self, task: asyncio.Task[BaseException | None]) -> None:
        self._was_asked_to_stop = True
        task.cancel()

    # A blocking program, in the main thread

    def _run_blocking(
        self, program: Callable[[], object], *, is_loaded: bool = False
    ) -> int:
        loop = uvloop.new_event_loop()
        started: Future[Runtime] = Future()
        link = threading.Thread(
            target=self._run_link, args=(loop, started), name="pymule link", daemon=True
        )
        link.start()
        runtime = started.result()
        error = self._register_noted(runtime, loop)
        if is_loaded and error is None:
            runtime.link.ready()
        elif self._mule.get("program") is not None:
            loop.call_soon_threadsafe(loop.call_later, _READY_S, runtime.link.ready)
        _nudge_at_signals(runtime)
        signal.signal(signal.SIGTERM, self._raise_exit)
        try:
            if error is None:
                if self._compat is not None:
                    self._compat.begin(is_loaded=is_loaded)
                program()
                _join_threads()
        except BaseException as exc:  # noqa: BLE001  (the user's code)
            error = exc
        runtime.end_waits()
        finishing = self._finish(runtime, error, threading.current_thread())
        status = asyncio.run_coroutine_threadsafe(finishing, loop).result()
        # A thread that is inside the loop when the interpreter goes takes it down.
        loop.call_soon_threadsafe(loop.stop)
        link.join()
        return status

    def _register_noted(
        self, runtime: Runtime, loop: asyncio.AbstractEventLoop
    ) -> BaseException | None:
        """Register the handlers of the program's module; return what was refused."""
        registering = runtime.signals.register_noted()
        return asyncio.run_coroutine_threadsafe(registering, loop).exception()

    def _attend(self, app: str | None) -> None:
        """Be a mule for signals: load the application, run its handlers."""
        runtime = self._runtime
        if runtime is None:
            raise AssertionError("connected before")
        if app is not None:
            importlib.import_module(app)
            _keep_what_was_loaded()
        hooks.run()
        runtime.link.ready()
        if self._compat is not None:
            self._compat.attend()
        while True:
            runtime.signals.wait_blocking(None)

    def _run_link(
        self, loop: asyncio.AbstractEventLoop, started: "Future[Runtime]"
    ) -> None:
        if sys.version_info < (3, 12):
            # In a thread that is traced, by coverage or a debugger, CPython 3.11
            # repeats an instruction for ever while a Unix signal waits for the main
            # thread, which nobody wakes then.
            sys.settrace(None)
        asyncio.set_event_loop(loop)
        started.set_result(loop.run_until_complete(self._connect(is_blocking=True)))
        loop.run_forever()
        loop.close()

    def _raise_exit(self, signum: int, frame: types.FrameType | None) -> None:
        del signum, frame
        self._was_asked_to_stop = True
        raise SystemExit(0)

    # Both

    async def _connect(self, *, is_blocking: bool) -> Runtime:
        runtime = Runtime(
            asyncio.get_running_loop(),
            self._board,
            self._mule,
            api.running_hands,
            is_blocking=is_blocking,
        )
        runtime.link.on_orphaned = _exit_orphaned
        await runtime.link.connect(self._session, self._sock)
        self._runtime = runtime
        set_runtime(runtime)
        return runtime

    async def _finish(
        self, runtime: Runtime, error: BaseException | None, owner: object
    ) -> int:
        """Tell the master how the program ended; return the exit status.

        Args:
            runtime: To close.
            error: What the program raised.
            owner: Its task or thread.
        """
        if error is None:
            await runtime.close(None)
            return 0
        if isinstance(error, SystemExit):
            # Of its own accord and without an error: as good as a return.
            is_done = not self._was_asked_to_stop and not error.code
            await runtime.close(None, is_done=is_done)
            return _exit_status(error)
        traceback.print_exception(error)
        if verdict_behind(error) is not None:
            # Without one, the master takes what was in hand for what killed this mule.
            runtime.hands.owner_failed(owner, error)
        await runtime.close(describe_error(error), is_done=False)
        return 1

    def _failed_to_load(self, error: BaseException) -> int:
        traceback.print_exception(error)
        farewell = Close({"error": describe_error(error)})
        with suppress(OSError):
            self._sock.sendall(self._session.pack(farewell))
        return _exit_status(error) if isinstance(error, SystemExit) else 1

    def _thread_raised(self, args: threading.ExceptHookArgs) -> None:
        threading.__excepthook__(args)
        if self._runtime is not None and args.thread and args.exc_value:
            self._runtime.hands.owner_failed(args.thread, args.exc_value)

    def _write_task_stacks(self) -> None:
        """Write where each asyncio task waits; threads are written by faulthandler."""
        if self._runtime is None:
            raise AssertionError("called by it")
        tasks = asyncio.all_tasks(self._runtime.link.loop)
        text = "".join(line for task in tasks for line in _stack_of(task))
        with suppress(OSError):
            os.write(self._stacks, text.encode(errors="backslashreplace"))


def _stack_of(task: asyncio.Task[object]) -> Iterator[str]:
    """Yield where *task* waits, outermost first, as a traceback would show it.

    Its own ``print_stack`` shows the outermost frame only.
    """
    yield f"Task {task.get_name()!r} (most recent call last):\n"
    step: object = task.get_coro()
    while step is not None:
        # A coroutine, a generator or an asynchronous generator; or a future at last.
        frame, step = next(
            (
                (getattr(step, f"{kind}_frame"), getattr(step, inner))
                for kind, inner in _STEPS
                if hasattr(step, inner)
            ),
            (None, None),
        )
        if frame is not None:
            yield from traceback.format_stack(frame, limit=1)


def _nudge_at_signals(runtime: Runtime) -> None:
    """Have each Unix signal noticed by the loop of the link, in its thread."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def came() -> None:
        os.read(reader, 4096)
        runtime.nudge_main_thread()

    loop = runtime.link.loop
    loop.call_soon_threadsafe(loop.add_reader, reader, came)


async def _outcome(
    program: Coroutine[object, object, object],
) -> BaseException | None:
    """Run *program*; return what it raised, so that the task itself never fails."""
    try:
        await program
    except asyncio.CancelledError:
        raise
    except BaseException as exc:  # noqa: BLE001  (the user's code)
        return exc
    return None


def _load(program: str) -> Callable[[], object]:
    """Return the callable that ``pkg.mod:name`` names.

    Raises:
        ImportError: There is no such module, or nothing of that name in it.
        TypeError: It cannot be called.
    """
    module_name, _, name = program.partition(":")
    target: object = importlib.import_module(module_name)
    for part in name.split("."):
        try:
            target = getattr(target, part)
        except AttributeError as exc:
            raise ImportError(f"{module_name} has no {name!r}") from exc
    if not callable(target):
        raise TypeError(f"{program} is {type(target).__name__}, which cannot be called")
    return target


def _keep_what_was_loaded() -> None:
    """Have no search for garbage go through the application again; it stays."""
    gc.collect()
    gc.freeze()


def _run_script(path: str, script: str) -> None:
    """Run the file *path* as ``__main__``; *script* is the whole of its path."""
    with io.open_code(script) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(code, module.__dict__)  # noqa: S102  (the program that the file names)


def _join_threads() -> None:
    """Wait for the threads of the program, as python does at the end of a script."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _exit_status(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    sys.stderr.write(f"{error.code}\n")
    return 1


def _exit_orphaned() -> None:
    os._exit(EXIT_ORPHANED)
