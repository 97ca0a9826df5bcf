"""The master: composes the machines, and turns their decisions into acts.

Nothing here blocks: a death, a verb, a deadline and a Unix signal are each one
synchronous call chain that ends in :meth:`Master._pump`, where the router says what
goes where. User code is never imported.

The order of a stop: refuse submits, let mules finish what they have in hand, TERM,
KILL, say how it went, close the socket. Until then clients are accepted, so that
``pymule status`` shows what the stop waits for and ``pymule stop --now`` can end it.
"""

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Final

from pymule.errors import ConfigError, DrainingError
from pymule.master.clients import Clients
from pymule.master.connections import PATIENCE, Connections
from pymule.master.control import Control
from pymule.master.filemon import FileMonitors
from pymule.master.functions import Functions
from pymule.master.generation import Generation
from pymule.master.listener import SocketClaim
from pymule.master.locks import LOCK_DEADLINE, Locks
from pymule.master.logs import LogSink, log
from pymule.master.mules import Mules
from pymule.master.notify import Notifier
from pymule.master.outflow import ROUTER_ALARMS, Outflow
from pymule.master.plan import Plan, farm_names
from pymule.master.reception import Reception
from pymule.master.replacing import replace_all
from pymule.master.signals import Signals
from pymule.master.ticker import Deadline, Ticker
from pymule.master.touch import TouchReload
from pymule.master.wallclock import WallClock
from pymule.sansio.functions import is_function
from pymule.sansio.link import Link, LinkId
from pymule.sansio.router import Router
from pymule.sansio.upkeep import Upkeep
from pymule.sansio.verbs import JsonObject
from pymule.version import VERSION

__all__ = ("Master",)

_LOGGER: Final = logging.getLogger("pymule.master")

_WATCHDOG: Final = "watchdog"

# A second SIGTERM or SIGINT within so many seconds says nothing new: timeout(1), shells
# and service managers send one to a process and another to its group.
_TWICE_S: Final = 1.0
# What a sender may have unanswered for one target.
_WINDOW_COUNT: Final = 16_384
_WINDOW_BYTES: Final = 8 * 1024 * 1024

LoadPlan = Callable[[], Plan]
"""Reads and checks the configuration again; raises ConfigError."""


class Master:
    """The daemon, from its socket to its last mule.

    Args:
        plan: What to be.
        claim: The socket to listen on; closed at the end.
        load_plan: For a reload.
        sink: Where the log goes, for ``pymule logs`` and to slow mules that flood it.
        notifier: The service manager.
        watchdog_s: How often the service manager wants to hear from us, or ``None``.
    """

    def __init__(
        self,
        plan: Plan,
        claim: SocketClaim,
        load_plan: LoadPlan,
        *,
        sink: LogSink | None = None,
        notifier: Notifier | None = None,
        watchdog_s: float | None = None,
    ) -> None:
        self.plan = plan
        self.router = Router()
        self.clients = Clients(self.router, self._welcome)
        self.started_at = time.monotonic()
        # What was wrong with the configuration at the last reload.
        self.config_error: str | None = None
        self._at_start = plan.at_start
        self._load_plan = load_plan
        self._notifier = notifier or Notifier(None)
        self._watchdog_s = watchdog_s
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: Ticker[Deadline] = Ticker(self._loop, self._due)
        self.locks = Locks(self.clients, self._ticker)
        self.filemon = FileMonitors(self._loop, self._file_changed)
        self.signals = self._make_signals()
        self.functions = self._make_functions()
        self.clients.on_function = self.functions.submitted
        self.mules = self._make_mules(sink)
        self.upkeep = Upkeep(self.router)
        self.outflow = Outflow(
            self.router, self.mules.links, self._ticker, self._pump, self._broke
        )
        self.clients.on_passed = self.outflow.pass_on
        self.connections = Connections(
            self._loop,
            self.clients,
            Control(self, sink),
            self._ticker,
            signals=self.signals,
            locks=self.locks,
            plan=lambda: self.plan,
            owner_of=self.mules.owner_of,
            pump=self._pump,
            own=self._own,
        )
        self._epoch = secrets.randbits(48)
        self._reception = Reception(self._loop, claim, self.connections.accepted)
        # Until then another SIGTERM is an echo of the last one.
        self._deaf_until = 0.0
        self._stopping: asyncio.Event = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._left_behind = 0
        # What ended the master, if nobody asked it to stop.
        self._fault: Exception | None = None
        self._touch = TouchReload(self.filemon, self._is_reloading, self.reload)

    def _is_reloading(self) -> bool:
        return self._reloading is not None

    def _make_signals(self) -> Signals:
        return Signals(
            self._ticker,
            self.filemon,
            lambda on_due: WallClock(self._loop, on_due),
            mules=lambda: list(self.plan.mules),
            farms=lambda: farm_names(self.plan),
            on_dispatched=self._dispatched,
        )

    def _make_mules(self, sink: LogSink | None) -> Mules:
        return Mules(
            self.router,
            self.signals,
            self._ticker,
            functions=self.functions,
            welcome=self._welcome,
            pump=self._pump,
            own=self._own,
            process_gone=self.locks.process_gone,
            is_congested=None if sink is None else sink.is_congested,
        )

    def _make_functions(self) -> Functions:
        return Functions(
            self.router,
            queue=lambda: self.plan.function,
            is_starting=lambda: self.mules.is_starting(time.monotonic()),
        )

    @property
    def socket_path(self) -> str:
        """Where clients find the master."""
        return self._reception.path

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``reloading`` or ``stopping``."""
        if self._stopping.is_set():
            return "stopping"
        if self._reloading is not None:
            return "reloading"
        if self.mules.is_coming_up:
            return "starting"
        return "running"

    # Life

    async def serve(self) -> bool:
        """Run until :meth:`stop`; tell whether the end was clean.

        Clean is: no mule had to be killed, and no message was left behind.

        Raises:
            JournalError: The journal cannot be used, or could not any more.
        """
        self._catch_signals()
        self._open_queues(self.plan)
        self.outflow.open(self.plan, self.upkeep)
        self._reception.open()
        log(
            _LOGGER,
            logging.INFO,
            "pymuled listens",
            version=VERSION,
            pid=os.getpid(),
            socket=self.socket_path,
            mules=len(self.plan.mules),
        )
        for spec in self.plan.mules.values():
            generation = self.mules.add(spec, self.plan.restarts)
            self.mules.current[spec.id] = generation
            self.mules.start(generation)
        self._touch.watch(self.plan.touch_reload)
        if self._watchdog_s is not None:
            self._feed_watchdog()
        self._own(self._announce())
        try:
            await self._stopping.wait()
            await self._stop()
        finally:
            await self._close()
        if self._fault is not None:
            raise self._fault
        return not self.mules.killed_count and not self._left_behind

    async def _announce(self) -> None:
        """Say READY when each mule is up or has failed once."""
        waits = [generation.started for generation in self.mules.current.values()]
        # A stop ends every generation, and with that these waits.
        if waits:
            await asyncio.wait(waits)
        await self.filemon.settled()
        if self._stopping.is_set():
            return
        up = sum(started.result() for started in waits)
        log(_LOGGER, logging.INFO, "pymuled ready", mules=len(waits), up=up)
        self._notifier.ready(f"{up} of {len(waits)} mules up")

    def _broke(self, error: Exception) -> None:
        """The journal cannot be written any more: nothing can be promised."""
        self._fault = error
        self.stop(at_once=True)

    def stop(self, *, at_once: bool = False) -> None:
        """Finish what is in hand and end; *at_once*, or asked again: kill."""
        if at_once or self._stopping.is_set():
            for generation in list(self.mules):
                self.mules.kill(generation)
        self._stopping.set()

    async def _stop(self) -> None:
        log(_LOGGER, logging.INFO, "pymuled stops")
        self._notifier.stopping()
        self.clients.is_draining = True
        # What waited for room would find it, be confirmed, and be lost.
        self.router.refuse_waiting(DrainingError())
        if self._reloading is not None:
            self._reloading.cancel()
        generations = list(self.mules)
        for generation in generations:
            self.mules.stop(generation)
        self._pump()
        for generation in generations:
            await generation.ended
        await self.mules.forkservers.ended()
        self._left_behind = self.outflow.left_behind()

    async def _close(self) -> None:
        self._reception.stop()
        self.signals.close()
        self._ticker.close()
        await self.filemon.close()
        # What is asked from now on would be answered, and not be in the journal.
        self.connections.deafen()
        await self.outflow.close()
        for peer in list(self.clients.peers.values()):
            if peer.connection is not None:
                peer.connection.close("the master stops")
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._notifier.close()
        self._reception.close()
        log(
            _LOGGER,
            logging.INFO,
            "pymuled stopped",
            killed=self.mules.killed_count,
            lost=self._left_behind,
        )

    def _own(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run *coroutine* as a task that is awaited at the end."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(_LOGGER, logging.ERROR, "task failed", exc=error)

    def _catch_signals(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(signum, self._stop_by_signal)
        self._loop.add_signal_handler(signal.SIGQUIT, lambda: self.stop(at_once=True))
        self._loop.add_signal_handler(signal.SIGHUP, self._touch.reload)
        # Not through the loop: uvloop keeps SIGCHLD for itself.
        signal.signal(signal.SIGCHLD, self._child_ended)

    def _child_ended(self, signum: int, frame: FrameType | None) -> None:
        """Reap an orphan that nobody else waits for; mules have their pidfd."""
        del signum, frame
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.mules.reap)

    def _stop_by_signal(self) -> None:
        now = time.monotonic()
        if now >= self._deaf_until:
            self._deaf_until = now + _TWICE_S
            self.stop()

    # Reload

    def reload(self, on_done: Callable[[str | None], None] | None = None) -> None:
        """Check the configuration, then replace mule by mule.

        Args:
            on_done: Called at the end with what went wrong, or ``None``.
        """
        if self._reloading is not None or self._stopping.is_set():
            log(_LOGGER, logging.WARNING, "reload refused", state=self.state)
            if on_done is not None:
                on_done(f"the master is {self.state}")
            return
        self._reloading = self._loop.create_task(self._reload(on_done), name="reload")
        self._reloading.add_done_callback(self._task_done)

    async def _reload(self, on_done: Callable[[str | None], None] | None) -> None:
        self._notifier.reloading()
        self._reception.look()
        problem: str | None = "the reload was interrupted"
        try:
            problem = await self._change_to(self._load_plan())
        except ConfigError as exc:
            problem = self.config_error = str(exc)
            log(_LOGGER, logging.ERROR, "configuration not changed", error=exc)
        finally:
            self._reloading = None
            self._notifier.ready("reloaded" if problem is None else "reload failed")
            if on_done is not None:
                on_done(problem)
            if not self._stopping.is_set():
                self._touch.reload_ended()

    def _file_changed(self, key: str, paths: list[str], is_complete: bool) -> None:  # noqa: FBT001  (as the monitors call it)
        """Act on a change of a path that is monitored."""
        if not self._touch.changed(key, paths):
            self.signals.changed(key, paths, is_complete=is_complete)

    async def _change_to(self, plan: Plan) -> str | None:
        """Become what *plan* says; return what went wrong.

        Raises:
            ConfigError: It needs a journal, and this master was started without one.
        """
        if plan.needs_journal and self.outflow.journal is None:
            raise ConfigError(
                "state_dir: found one since the start, and a queue that needs it;"
                " allowed: after a restart"
            )
        self.config_error = None
        self._open_queues(plan)
        self._warn_of_restart(plan)
        self.plan = plan
        self.functions.plan_changed()
        self.mules.epoch += 1
        self._touch.watch(plan.touch_reload)
        failed = await replace_all(self.mules, plan, self._pump)
        if failed is not None:
            problem = (
                f"mule {failed} did not start; it and those after it are as before"
            )
            log(_LOGGER, logging.ERROR, "reload stopped", mule=failed)
            self.config_error = problem
            return problem
        # Only now: until here they serve farms whose new mules were not there yet.
        for number in [n for n in self.mules.current if n not in plan.mules]:
            self.mules.retire(self.mules.current.pop(number))
        self._close_queues(plan)
        await self.filemon.settled()
        log(_LOGGER, logging.INFO, "reloaded", mules=len(plan.mules))
        return None

    def _warn_of_restart(self, plan: Plan) -> None:
        changed = [
            key
            for key, value in plan.at_start.items()
            if self._at_start.get(key, value) != value
        ]
        if changed:
            log(_LOGGER, logging.WARNING, "restart needed", keys=", ".join(changed))

    def _open_queues(self, plan: Plan) -> None:
        for name, queue in plan.queues.items():
            self.router.open_queue(name, queue.limits, queue.policy, queue.keeping)

    def _close_queues(self, plan: Plan) -> None:
        for name, queue in list(self.router.queues.items()):
            # Those of functions follow the mules that have them.
            if name in plan.queues or queue.is_closed or is_function(name):
                continue
            left = self.router.close_queue(name)
            if left:
                log(
                    _LOGGER,
                    logging.WARNING,
                    "messages without a mule",
                    target=name,
                    count=left,
                    reason="the reload took it away; they wait for its return",
                )
        self._pump()

    # Deadlines, and what the router has decided

    def _due(self, deadline: Deadline) -> None:
        kind, number = deadline
        if kind == _WATCHDOG:
            self._feed_watchdog()
        elif kind in PATIENCE:
            self.connections.due(kind, number)
        elif kind in ROUTER_ALARMS:
            self.router.alarm(ROUTER_ALARMS[kind], number)
            self._pump()
        elif kind == LOCK_DEADLINE:
            self.locks.due(number)
        elif not self.signals.due(kind, number):
            self.mules.due(kind, number)

    def _dispatched(self, link: LinkId) -> None:
        self.mules.links.dispatched(link)

    def _feed_watchdog(self) -> None:
        if self._watchdog_s is None:
            raise AssertionError("armed only with a watchdog")
        self._notifier.watchdog()
        self._ticker.arm((_WATCHDOG, 0), time.monotonic() + self._watchdog_s / 2)

    def _pump(self) -> None:
        """Do what the router has decided since the last time."""
        self.outflow.run()
        self.signals.flush()
        self.clients.flush_all()

    def _welcome(self) -> JsonObject:
        return {
            "epoch": self._epoch,
            "pid": os.getpid(),
            "version": VERSION,
            "max_frame_bytes": self.plan.max_frame_bytes,
            "window_count": _WINDOW_COUNT,
            "window_bytes": _WINDOW_BYTES,
            "allow_pickle": self.plan.allow_pickle,
        }

    # What status shows

    def generations(self) -> list[Generation]:
        """Return every mule that is, or was asked to stop and is not yet gone."""
        return list(self.mules)

    def link_of(self, generation: Generation) -> Link | None:
        """Return what the router knows of its process."""
        return self.mules.link_of(generation)

    def state_of(self, generation: Generation) -> str:
        """Return its state; ``failing`` for one that keeps dying."""
        if generation.life.is_failing(time.monotonic()):
            return "failing"
        if self.mules.is_waiting(generation):
            return "waiting"
        return generation.state.value
