"""Signals in a mule: registering handlers, and running them where they belong.

An ``async def`` handler is a task on the loop of the link. A ``def`` is run by a thread
of a blocking program that waits, in ``mule_get_msg`` or ``signal_wait``, as in uWSGI;
an asyncio program has no such thread, so there one thread runs them one by one. A mule
*listens* while it could run a handler at once; what comes too late for that goes back
to the master, which gives it to another or sends it again.
"""

import asyncio
import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from pymule.handlers import Handler, Registry, run, run_async
from pymule.mule.inbox import Job, ThreadWaiter
from pymule.mule.link import MuleLink
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import Handled, JsonObject, Signal

__all__ = ("MuleSignals",)


class _SignalJob(Job):
    """A handler to run in the thread that was waiting."""

    def __init__(
        self, signals: "MuleSignals", handler: Handler, signal: Signal
    ) -> None:
        self.signals = signals
        self.handler = handler
        self.signal = signal

    def run(self) -> int:
        """Run it, tell how it went, return the number of the signal."""
        number = self.signal.number
        # If it ends the program, it has run all the same.
        outcome = Outcome.DONE
        try:
            outcome = run(
                self.handler,
                number,
                self.signal.paths,
                is_complete=self.signal.is_complete,
            )
        finally:
            self.signals.handled(number, outcome)
        self.signals.seen(number)
        return number

    def give_back(self) -> None:
        """The thread does not wait any more."""
        self.signals.handled(self.signal.number, Outcome.RETURNED)


class _SignalWaiter(ThreadWaiter):
    """A thread in ``signal_wait``, for signal *wanted* or for any."""

    def __init__(self, wanted: int | None) -> None:
        super().__init__()
        self.wanted = wanted


class _SeenJob(Job):
    """News for a thread in ``signal_wait``: the signal was handled elsewhere."""

    def __init__(self, signals: "MuleSignals", number: int, *, is_kept: bool) -> None:
        self.signals = signals
        self.number = number
        self.is_kept = is_kept

    def run(self) -> int:
        return self.number

    def give_back(self) -> None:
        """The next one to wait wants to know, if the waiting is all that it does."""
        if self.is_kept:
            self.signals.seen(self.number, is_kept=True)


def _never() -> bool:
    return False


class MuleSignals:
    """The handlers of one mule at work.

    Args:
        link: To the master.
        registry: The handlers.
        is_blocking: Whether handlers run in threads of the program that wait.
    """

    def __init__(
        self, link: MuleLink, registry: Registry, *, is_blocking: bool
    ) -> None:
        self._link = link
        self._registry = registry
        self._is_blocking = is_blocking
        # Threads that wait and could run a handler.
        self._threads: deque[ThreadWaiter] = deque()
        # Coroutines in signal_wait, with the number that each waits for.
        self._waits: dict[asyncio.Future[int], int | None] = {}
        # Signals without a handler that came while nobody waited for them.
        self._unseen: dict[int, None] = {}
        # Coroutines that wait for messages and want no signals meanwhile.
        self._deaf = 0
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._is_executing = False
        self._tasks: set[asyncio.Task[None]] = set()
        link.on_signal = self._raised
        link.is_listening = self._is_listening

    # Registering

    async def register_noted(self) -> None:
        """Register what was noted so far, and from now on what is added.

        Raises:
            RefusedError: The master refused one.
        """
        self._registry.on_added = self._added
        for handler in list(self._registry.handlers):
            answer = await asyncio.wrap_future(self._link.ask(handler.question()))
            self._registered(handler, answer)

    def _added(self, handler: Handler) -> None:
        answer = self._link.ask(handler.question())
        if threading.get_ident() != self._link.thread:
            self._registered(handler, answer.result())
            return
        # The loop of the link must not wait for what the link brings.
        answer.add_done_callback(lambda done: self._registered_late(handler, done))

    def _registered_late(self, handler: Handler, answer: "Future[JsonObject]") -> None:
        error = answer.exception()
        if error is None:
            self._registered(handler, answer.result())
            return
        self._registry.remove(handler)
        self._link.loop.call_exception_handler(
            {
                "message": f"handler {handler.name} is not registered",
                "exception": error,
            }
        )

    def _registered(self, handler: Handler, answer: JsonObject) -> None:
        self._registry.assigned(handler, int(str(answer["signal"])))
        self._link.flush_soon()

    # Listening

    def _is_listening(self) -> bool:
        """Whether a handler could run at once; under the lock of the link."""
        if not self._registry.by_number:
            return False
        if self._is_blocking:
            return any(waiter.is_idle for waiter in self._threads)
        return not self._is_executing and not self._deaf

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Run no handlers while the caller waits."""
        self._deaf += 1
        try:
            yield
        finally:
            self._deaf -= 1
            self._link.flush_soon()

    def hear(self, waiter: ThreadWaiter) -> None:
        """A thread waits and could run a handler; under the lock."""
        self._threads.append(waiter)

    def forget(self, waiter: ThreadWaiter) -> None:
        """A thread does not wait any more; under the lock."""
        if waiter in self._threads:
            self._threads.remove(waiter)

    # Running

    def _raised(self, signal: Signal) -> None:
        """A signal came; on the loop of the link."""
        handler = self._registry.by_number.get(signal.number)
        is_deaf = self._deaf and not self._is_blocking
        if handler is None or is_deaf or self._link.is_draining:
            self.handled(signal.number, Outcome.RETURNED)
        elif handler.is_async:
            task = self._link.loop.create_task(self._run_async(handler, signal))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif handler.function is None:
            self.handled(signal.number, Outcome.DONE)
            self.seen(signal.number, is_kept=True)
        elif self._is_blocking:
            self._run_in_waiting_thread(handler, signal)
        else:
            self._run_in_executor(handler, signal)

    async def _run_async(self, handler: Handler, signal: Signal) -> None:
        outcome = Outcome.RETURNED
        try:
            outcome = await run_async(
                handler, signal.number, signal.paths, is_complete=signal.is_complete
            )
        finally:
            self.handled(signal.number, outcome)
        self.seen(signal.number)

    def _run_in_waiting_thread(self, handler: Handler, signal: Signal) -> None:
        job = _SignalJob(self, handler, signal)
        with self._link.lock:
            waiter = next((one for one in self._threads if one.is_idle), None)
            if waiter is not None:
                self._threads.remove(waiter)
                waiter.give(job)
        if waiter is None:
            job.give_back()

    def _run_in_executor(self, handler: Handler, signal: Signal) -> None:
        if self._is_executing:
            self.handled(signal.number, Outcome.RETURNED)
            return
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(1, "pymule handlers")
        self._is_executing = True
        job = _SignalJob(self, handler, signal)
        future = self._executor.submit(self._execute, job)
        future.add_done_callback(lambda _done: None)

    def _execute(self, job: _SignalJob) -> None:
        try:
            job.run()
        finally:
            self._link.loop.call_soon_threadsafe(self._executed)

    def _executed(self) -> None:
        self._is_executing = False
        self._link.flush_soon()

    def handled(self, number: int, outcome: Outcome) -> None:
        """Tell the master how a handler went; from any thread."""
        self._link.send(Handled(number, outcome))

    # Waiting

    def seen(self, number: int, *, is_kept: bool = False) -> None:
        """Let those know who wait for signal *number*; from any thread.

        Args:
            number: Of the signal.
            is_kept: If nobody waits, the next one who does is told at once.
        """
        with self._link.lock:
            waits = [
                wait
                for wait, wanted in self._waits.items()
                if wanted in (None, number) and not wait.done()
            ]
            waiters = [
                waiter
                for waiter in self._threads
                if isinstance(waiter, _SignalWaiter)
                and waiter.is_idle
                and waiter.wanted in (None, number)
            ]
            for waiter in waiters:
                self._threads.remove(waiter)
                waiter.give(_SeenJob(self, number, is_kept=is_kept))
            if is_kept and not waits and not waiters:
                self._unseen[number] = None
        for wait in waits:
            with suppress(RuntimeError):
                # Its loop was closed meanwhile; nobody waits there.
                wait.get_loop().call_soon_threadsafe(_resolve, wait, number)

    def _take_unseen(self, wanted: int | None) -> int | None:
        """Return a signal that came before anybody waited; under the lock."""
        number = next(iter(self._unseen), None) if wanted is None else wanted
        if number not in self._unseen:
            return None
        del self._unseen[number]
        return number

    def _want(self, number: int | None) -> None:
        if number is not None and number not in self._registry.by_number:
            self._registry.add(number, "mules", None)

    async def wait(self, number: int | None) -> int:
        """Wait until a handler of signal *number*, or of any, has run here.

        Cancelling is safe: the signal is handled all the same.
        """
        self._want(number)
        wait: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with self._link.lock:
            if (unseen := self._take_unseen(number)) is not None:
                return unseen
            self._waits[wait] = number
        try:
            return await wait
        finally:
            with self._link.lock:
                del self._waits[wait]

    def wait_blocking(self, number: int | None, timeout: float | None = None) -> int:
        """Run handlers in this thread until that of signal *number*, or any, has run.

        Raises:
            TimeoutError: That was not within *timeout* seconds.
            SystemExit: The program is about to end.
        """
        self._want(number)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            seen = self.run_one(number, deadline)
            if seen is None:
                raise TimeoutError(f"no signal within {timeout} seconds")
            if seen >= 0 and number in (None, seen):
                return seen

    def run_one(
        self,
        wanted: int | None,
        deadline: float | None,
        *,
        unless: Callable[[], object] = _never,
    ) -> int | None:
        """Run one job; return its signal, -1 after a nudge, None after *deadline*.

        Args:
            wanted: Only to be told of this signal; others are run all the same.
            deadline: Monotonic seconds.
            unless: Do not wait if it is true. Asked under the lock under which threads
                are nudged, so that a nudge for what it tells is not missed.
        """
        waiter = _SignalWaiter(wanted)
        with self._link.lock:
            if self._link.is_ending:
                raise SystemExit
            if (unseen := self._take_unseen(wanted)) is not None:
                return unseen
            if unless():
                return -1
            self._threads.append(waiter)
        self._link.flush_soon()
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        was_woken = False
        try:
            was_woken = waiter.wait(left)
        finally:
            with self._link.lock:
                self.forget(waiter)
                job = waiter.job
            if not was_woken and job is not None:
                job.give_back()
        if self._link.is_ending:
            raise SystemExit
        if not was_woken:
            return None
        return -1 if job is None else job.run()

    def end_waits(self) -> None:
        """Let threads in ``signal_wait`` end; under the lock."""
        for waiter in [w for w in self._threads if isinstance(w, _SignalWaiter)]:
            self._threads.remove(waiter)
            waiter.wake()

    def nudge_main_thread(self) -> None:
        """Let the main thread, if it is in ``signal_wait``, look up; under the lock."""
        for waiter in [w for w in self._threads if isinstance(w, _SignalWaiter)]:
            if waiter.is_main:
                self._threads.remove(waiter)
                waiter.wake()

    async def close(self) -> None:
        """Let no handler outlive the program."""
        self._registry.on_added = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._executor is not None:
            self._executor.shutdown(wait=False)


def _resolve(wait: asyncio.Future[int], number: int) -> None:
    if not wait.done():
        wait.set_result(number)
