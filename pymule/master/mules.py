"""The mules of the master: their processes, their links and their ends."""

import asyncio
import contextlib
import itertools
import logging
import random
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Final, assert_never

from pymule.connection import Connection
from pymule.errors import LeaseLostError, MuleSpawnError, RemoteProtocolError
from pymule.master.generation import Generation, MuleSpec, Process
from pymule.master.logs import log
from pymule.master.oom import OomCounter
from pymule.master.spawner import MuleProcess, Spawner, SpawnSpec, reap_orphans
from pymule.master.ticker import Ticker
from pymule.sansio.link import Link, LinkId
from pymule.sansio.queue import Run
from pymule.sansio.router import Router
from pymule.sansio.session import Role, Session, choose_version
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
from pymule.sansio.target import MessageId, MuleId
from pymule.sansio.verbs import (
    Ack,
    Close,
    Credit,
    Deliver,
    Hello,
    JsonObject,
    Lane,
    Nack,
    Ready,
    Return,
    Stacks,
    Verb,
    Welcome,
)
from pymule.sansio.verbs import Drain as DrainVerb
from pymule.scoreboard import BOARD_BYTES, STACKS_SIGNAL, Scoreboard

__all__ = ("Deadline", "Mules")

_LOGGER: Final = logging.getLogger("pymule.master")
_OUTPUT: Final = logging.getLogger("pymule.mule")

Deadline = tuple[str, int]
"""What is due: a kind, and the number of what it is about."""

_LIFE: Final = "life"
_HARAKIRI: Final = "harakiri"
_RETRY: Final = "retry"
_LINGER: Final = "linger"
# Kills of mules that were asked to stop: then the stop was not clean.
_UNCLEAN: Final = ("stop timeout", "stopped at once")
# How often a mule with a deadline for its messages is looked at while it has some, in
# seconds; a message whose instant was not noted may get that much longer.
_LOOK_S: Final = 1.0
# From SIGTERM to SIGKILL, at most, in seconds.
_KILL_AFTER_S: Final = 5.0


class Mules:
    """All generations of all mules; acts on what their lives and the router decide.

    Args:
        router: Has their messages.
        ticker: Has their deadlines.
        welcome: Returns the limits that WELCOME tells.
        pump: Sends what the router has decided; called at the end of each chain.
        own: Keeps a task that the master started until it is done.
        is_congested: Whether the log cannot take more lines of mules now.
    """

    def __init__(
        self,
        router: Router,
        ticker: Ticker[Deadline],
        *,
        welcome: Callable[[], JsonObject],
        pump: Callable[[], None],
        own: Callable[[Coroutine[object, object, None]], object],
        is_congested: Callable[[], bool],
    ) -> None:
        self.current: dict[MuleId, Generation] = {}
        # Started by a reload, and not ready to take the place of another yet.
        self.arriving: list[Generation] = []
        self.retiring: list[Generation] = []
        self._router = router
        self._ticker = ticker
        self._welcome = welcome
        self._pump = pump
        self._own = own
        self._is_congested = is_congested
        self._loop = asyncio.get_running_loop()
        self._spawner = Spawner(self._loop, self._exited)
        self._numbers = itertools.count(1)
        self._generations: dict[int, Generation] = {}
        self._by_link: dict[LinkId, tuple[Generation, Process]] = {}
        self._by_process: dict[MuleProcess, tuple[Generation, Process]] = {}
        self._unflushed: dict[Connection, None] = {}
        self._oom = OomCounter()
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
        generation = Generation(next(self._numbers), spec, life)
        self._generations[generation.number] = generation
        return generation

    def start(self, generation: Generation) -> None:
        """Start its first process."""
        self._apply(generation, generation.life.start(time.monotonic()))

    def stop(self, generation: Generation) -> None:
        """Let it finish what it has in hand, and end."""
        self._apply(generation, generation.life.stop(time.monotonic()))

    def kill(self, generation: Generation) -> None:
        """End it at once."""
        self._apply(generation, generation.life.kill_now(time.monotonic()))

    def retire(self, generation: Generation) -> None:
        """Stop a generation that another has replaced, or none will."""
        self.retiring.append(generation)
        self.stop(generation)

    def due(self, kind: str, number: int) -> None:
        """A deadline of a mule or of a message has come."""
        now = time.monotonic()
        if kind == _LIFE and (generation := self._generations.get(number)):
            self._apply(generation, generation.life.deadline_passed(now))
        elif kind == _HARAKIRI:
            self._check_harakiri(LinkId(number), now)
        elif kind == _LINGER:
            self._end_lingering(LinkId(number))
        elif kind == _RETRY:
            self._router.retry_due(MessageId(number))
            self._pump()

    def _apply(self, generation: Generation, effects: tuple[Effect, ...]) -> None:
        """Turn the decisions of a life into acts."""
        key = (_LIFE, generation.number)
        for effect in effects:
            match effect:
                case Spawn():
                    self._spawn(generation)
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

    def _ended(self, generation: Generation) -> None:
        generation.note_ended()
        if generation in self.retiring:
            self.retiring.remove(generation)
            self._generations.pop(generation.number, None)
            if heir := self.current.get(generation.spec.id):
                heir.inherit(generation)

    def _spawn(self, generation: Generation) -> None:
        spec = generation.spec
        try:
            process = self._spawner.spawn(
                SpawnSpec(
                    mule=spec.id,
                    name=spec.name,
                    title=spec.title,
                    cwd=spec.cwd,
                    env=spec.env,
                    nice=spec.nice,
                    umask=spec.umask,
                    limits=spec.limits,
                    uid=spec.uid,
                    gid=spec.gid,
                    board_bytes=BOARD_BYTES,
                )
            )
        except MuleSpawnError as exc:
            log(_LOGGER, logging.ERROR, "mule not started", mule=spec.id, error=exc)
            generation.last_exit = _last_exit(None, str(exc), 0.0)
            # In a turn of its own: the life is in the middle of a decision.
            self._loop.call_soon(self._spawn_failed, generation)
            return
        link = LinkId(next(self._numbers))
        running = Process(link, process, Scoreboard(process.board), time.monotonic())
        generation.current = running
        self._by_link[link] = self._by_process[process] = generation, running
        self._router.add_link(link, spec.sources)
        generation.watch_output(
            running, self._loop, self._emitter(spec), self._is_congested
        )
        log(_LOGGER, logging.INFO, "mule spawned", mule=spec.id, pid=process.pid)
        self._own(self._attach(running))

    def _spawn_failed(self, generation: Generation) -> None:
        now, jitter = time.monotonic(), random.random()  # noqa: S311
        self._apply(generation, generation.life.spawn_failed(now, jitter))
        generation.note_started(is_up=False)

    async def _attach(self, running: Process) -> None:
        """Put the link of a new process on the loop."""
        session = Session(Role.MASTER, Role.MULE, self._max_frame_bytes())
        owner = _LinkOwner(self, running)
        # The transport closes its socket; the process keeps its own.
        sock = running.process.link.dup()
        sock.setblocking(False)  # noqa: FBT003  (the standard library's signature)
        await self._loop.create_unix_connection(
            lambda: Connection(session, owner), sock=sock
        )

    def _max_frame_bytes(self) -> int:
        return int(str(self._welcome()["max_frame_bytes"]))

    def _emitter(self, spec: MuleSpec) -> Callable[[str, str], None]:
        def emit(stream: str, line: str) -> None:
            # A field, so that no line can look like an event of ours.
            log(
                _OUTPUT,
                logging.INFO,
                "mule output",
                mule=spec.id,
                name=spec.name,
                stream=stream,
                line=line,
            )

        return emit

    def _drain(self, generation: Generation) -> None:
        running = generation.current
        if running is None:
            raise AssertionError("only a mule that runs is drained")
        self._router.drain_link(running.link)
        if running.connection is not None and not running.connection.is_closed:
            running.connection.send(DrainVerb())
        if self._router.is_idle(running.link):
            # In a turn of its own: the life is in the middle of a decision.
            self._loop.call_soon(self._drained, generation, running)

    def _drained(self, generation: Generation, running: Process) -> None:
        if generation.current is running and generation.state is MuleState.DRAINING:
            effects = generation.life.drained(time.monotonic())
            self._apply(generation, effects)

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
            return
        if signum == signal.SIGKILL:
            # SIGKILL is sent again and again to what does not end.
            if generation.life.kill_reason in _UNCLEAN and not running.is_counted:
                running.is_counted = True
                self.killed_count += 1
            running.process.kill_group()
        running.process.kill(signum)

    # Harakiri

    def _watch_harakiri(self, generation: Generation, link: LinkId) -> None:
        limit = generation.spec.harakiri_s
        key = (_HARAKIRI, link)
        if limit is not None and key not in self._ticker:
            self._ticker.arm(key, time.monotonic() + min(limit, _LOOK_S))

    def _check_harakiri(self, link: LinkId, now: float) -> None:
        found = self._by_link.get(link)
        if found is None:
            return
        generation, running = found
        limit = generation.spec.harakiri_s
        if limit is None or self._router.is_idle(link):
            return
        since = min(running.held_since(now), default=now)
        if since + limit > now:
            look_at = min(since + limit, now + _LOOK_S)
            self._ticker.arm((_HARAKIRI, link), look_at)
            return
        log(
            _LOGGER,
            logging.ERROR,
            "harakiri",
            mule=generation.spec.id,
            pid=running.process.pid,
            in_hand_s=round(now - since, 3),
            harakiri_s=limit,
        )
        self._apply(generation, generation.life.hung(now))

    # Links

    def deliver(self, link: LinkId, run: Run) -> None:
        """Send what the router has leased to a mule."""
        generation, running = self._by_link[link]
        connection = running.connection
        if connection is None or connection.is_closed:
            # It died; what it was given comes back with the news of that.
            return
        deliver = Deliver(
            run.first_id,
            run.count,
            run.lane_index,
            run.attempts + 1,
            run.queue.name.encode(),
            run.options,
            run.payload,
        )
        connection.send_bytes(deliver.pack())
        self._unflushed[connection] = None
        self._watch_harakiri(generation, link)

    def flush_all(self) -> None:
        """Hand what is to be sent to the transports."""
        unflushed, self._unflushed = self._unflushed, {}
        for connection in unflushed:
            connection.flush()

    def verbs_received(self, running: Process, verbs: list[Verb]) -> None:
        """Act on what a mule says.

        Raises:
            RemoteProtocolError: It said something that makes no sense.
        """
        found = self._by_link.get(running.link)
        if found is None:
            return
        generation, _ = found
        for verb in verbs:
            self._act(generation, running, verb)
        if generation.state is MuleState.DRAINING and self._router.is_idle(
            running.link
        ):
            self._drained(generation, running)
        self._pump()

    def _act(self, generation: Generation, running: Process, verb: Verb) -> None:
        link = running.link
        match verb:
            case Ack():
                for first_id, count, attempt in verb.ranges:
                    self._router.ack(link, first_id, count, attempt)
            case Credit():
                self._router.credit(link, verb.lane, verb.limit)
            case Nack():
                self._nacked(link, verb)
            case Return():
                for first_id, count, _ in verb.ranges:
                    self._router.give_back(link, first_id, count)
            case Lane():
                self._router.open_lane(link, verb.lane, verb.sources)
            case _:
                self._act_once(generation, running, verb)

    def _act_once(self, generation: Generation, running: Process, verb: Verb) -> None:
        """Act on what a mule says once in its life."""
        match verb:
            case Ready():
                self._ready(generation)
            case Hello():
                self._greet(generation, running, verb)
            case Close():
                error = verb.value.get("error")
                running.farewell = error if isinstance(error, dict) else None
            case _:
                raise RemoteProtocolError(f"{verb.opcode.name} from a mule")

    def _greet(self, generation: Generation, running: Process, hello: Hello) -> None:
        version = choose_version(hello.value)
        if running.connection is None:
            raise AssertionError("it said hello")
        mule = generation.spec.welcome()
        running.connection.send(
            Welcome({"protocol": version, **self._welcome(), "mule": mule})
        )
        running.connection.flush()

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
        generation.note_started(is_up=True)

    def _nacked(self, link: LinkId, nack: Nack) -> None:
        try:
            retry = self._router.nack(
                link,
                nack.id,
                nack.attempt,
                delay=None if nack.delay < 0 else nack.delay,
                is_final=nack.final,
                error=nack.error,
                jitter=random.random(),  # noqa: S311  (spreads load, keeps no secret)
                now=time.monotonic(),
            )
        except LeaseLostError as exc:
            log(_LOGGER, logging.WARNING, "late nack", error=exc)
            return
        if retry is not None:
            self._ticker.arm((_RETRY, retry.id), time.monotonic() + retry.delay)

    def connection_failed(self, running: Process, reason: Exception | None) -> None:
        """The link of a mule is closed: a mule without one is of no use."""
        found = self._by_link.get(running.link)
        if found is None:
            return
        generation, _ = found
        self._router.drain_link(running.link)
        if reason is None or isinstance(reason, OSError):
            # As a rule the news of its death comes next. One that was killed with
            # something unread resets the link, which is no failure of its own.
            at = time.monotonic() + generation.spec.stop_timeout_s
            self._ticker.arm((_LINGER, running.link), at)
        else:
            log(
                _LOGGER,
                logging.ERROR,
                "link failed",
                mule=generation.spec.id,
                error=reason,
            )
            running.kill_reason = f"its link failed: {reason}"
            running.process.kill(signal.SIGKILL)

    def _end_lingering(self, link: LinkId) -> None:
        found = self._by_link.get(link)
        if found is not None:
            _, running = found
            running.kill_reason = "it lived on without its link"
            running.process.kill_group()

    # Deaths

    def _exited(self, process: MuleProcess, returncode: int) -> None:
        """A process ended: give what it had to others, then decide what follows."""
        now = time.monotonic()
        generation, running = self._by_process.pop(process)
        if running.connection is not None:
            running.connection.read_rest(process.link.fileno())
        del self._by_link[running.link]
        for kind in (_HARAKIRI, _LINGER):
            self._ticker.disarm((kind, running.link))
        exit_ = _exit_of(returncode)
        reason = running.kill_reason or generation.life.kill_reason or exit_.reason
        # Asked at each death, so that it tells of this one.
        is_oom = self._oom.has_risen()
        if is_oom and reason == exit_.reason and exit_.signum == signal.SIGKILL:
            reason += ", out of memory"
        error = running.farewell or {"type": "MuleDied", "text": reason}
        link = self._router.links[running.link]
        losses = self._router.link_gone(running.link, running.board.hands(), error, now)
        generation.handled += link.handled
        generation.current = None
        # First the messages, which others can have at once; then the rest.
        self._pump()
        generation.last_exit = _last_exit(running, reason, now - running.started_at)
        self._log_exit(generation, running, returncode, reason, now)
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
        self._close(running)
        generation.note_started(is_up=False)
        self._apply(generation, generation.life.exited(now, exit_, random.random()))  # noqa: S311
        self.reap()

    def reap(self) -> None:
        """Reap processes that mules have left behind."""
        reap_orphans({process.pid for process in self._by_process})

    def _log_exit(
        self,
        generation: Generation,
        running: Process,
        returncode: int,
        reason: str,
        now: float,
    ) -> None:
        for output in running.outputs:
            output.drain_now()
        stacks = running.process.read_stacks()
        if stacks:
            log(
                _LOGGER,
                logging.ERROR,
                "stacks of the mule",
                mule=generation.spec.id,
                trace=stacks.rstrip(),
            )
        log(
            _LOGGER,
            logging.WARNING if returncode else logging.INFO,
            "mule exited",
            mule=generation.spec.id,
            pid=running.process.pid,
            status=returncode,
            reason=reason,
            uptime_s=round(now - running.started_at, 3),
        )

    def _close(self, running: Process) -> None:
        if running.connection is not None:
            running.connection.abort()
        running.board.close()
        running.process.close()


class _LinkOwner:
    """Ties a connection to the process at its other end."""

    def __init__(self, mules: Mules, running: Process) -> None:
        self._mules = mules
        self._running = running

    def connection_made(self, connection: Connection) -> None:
        """The process can be talked to now."""
        self._running.connection = connection

    def data_received(self, connection: Connection) -> None:
        """Nothing to do before a frame is whole."""

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        """Let the mules act; a mule that breaks a rule loses its link."""
        try:
            self._mules.verbs_received(self._running, verbs)
        except RemoteProtocolError as exc:
            connection.fail(exc)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Let the mules know."""
        del connection
        with contextlib.suppress(ProcessLookupError):
            self._mules.connection_failed(self._running, reason)


def _exit_of(returncode: int) -> Exit:
    if returncode < 0:
        return Exit(status=None, signum=-returncode)
    return Exit(status=returncode, signum=None)


def _last_exit(running: Process | None, reason: str, uptime_s: float) -> JsonObject:
    return {
        "reason": reason,
        "error": None if running is None else running.farewell,
        "uptime_s": round(uptime_s, 3),
        "at": time.time(),
    }
