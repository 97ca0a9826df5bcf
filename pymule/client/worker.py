"""A worker: a process, such as a web server's, that runs handlers of signals.

It has a connection of its own, registers over it what the decorators have noted, and
registers it anew with the next master.
"""

import asyncio
import concurrent.futures
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from pymule.client.aio import Client
from pymule.errors import ConnectionLostError, RefusedError
from pymule.handlers import Handler, registry, run, run_async
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import Handled, Listen, Signal

__all__ = ("Worker", "start_worker", "worker")


class Worker:
    """This process, as one that runs handlers of signals while the block lasts.

    An ``async def`` handler is a task on the loop in which the block was entered, a
    ``def`` runs in a thread, one at a time.

    Args:
        socket: Path of the master's socket; default ``PYMULE_SOCKET``, then the
            default of ``pymuled``.
        name: What ``pymule status`` calls it.
    """

    def __init__(
        self, socket: str | os.PathLike[str] | None = None, *, name: str = ""
    ) -> None:
        self._client = Client(socket, name=name or f"worker {os.getpid()}")
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "pymule handlers")
        # Whether its thread runs a handler: the next one would have to wait.
        self._is_executing = False
        self._tasks: set[asyncio.Task[None]] = set()
        # How many masters it has had: an outcome is for the one that sent the signal.
        self._masters = 1
        self.number = 0

    async def __aenter__(self) -> Self:
        """Connect, and register what the decorators have noted.

        Raises:
            MasterUnavailableError: Nobody answers at the socket.
            RefusedError: The master refused a handler.
        """
        self._client.on_signal = self._raised
        await self._client.__aenter__()
        try:
            await self._register()
        except BaseException:
            await self._client.close()
            raise
        self._client.on_greeted = self._greeted_again
        registry.on_added = self._added
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Run nothing more; what runs is not waited for."""
        registry.on_added = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._executor.shutdown(wait=False)
        await self._client.close()

    # Registering

    async def _register(self) -> None:
        for handler in list(registry.handlers):
            await self._register_one(handler)
        self._listen()

    async def _register_one(self, handler: Handler) -> None:
        question = handler.question()
        answer = await self._client.call(str(question.pop("method")), **question)
        registry.assigned(handler, int(str(answer["signal"])))
        self.number = int(str(answer["holder"]).removeprefix("worker"))

    def _greeted_again(self) -> None:
        """Another master, or the same one again."""
        self._masters += 1
        self._own(self._register_again())

    async def _register_again(self) -> None:
        try:
            for handler in list(registry.handlers):
                await self._is_accepted(handler)
        except ConnectionLostError:
            # The next greeting is another chance.
            return
        self._listen()

    async def _is_accepted(self, handler: Handler) -> bool:
        """Register *handler*; complain if the master refuses it."""
        try:
            await self._register_one(handler)
        except RefusedError as exc:
            sys.stderr.write(f"pymule: {handler.name} is not registered: {exc}\n")
            return False
        return True

    def _added(self, handler: Handler) -> None:
        """A decorator noted one more.

        Raises:
            RefusedError: The master refused it, and this is another thread.
        """
        if threading.get_ident() == self._thread:
            self._own(self._register_late(handler))
            return
        asyncio.run_coroutine_threadsafe(
            self._register_one(handler), self._loop
        ).result()
        self._loop.call_soon_threadsafe(self._listen)

    async def _register_late(self, handler: Handler) -> None:
        try:
            if not await self._is_accepted(handler):
                registry.remove(handler)
        except ConnectionLostError:
            # It is noted, and registered with the next master.
            return
        self._listen()

    def _listen(self) -> None:
        """Tell the master, unless a thread is busy, that a handler could run.

        Also when it was told before: it may not have known this process then.
        """
        if not self._is_executing:
            self._client.say(Listen(is_listening=True))

    def _own(self, coroutine: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Running

    def _raised(self, signal: Signal) -> None:
        master = self._masters
        handler = registry.by_number.get(signal.number)
        if handler is None:
            self._handled(signal, Outcome.RETURNED, master)
            self._listen()
        elif handler.is_async:
            self._own(self._run_async(handler, signal, master))
            self._listen()
        else:
            self._is_executing = True
            future = self._executor.submit(
                run,
                handler,
                signal.number,
                signal.paths,
                is_complete=signal.is_complete,
            )
            future.add_done_callback(lambda done: self._ran(signal, done, master))

    async def _run_async(self, handler: Handler, signal: Signal, master: int) -> None:
        outcome = Outcome.RETURNED
        try:
            outcome = await run_async(
                handler, signal.number, signal.paths, is_complete=signal.is_complete
            )
        finally:
            self._handled(signal, outcome, master)

    def _ran(self, signal: Signal, done: "Future[Outcome]", master: int) -> None:
        outcome = Outcome.FAILED if done.exception() else done.result()
        try:
            self._loop.call_soon_threadsafe(self._ended, signal, outcome, master)
        except RuntimeError:
            # The loop was closed meanwhile; there is nobody to tell.
            return

    def _ended(self, signal: Signal, outcome: Outcome, master: int) -> None:
        self._is_executing = False
        self._handled(signal, outcome, master)
        self._listen()

    def _handled(self, signal: Signal, outcome: Outcome, master: int) -> None:
        """Tell how a handler went, unless that master is gone.

        The next one has not sent the signal, and takes an outcome for an error.
        """
        if master == self._masters:
            self._client.say(Handled(signal.number, outcome))


def worker(socket: str | os.PathLike[str] | None = None, *, name: str = "") -> Worker:
    """Return this process as a worker, for ``async with``; see :class:`Worker`."""
    return Worker(socket, name=name)


def start_worker(
    socket: str | os.PathLike[str] | None = None, *, name: str = ""
) -> int:
    """Make this process a worker until it ends, with a thread that has a loop.

    Returns:
        Its number, N in the target ``workerN``.

    Raises:
        MasterUnavailableError: Nobody answers at the socket.
        RefusedError: The master refused a handler.
    """
    started: Future[int] = Future()

    async def serve() -> None:
        try:
            entered = await Worker(socket, name=name).__aenter__()
        except BaseException as exc:  # noqa: BLE001  (raised in the caller)
            started.set_exception(exc)
            return
        started.set_result(entered.number)
        await asyncio.get_running_loop().create_future()

    threading.Thread(
        target=lambda: asyncio.run(serve()), name="pymule worker", daemon=True
    ).start()
    return started.result()
