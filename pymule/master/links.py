"""The links of the master with its mules: what goes over them."""

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import Callable
from typing import Final

from pymule.connection import Connection
from pymule.errors import LeaseLostError, RemoteProtocolError, UnsupportedError
from pymule.master.functions import METHOD, Functions
from pymule.master.generation import Generation, Process
from pymule.master.harakiri import HARAKIRI, Harakiri
from pymule.master.logs import log
from pymule.master.signals import Signals, link_receiver, send_error
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.failure import failure
from pymule.sansio.frame import BULK_BYTES
from pymule.sansio.link import LinkId
from pymule.sansio.router import Router
from pymule.sansio.run import Run
from pymule.sansio.session import Role, Session, choose_version
from pymule.sansio.supervision import MuleState
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import (
    Ack,
    Call,
    Close,
    Credit,
    Handled,
    Hello,
    JsonObject,
    Lane,
    Listen,
    Nack,
    Ready,
    Reply,
    ReplyKind,
    Return,
    Verb,
    Welcome,
    deliver_frame,
)

__all__ = ("Links",)

_LOGGER: Final = logging.getLogger("pymule.master")

_LINGER: Final = "linger"


class Links:
    """The links of all processes that run; acts on what mules say.

    Args:
        loop: Where they live.
        router: Has what the mules tell of messages.
        signals: Has what they tell of signals.
        ticker: Has the deadlines of lost links.
        harakiri: Watches those that are given messages.
        functions: Has what they tell of functions.
        welcome: Returns the limits that WELCOME tells.
        pump: Sends what the router has decided; called at the end of each chain.
        on_ready: Called with a mule that says so.
        on_drained: Called with a mule that drains and has nothing left.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        router: Router,
        signals: Signals,
        ticker: Ticker[Deadline],
        harakiri: Harakiri,
        *,
        functions: Functions,
        welcome: Callable[[], JsonObject],
        pump: Callable[[], None],
        on_ready: Callable[[Generation], None],
        on_drained: Callable[[Generation, Process], None],
    ) -> None:
        self._loop = loop
        self._router = router
        self._signals = signals
        self._functions = functions
        self._ticker = ticker
        self._harakiri = harakiri
        self._welcome = welcome
        self._pump = pump
        self._on_ready = on_ready
        self._on_drained = on_drained
        self._running: dict[LinkId, tuple[Generation, Process]] = {}
        self._unflushed: dict[Connection, None] = {}

    def add(self, generation: Generation, running: Process) -> None:
        """A process was started."""
        self._running[running.link] = generation, running
        self._router.add_link(running.link, generation.spec.sources)

    async def attach(self, running: Process) -> None:
        """Put the link of a new process on the loop."""
        if running.link not in self._running:
            # It ended, and its link was closed, before this task had its turn.
            return
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

    def remove(self, running: Process) -> None:
        """A process ended: hear its last words, and no more."""
        if running.connection is not None:
            running.connection.read_rest(running.process.link.fileno())
        del self._running[running.link]
        self._harakiri.forget(running.link)
        self._ticker.disarm((_LINGER, running.link))

    def due(self, kind: str, number: int, now: float) -> None:
        """A deadline of a link has come."""
        found = self._running.get(LinkId(number))
        if found is None:
            return
        generation, running = found
        if kind == HARAKIRI:
            self._harakiri.check(generation, running, now)
        elif kind == _LINGER:
            running.kill_reason = "it lived on without its link"
            running.process.kill_group()

    def deliver(self, link: LinkId, run: Run) -> None:
        """Send what the router has leased to a mule, with the next flush."""
        found = self._running.get(link)
        connection = found[1].connection if found else None
        if found is None or connection is None or connection.is_closed:
            # It died; what it was given comes back with the news of that.
            return
        if len(run.batch.payload) < BULK_BYTES:
            connection.put(_frame_of(run))
        else:
            payload = run.payload
            connection.put(_head_of(run, len(payload)))
            connection.put(payload)
        self._unflushed[connection] = None
        self._harakiri.watch(found[0], link)

    def deliver_now(self, link: LinkId, run: Run) -> None:
        """Send what the router has leased to a mule, before all else."""
        found = self._running.get(link)
        connection = found[1].connection if found else None
        if found is None or connection is None:
            # As above; to one that is closed nothing is sent.
            return
        connection.send_now(_frame_of(run))
        self._harakiri.watch(found[0], link)

    def dispatched(self, link: LinkId) -> None:
        """A mule was given a signal."""
        generation, _ = self._running[link]
        self._harakiri.watch(generation, link)

    def is_idle(self, link: LinkId) -> bool:
        """Whether a mule has neither a message nor a handler at work."""
        return self._router.is_idle(link) and self._signals.is_idle(link)

    def connected(self, running: Process, connection: Connection) -> None:
        """A process can be talked to now, unless it has ended meanwhile."""
        if running.link not in self._running:
            return
        running.connection = connection
        self._signals.mule_connected(running.link, connection)

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
        found = self._running.get(running.link)
        if found is None:
            return
        generation, _ = found
        for verb in verbs:
            self._act(generation, running, verb)
        if generation.state is MuleState.DRAINING and self.is_idle(running.link):
            self._on_drained(generation, running)
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
                self._nacked(link, verb, generation.spec.id)
            case Return():
                for first_id, count, _ in verb.ranges:
                    self._router.give_back(link, first_id, count)
            case Lane():
                self._router.open_lane(link, verb.lane, verb.sources)
            case Call() if verb.value.get("method") == METHOD:
                self._functions.call(verb, generation, running)
            case Listen() | Handled() | Call():
                self._act_on_signals(running, verb)
            case _:
                self._act_once(generation, running, verb)

    def _act_on_signals(self, running: Process, verb: Listen | Handled | Call) -> None:
        receiver = link_receiver(running.link)
        match verb:
            case Listen():
                self._signals.listened(receiver, verb)
            case Handled():
                self._signals.handled(receiver, verb)
            case Call():
                self._called(running, verb)

    def _called(self, running: Process, call: Call) -> None:
        connection = running.connection
        if connection is None:
            raise AssertionError("it asked over its connection")
        if call.value.get("method") == "ping":
            connection.send(Reply(call.id, ReplyKind.LAST, {}))
            return
        receiver = link_receiver(running.link)
        if not self._signals.call(call, receiver, connection, str):
            send_error(
                call,
                UnsupportedError(f"the call {call.value.get('method')!r} of a mule"),
                connection,
            )

    def _act_once(self, generation: Generation, running: Process, verb: Verb) -> None:
        """Act on what a mule says once in its life."""
        match verb:
            case Ready():
                self._on_ready(generation)
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

    def _nacked(self, link: LinkId, nack: Nack, mule: MuleId) -> None:
        try:
            self._router.nack(
                link,
                nack.id,
                nack.attempt,
                delay=None if nack.delay < 0 else nack.delay,
                is_final=nack.final,
                error=failure(nack.error, mule, time.time()),
                jitter=random.random(),  # noqa: S311  (spreads load, keeps no secret)
                now=time.monotonic(),
            )
        except LeaseLostError as exc:
            log(_LOGGER, logging.WARNING, "late nack", error=exc)

    def connection_failed(self, running: Process, reason: Exception | None) -> None:
        """The link of a mule is closed: a mule without one is of no use."""
        found = self._running.get(running.link)
        if found is None:
            return
        generation, _ = found
        self._router.drain_link(running.link)
        self._signals.mule_drains(running.link)
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


def _frame_of(run: Run) -> bytes:
    batch = run.batch
    return deliver_frame(
        run.first_id,
        run.count,
        run.lane_index,
        run.attempts + 1,
        run.queue.name.encode(),
        run.options,
        batch.payload if run.count == batch.count else run.payload,
    )


def _head_of(run: Run, size: int) -> bytes:
    name = run.queue.name.encode()
    attempt, lane = run.attempts + 1, run.lane_index
    return deliver_frame(
        run.first_id, run.count, lane, attempt, name, run.options, b"", size
    )


class _LinkOwner:
    """Ties a connection to the process at its other end."""

    def __init__(self, links: Links, running: Process) -> None:
        self._links = links
        self._running = running

    def connection_made(self, connection: Connection) -> None:
        """The process can be talked to now."""
        self._links.connected(self._running, connection)

    def data_received(self, connection: Connection) -> None:
        """Nothing to do before a frame is whole."""

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        """Act on them; a mule that breaks a rule loses its link."""
        del connection
        self._links.verbs_received(self._running, verbs)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Let the links know."""
        del connection
        with contextlib.suppress(ProcessLookupError):
            self._links.connection_failed(self._running, reason)
