"""The mules of the master: what becomes of each, decided by its life."""

import asyncio
import itertools
import logging
import random
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Final, assert_never

from pymule.errors import MuleSpawnError
from pymule.master.forkservers import FORKSERVER
from pymule.master.functions import Functions
from pymule.master.generation import Generation, MuleSpec, Process
from pymule.master.harakiri import Harakiri
from pymule.master.links import Links
from pymule.master.logs import log
from pymule.master.processes import Processes
from pymule.master.signals import Signals
from pymule.master.ticker import Deadline, Ticker
from pymule.master.turns import Turns
from pymule.sansio.failure import failure
from pymule.sansio.link import Link
from pymule.sansio.router import Router
from pymule.sansio.supervision import (
    ArmDeadline,
    DisarmDeadline,
    Drain,
    DumpStacks,
    Effect,
    Exit,
    GiveUp,
    Kill,
    LifeTimeouts,
    MuleLife,
    MuleState,
    RestartPolicy,
    Spawn,
    SpawnAt,
)
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import Drain as DrainVerb
from pymule.sansio.verbs import JsonObject, Stacks
from pymule.scoreboard import STACKS_SIGNAL

__all__ = ("Mules",)

_LOGGER: Final = logging.getLogger("pymule.master")

_LIFE: Final = "life"
_STARTS: Final = "starts"
_ENDS: Final = "ends"
# How long a mule that starts, or ends, may hold up others, in seconds.
_FRESH_START_S: Final = 2.0
_FRESH_END_S: Final = 0.25
_ENDING: Final = (MuleState.DRAINING, MuleState.STOPPING)
# Kills of mules that were asked to stop: then the stop was not clean.
_UNCLEAN: Final = ("stop timeout", "stopped at once")
# From SIGTERM to SIGKILL, at most, in seconds.
_KILL_AFTER_S: Final = 5.0


class Mules:
    """All generations of all mules; acts on what their lives and the router decide.

    Args:
        router: Has their messages.
        signals: Has their handlers.
        ticker: Has their deadlines.
        functions: Has what they can be called for.
        welcome: Returns the limits that WELCOME tells.
        pump: Sends what the router has decided; called at the end of each chain.
        own: Keeps a task that the master started until it is done.
        process_gone: Called with the pid of each process that ended.
        is_congested: Whether the log cannot take more lines of mules now.
    """

    def __init__(
        self,
        router: Router,
        signals: Signals,
        ticker: Ticker[Deadline],
        *,
        functions: Functions,
        welcome: Callable[[], JsonObject],
        pump: Callable[[], None],
        own: Callable[[Coroutine[object, object, None]], object],
        process_gone: Callable[[int], None],
        is_congested: Callable[[], bool] | None = None,
    ) -> None:
        self.current: dict[MuleId, Generation] = {}
        # Started by a reload, and not ready to take the place of another yet.
        self.arriving: list[Generation] = []
        self.retiring: list[Generation] = []
        self._router = router
        self._signals = signals
        self._functions = functions
        self._ticker = ticker
        self._pump = pump
        self._own = own
        self._process_gone = process_gone
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._processes = Processes(
            self._loop,
            ticker,
            self._numbers,
            on_started=self._spawned,
            on_failed=self._not_spawned,
            on_exited=self._exited,
            is_congested=is_congested or _never,
        )
        self.forkservers = self._processes.forkservers
        self.links = Links(
            self._loop,
            router,
            signals,
            ticker,
            Harakiri(router, signals, ticker, self._hung),
            functions=functions,
            welcome=welcome,
            pump=pump,
            on_ready=self._ready,
            on_drained=self._drained,
        )
        self._starts = Turns(_STARTS, _FRESH_START_S, ticker, self._begin)
        self._ends = Turns(_ENDS, _FRESH_END_S, ticker, self._end)
        self._generations: dict[int, Generation] = {}
        # Counts the reloads: a later one brings newer code.
        self.epoch = 0
        # Mules that had to be killed although they were asked to stop.
        self.killed_count = 0

    def __iter__(self) -> Iterator[Generation]:
        yield from self.current.values()
        yield from self.arriving
        yield from self.retiring

    def link_of(self, generation: Generation) -> Link | None:
        """Return what the router knows of the running process of *generation*."""
        if generation.current is None:
            return None
        return self._router.links.get(generation.current.link)

    # Lives

    def add(self, spec: MuleSpec, restarts: RestartPolicy) -> Generation:
        """Make a generation of a mule; it is not started yet."""
        timeouts = LifeTimeouts(
            start_timeout_s=spec.start_timeout_s,
            stop_timeout_s=spec.stop_timeout_s,
            kill_after_s=min(spec.stop_timeout_s, _KILL_AFTER_S),
        )
        life = MuleLife(restarts, timeouts)
        generation = Generation(next(self._numbers), spec, life, self.epoch)
        self._generations[generation.number] = generation
        return generation

    def start(self, generation: Generation) -> None:
        """Start its first process, when it is its turn."""
        self._signals.mule_expected(generation.spec.id)
        self._starts.ask(generation)

    def _begin(self, generation: Generation) -> None:
        """It is its turn to start, for the first time or again."""
        life, now = generation.life, time.monotonic()
        is_first = life.state is MuleState.DOWN
        effects = life.start(now) if is_first else life.deadline_passed(now)
        self._apply(generation, effects)

    @property
    def starts_at_once(self) -> int:
        """How many start at a time."""
        return self._starts.limit

    def is_waiting(self, generation: Generation) -> bool:
        """Whether it waits for its turn to start."""
        return generation in self._starts

    def stop(self, generation: Generation) -> None:
        """Let it finish what it has in hand, and end."""
        self._apply(generation, generation.life.stop(time.monotonic()))
        self.forkservers.release(generation)

    def kill(self, generation: Generation) -> None:
        """End it at once."""
        self._apply(generation, generation.life.kill_now(time.monotonic()))

    def retire(self, generation: Generation) -> None:
        """Stop a generation that another has replaced, or none will."""
        self.retiring.append(generation)
        self.stop(generation)

    def due(self, kind: str, number: int) -> None:
        """A deadline of a mule, its link or a message has come."""
        now = time.monotonic()
        if kind == _STARTS:
            self._starts.look()
        elif kind == _ENDS:
            self._ends.look()
        elif kind == FORKSERVER:
            self.forkservers.due(number)
        elif kind != _LIFE:
            self.links.due(kind, number, now)
        elif generation := self._generations.get(number):
            if generation.state is MuleState.BACKOFF:
                self._starts.ask(generation)
            elif generation not in self._ends:
                self._apply(generation, generation.life.deadline_passed(now))

    def _apply(self, generation: Generation, effects: tuple[Effect, ...]) -> None:
        """Turn the decisions of a life into acts."""
        key = (_LIFE, generation.number)
        for effect in effects:
            match effect:
                case Spawn():
                    self._processes.start(generation)
                case SpawnAt(at) | ArmDeadline(at):
                    self._ticker.arm(key, at)
                case DisarmDeadline():
                    self._ticker.disarm(key)
                case Drain():
                    self._drain(generation)
                case DumpStacks():
                    self._dump_stacks(generation)
                case Kill(signum):
                    self._kill(generation, signum)
                case GiveUp(reason):
                    log(
                        _LOGGER,
                        logging.WARNING,
                        "mule stays down",
                        mule=generation.spec.id,
                        reason=reason,
                    )
                case unreachable:
                    assert_never(unreachable)
        if generation.state is MuleState.DOWN:
            self._ticker.disarm(key)
            self._ended(generation)
        self._leave_lines(generation)

    def _leave_lines(self, generation: Generation) -> None:
        """What it has begun in its turn, or waits for, may be over."""
        if generation.state is not MuleState.STARTING:
            self._starts.leave(generation)
        if generation.state not in _ENDING:
            self._ends.leave(generation)

    def _ended(self, generation: Generation) -> None:
        generation.note_ended()
        if self.current.get(generation.spec.id) in (None, generation):
            self._signals.mule_removed(generation.spec.id)
            self._functions.mule_removed(generation.spec.id)
        if generation in self.retiring:
            self.retiring.remove(generation)
            self._generations.pop(generation.number, None)
            if heir := self.current.get(generation.spec.id):
                heir.inherit(generation)

    def _spawned(self, generation: Generation, running: Process) -> None:
        generation.current = running
        self.links.add(generation, running)
        spec, link = generation.spec, running.link
        self._signals.mule_spawned(link, spec.id, spec.farms, generation.epoch)
        self._own(self.links.attach(running))

    def _not_spawned(
        self, generation: Generation, error: MuleSpawnError, told: JsonObject | None
    ) -> None:
        log(
            _LOGGER,
            logging.ERROR,
            "mule not started",
            mule=generation.spec.id,
            error=error,
        )
        generation.last_exit = _last_exit(told, str(error), 0.0)
        # In a turn of its own: the life is in the middle of a decision.
        self._loop.call_soon(self._spawn_failed, generation)

    def _spawn_failed(self, generation: Generation) -> None:
        now, jitter = time.monotonic(), random.random()  # noqa: S311
        self._apply(generation, generation.life.spawn_failed(now, jitter))
        generation.note_started(is_up=False)
        self._functions.settle()
        self._pump()

    def _drain(self, generation: Generation) -> None:
        running = generation.current
        if running is None:
            raise AssertionError("only a mule that runs is drained")
        self._router.drain_link(running.link)
        self._signals.mule_drains(running.link)
        if self.links.is_idle(running.link):
            # Its end costs the processor, and that is all that it costs.
            self._ends.ask(generation)
        else:
            _tell_to_drain(running)

    def _end(self, generation: Generation) -> None:
        """It is the turn to end of a mule that has nothing in hand."""
        running = generation.current
        if running is None:
            raise AssertionError("only a mule that runs is told to end")
        # What it waited is not of its time to finish.
        at = time.monotonic() + generation.spec.stop_timeout_s
        self._ticker.arm((_LIFE, generation.number), at)
        _tell_to_drain(running)
        # In a turn of its own: the life is in the middle of a decision.
        self._loop.call_soon(self._drained, generation, running)

    def _drained(self, generation: Generation, running: Process) -> None:
        if generation.current is running and generation.state is MuleState.DRAINING:
            self._apply(generation, generation.life.drained(time.monotonic()))

    def _dump_stacks(self, generation: Generation) -> None:
        running = generation.current
        if running is None:
            raise AssertionError("only a mule that runs has stacks")
        if running.connection is not None and not running.connection.is_closed:
            running.connection.send(Stacks())
            running.connection.flush()
        running.process.kill(STACKS_SIGNAL)

    def _kill(self, generation: Generation, signum: int) -> None:
        running = generation.current
        if running is None:
            self._processes.cancel(generation)
            return
        # One that is told to end while it starts may get ready all the same.
        self._router.drain_link(running.link)
        self._signals.mule_drains(running.link)
        if signum == signal.SIGKILL:
            # SIGKILL is sent again and again to what does not end.
            if generation.life.kill_reason in _UNCLEAN and not running.is_counted:
                running.is_counted = True
                self.killed_count += 1
            running.process.kill_group()
        running.process.kill(signum)

    def _hung(self, generation: Generation, now: float) -> None:
        self._apply(generation, generation.life.hung(now))

    def _ready(self, generation: Generation) -> None:
        now = time.monotonic()
        if generation.state is MuleState.STARTING:
            log(
                _LOGGER,
                logging.INFO,
                "mule ready",
                mule=generation.spec.id,
                start_s=round(generation.uptime_s(), 3),
            )
        self._apply(generation, generation.life.ready(now))
        if generation.current is not None:
            self._signals.mule_ready(generation.current.link)
            self._functions.mule_ready(generation.current.link, generation.spec.id)
        generation.note_started(is_up=True)

    # Deaths

    def _exited(self, generation: Generation, running: Process, status: int) -> None:
        """A process ended: give what it had to others, then decide what follows."""
        now = time.monotonic()
        self._process_gone(running.process.pid)
        self.links.remove(running)
        exit_ = _exit_of(status)
        reason = self._processes.reason_of(generation, running, exit_)
        told = running.farewell or {"type": "MuleDied", "text": reason}
        error = failure(told, generation.spec.id, time.time())
        link = self._router.links[running.link]
        losses = self._router.link_gone(running.link, running.board.hands(), error, now)
        generation.handled += link.handled
        generation.current = None
        # First the messages, which others can have at once; then the rest.
        self._pump()
        uptime_s = now - running.started_at
        generation.last_exit = _last_exit(running.farewell, reason, uptime_s)
        self._processes.log_exit(generation, running, status, reason, now)
        if losses.in_hand:
            log(
                _LOGGER,
                logging.WARNING,
                "messages redelivered",
                mule=generation.spec.id,
                in_hand=losses.in_hand,
                dead=losses.dead,
                untouched=losses.untouched,
            )
        self._processes.close(running)
        generation.note_started(is_up=False)
        self._apply(generation, generation.life.exited(now, exit_, random.random()))  # noqa: S311
        self._signals.mule_gone(running.link, returns=self._has_successor(generation))
        self._functions.mule_gone(running.link)
        self._pump()
        self.reap()

    def _has_successor(self, generation: Generation) -> bool:
        """Whether its mule has another process, or will have."""
        current = self.current.get(generation.spec.id)
        is_replaced = current is not None and current is not generation
        return is_replaced or generation.state in (
            MuleState.STARTING,
            MuleState.BACKOFF,
        )

    @property
    def is_coming_up(self) -> bool:
        """Whether a mule is being started, or waits for its turn."""
        current = self.current.values()
        return bool(self._starts) or any(
            generation.state is MuleState.STARTING for generation in current
        )

    def is_starting(self, now: float) -> bool:
        """Whether a mule that does not keep failing is on its way up."""
        states = (MuleState.STARTING, MuleState.BACKOFF)
        return any(
            not generation.life.is_failing(now)
            for generation in self
            if generation.state in states or self.is_waiting(generation)
        )

    def owner_of(self, pid: int) -> str:
        """Return the mule whose process has that number, as ``muleN``, or ``""``."""
        for generation in self:
            running = generation.current
            if running is not None and running.process.pid == pid:
                return f"mule{generation.spec.id}"
        return ""

    def reap(self) -> None:
        """Reap processes that mules have left behind."""
        self._processes.reap()


def _tell_to_drain(running: Process) -> None:
    if running.connection is not None and not running.connection.is_closed:
        running.connection.send(DrainVerb())


def _exit_of(returncode: int) -> Exit:
    if returncode < 0:
        return Exit(status=None, signum=-returncode)
    return Exit(status=returncode, signum=None)


def _last_exit(told: JsonObject | None, reason: str, uptime_s: float) -> JsonObject:
    return {
        "reason": reason,
        "error": told,
        "uptime_s": round(uptime_s, 3),
        "at": time.time(),
    }


def _never() -> bool:
    return False
