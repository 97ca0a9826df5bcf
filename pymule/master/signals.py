"""Signals in the master: who registers, what raises, and whom to tell.

The decisions are those of :class:`~pymule.sansio.signals.SignalTable` and
:class:`~pymule.sansio.timers.TimerTable`; here calls come in, ticks come due, and
SIGNAL goes out. A mule registers over its link; any other client that registers
becomes a *worker*, numbered from 1, the lowest that is free.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pymule.connection import Connection
from pymule.errors import (
    BadCallError,
    NoHandlerError,
    RefusedError,
    UnknownTargetError,
)
from pymule.master.filemon import FileMonitors
from pymule.master.logs import log
from pymule.master.sources import Sources
from pymule.master.ticker import Deadline, Ticker
from pymule.master.wallclock import WallClock
from pymule.sansio.link import LinkId
from pymule.sansio.run import SenderId
from pymule.sansio.signals import (
    SIGNALS,
    Dispatch,
    Outcome,
    Overlap,
    ReceiverId,
    SignalTable,
    Wanted,
)
from pymule.sansio.target import Target, TargetKind
from pymule.sansio.verbs import (
    Call,
    Handled,
    JsonObject,
    Listen,
    Reply,
    ReplyKind,
    Signal,
)

__all__ = ("Signals", "link_receiver", "peer_receiver", "send_error")

_LOGGER: Final = logging.getLogger("pymule.master")
_SETTLE: Final = "settle"
# How long a mule that is ready may take to register what its predecessor had: a script
# is taken for ready before it has come to the end of its imports.
_SETTLE_S: Final = 10.0
# How long a raise waits for mules that are being started and may have its handler.
_EARLY: Final = "early"
_EARLY_S: Final = 5.0
_MAX_EARLY: Final = 10_000
_MAX_TEXT: Final = 4096


def link_receiver(link: LinkId) -> ReceiverId:
    """Return the receiver that the process of a mule is."""
    return ReceiverId(link)


def peer_receiver(peer: SenderId) -> ReceiverId:
    """Return the receiver that a client is, if it becomes a worker."""
    return ReceiverId(-peer)


def send_error(call: Call, error: RefusedError, connection: Connection) -> None:
    """Answer *call* with *error*."""
    value: JsonObject = {"code": error.code, "detail": error.to_detail()}
    connection.send(Reply(call.id, ReplyKind.ERROR, value))


@dataclass(slots=True)
class _Early:
    """A raise that came before the mules that may have a handler."""

    number: int
    call: Call
    connection: Connection


class Signals:
    """The signals of a master, and what raises them.

    Args:
        ticker: For the deadlines of timers.
        monitors: Watch files, for others too.
        clock: Returns a clock on the wall that calls what it is given.
        mules: Returns the numbers of the mules that there are.
        farms: Returns the names of the farms that there are.
        on_dispatched: Called with the mule process that got a signal.
    """

    def __init__(
        self,
        ticker: Ticker[Deadline],
        monitors: FileMonitors,
        clock: Callable[[Callable[[], None]], WallClock],
        *,
        mules: Callable[[], Iterable[int]],
        farms: Callable[[], Iterable[str]],
        on_dispatched: Callable[[LinkId], None],
    ) -> None:
        self.table = SignalTable()
        self.sources = Sources(ticker, monitors, clock, self._tick)
        # Raises that a timer or a file monitor made and nobody had a handler for.
        self.unrouted = 0
        self._ticker = ticker
        self._mules = mules
        self._farms = farms
        self._on_dispatched = on_dispatched
        self._connections: dict[ReceiverId, Connection] = {}
        self._holders: dict[ReceiverId, str] = {}
        self._early: list[_Early] = []
        self._methods: dict[str, Callable[[str, JsonObject], JsonObject]] = {
            "timer_add": self._timer_add,
            "timer_cancel": self._timer_cancel,
            "signals": lambda _owner, _value: {"signals": self.describe()},
            "signal_free": lambda _owner, _value: {"signal": self.table.free_number()},
        }

    # Receivers

    def mule_expected(self, number: int) -> None:
        """A process of a mule will be started."""
        self.table.expect(f"mule{number}")

    def mule_spawned(
        self, link: LinkId, number: int, farms: Iterable[str], epoch: int
    ) -> None:
        """A process of a mule was started."""
        receiver = link_receiver(link)
        self._holders[receiver] = f"mule{number}"
        self.table.expect(f"mule{number}")
        self.table.add_receiver(receiver, f"mule{number}", farms, epoch)

    def mule_connected(self, link: LinkId, connection: Connection) -> None:
        """The link of a process can be talked to."""
        self._connections[link_receiver(link)] = connection

    def mule_ready(self, link: LinkId) -> None:
        """The program of a process is loaded."""
        self.table.arrived(link_receiver(link))
        self._ticker.arm((_SETTLE, link), time.monotonic() + _SETTLE_S)
        self._raise_early()

    def mule_drains(self, link: LinkId) -> None:
        """Nothing more goes to a process."""
        self.table.drain(link_receiver(link))

    def is_idle(self, link: LinkId) -> bool:
        """Whether a process of a mule runs no handler."""
        return self.table.is_idle(link_receiver(link))

    def running_since(self, link: LinkId) -> tuple[float, int] | None:
        """Return since when a process runs its oldest handler, and of which signal."""
        return self.table.running_since(link_receiver(link))

    def mule_gone(self, link: LinkId, *, returns: bool) -> None:
        """A process of a mule ended; *returns*: the mule has or will have another."""
        self._ticker.disarm((_SETTLE, link))
        owner = self._gone(link_receiver(link), returns=returns)
        if returns:
            self.sources.owner_restarts(owner)
        else:
            self.sources.owner_gone(owner)
        self._raise_early()

    def mule_removed(self, number: int) -> None:
        """A mule stays down, or a reload took it away."""
        for signal in self.table.holder_gone(f"mule{number}"):
            self.sources.remove(signal)
        self.sources.owner_gone(f"mule{number}")
        self._raise_early()

    def client_gone(self, peer: SenderId) -> None:
        """A client left; it may have been a worker."""
        receiver = peer_receiver(peer)
        if receiver in self._holders:
            self.sources.owner_gone(self._gone(receiver, returns=False))

    def _gone(self, receiver: ReceiverId, *, returns: bool) -> str:
        holder = self._holders.pop(receiver)
        self._connections.pop(receiver, None)
        forgotten, dropped = self.table.receiver_gone(receiver, returns=returns)
        for number in forgotten:
            self.sources.remove(number)
        for number in dropped:
            log(
                _LOGGER,
                logging.ERROR,
                "signal dropped",
                signal=number,
                holder=holder,
                reason="its handler ended its process three times in a row",
            )
        return holder

    def due(self, kind: str, number: int) -> bool:
        """A deadline has come; tell whether it was one of ours."""
        if kind == _SETTLE:
            receiver = link_receiver(LinkId(number))
            for signal in self.table.settled(receiver):
                self.sources.remove(signal)
            self.sources.settled(self._holders[receiver])
            return True
        if kind == _EARLY:
            self._give_up_early()
            return True
        return self.sources.due(kind, number)

    # What receivers and clients say

    def listened(self, receiver: ReceiverId, listen: Listen) -> None:
        """A process says whether it could run a handler."""
        if receiver in self._holders:
            self.table.listen(receiver, is_listening=listen.is_listening)

    def handled(self, receiver: ReceiverId, handled: Handled) -> None:
        """A process says how a handler went.

        Raises:
            RemoteProtocolError: It was not asked to run one.
        """
        if receiver in self._holders:
            self.table.handled(receiver, handled.number, Outcome(handled.outcome))

    def call(
        self,
        call: Call,
        receiver: ReceiverId,
        connection: Connection,
        owner: Callable[[], str],
    ) -> bool:
        """Answer *call*, if it is about signals; tell whether it is.

        Args:
            call: What is asked.
            receiver: Who asks.
            connection: Where the answer goes.
            owner: Returns whose a timer is that a client sets: a mule's, or nobody's.
        """
        method = str(call.value.get("method"))
        try:
            if method == "raise":
                self._raise(call, connection)
                return True
            if method == "register":
                value = self._register(call.value, receiver, connection)
            elif (answer := self._methods.get(method)) is not None:
                value = answer(self._holders.get(receiver) or owner(), call.value)
            else:
                return False
        except RefusedError as exc:
            send_error(call, exc, connection)
            return True
        except ValueError as exc:
            send_error(call, BadCallError(str(exc)), connection)
            return True
        connection.send(Reply(call.id, ReplyKind.LAST, value))
        return True

    def _register(
        self, value: JsonObject, receiver: ReceiverId, connection: Connection
    ) -> JsonObject:
        wanted = self._wanted(value)
        source = value.get("source")
        if source is not None and not isinstance(source, dict):
            raise ValueError(f"source {source!r}; allowed: an object")
        if source is not None:
            self.sources.check(source)
        if receiver not in self._holders:
            self._become_worker(receiver, connection)
        known = set(self.table.signals)
        number, is_new = self.table.register(receiver, wanted)
        if is_new:
            if number in known:
                self.sources.remove(number)
            if source is not None:
                self.sources.add(number, source)
            log(
                _LOGGER,
                logging.INFO,
                "signal registered",
                signal=number,
                target=str(wanted.target),
                handler=wanted.handler,
                place=wanted.place,
                by=self._holders[receiver],
            )
        self._raise_early()
        return {"signal": number, "holder": self._holders[receiver]}

    def _become_worker(self, receiver: ReceiverId, connection: Connection) -> None:
        taken = set(self._holders.values())
        number = next(n for n in range(1, len(taken) + 2) if f"worker{n}" not in taken)
        self._holders[receiver] = f"worker{number}"
        self._connections[receiver] = connection
        self.table.add_receiver(receiver, f"worker{number}", (), 0)

    def _wanted(self, value: JsonObject) -> Wanted:
        number = value.get("signal")
        target = Target.for_signal(_text(value, "target", default=""))
        self._check_target(target)
        overlap = _text(value, "overlap", default="skip")
        if overlap not in {item.value for item in Overlap}:
            raise ValueError(f"overlap {overlap!r}; allowed: skip, queue, allow")
        return Wanted(
            None if number is None else signal_number(number),
            target,
            _text(value, "identity"),
            _text(value, "handler"),
            _text(value, "place"),
            Overlap(overlap),
        )

    def _check_target(self, target: Target) -> None:
        mules, farms = self._mules(), self._farms()
        is_mule = target.kind is TargetKind.MULE
        is_farm = target.kind is TargetKind.FARM
        if (is_mule and target.number not in mules) or (
            is_farm and target.name not in farms
        ):
            known = ["mule", "mules", *(f"mule{number}" for number in mules)]
            known += [f"farm:{name}" for name in farms]
            raise UnknownTargetError(str(target), known)

    # Raising

    def _raise(self, call: Call, connection: Connection) -> None:
        number = signal_number(call.value.get("signal"))
        try:
            self.table.raise_signal(number)
        except NoHandlerError:
            if not self.table.is_expecting or len(self._early) == _MAX_EARLY:
                raise
            # A mule that is being started may have the handler.
            if (_EARLY, 0) not in self._ticker:
                self._ticker.arm((_EARLY, 0), time.monotonic() + _EARLY_S)
            self._early.append(_Early(number, call, connection))
            return
        connection.send(Reply(call.id, ReplyKind.LAST, {}))

    def _raise_early(self) -> None:
        """Try again what came too early."""
        early, self._early = self._early, []
        for one in early:
            if one.connection.is_closed:
                continue
            try:
                self._raise(one.call, one.connection)
            except RefusedError as exc:
                send_error(one.call, exc, one.connection)

    def _give_up_early(self) -> None:
        early, self._early = self._early, []
        for one in early:
            if not one.connection.is_closed:
                error = NoHandlerError(one.number, "", sorted(self.table.signals))
                send_error(one.call, error, one.connection)

    def _tick(self, number: int) -> None:
        try:
            self.table.tick(number)
        except NoHandlerError:
            self.unrouted += 1
        self.flush()

    def changed(self, key: str, paths: Iterable[str], *, is_complete: bool) -> None:
        """A file monitor saw changes; it may be that of a signal."""
        number = self.sources.signal_of(key)
        if number is None:
            return
        try:
            self.table.raise_signal(number, paths, is_complete=is_complete)
        except NoHandlerError:
            self.unrouted += 1
        self.flush()

    def flush(self) -> None:
        """Send what is to be run where."""
        for dispatch in self.table.take_dispatches(time.monotonic()):
            self._send(dispatch)
            if dispatch.receiver > 0:
                self._on_dispatched(LinkId(dispatch.receiver))

    def _send(self, dispatch: Dispatch) -> None:
        connection = self._connections.get(dispatch.receiver)
        # One that is closed: the news of its process's end brings the signal back.
        if connection is not None and not connection.is_closed:
            connection.send(
                Signal(dispatch.number, dispatch.paths, dispatch.is_complete)
            )
            connection.flush()

    def _timer_add(self, owner: str, value: JsonObject) -> JsonObject:
        number = signal_number(value.get("signal"))
        return {"timer": self.sources.add_timer(number, value, owner)}

    def _timer_cancel(self, _owner: str, value: JsonObject) -> JsonObject:
        return {"cancelled": self.sources.cancel_timer(value.get("timer"))}

    def describe(self) -> list[JsonObject]:
        """Return each signal that has a handler, for ``pymule status``."""
        return [
            {
                "signal": one.number,
                "target": str(one.target),
                "handler": one.handler,
                "place": one.place,
                "source": self.sources.describe(one.number),
                # worker10 after worker9
                "holders": sorted(one.holders, key=lambda name: (len(name), name)),
                "due": one.due,
                "running": one.running,
                "raised": one.raised,
                "coalesced": one.coalesced,
                "handled": one.handled,
                "failed": one.failed,
                "skipped": one.skipped,
                "dropped": one.dropped,
            }
            for one in sorted(
                self.table.signals.values(), key=lambda signal: signal.number
            )
        ]

    def close(self) -> None:
        """Raise nothing more."""
        self.sources.close()


def signal_number(value: object) -> int:
    """Return the number of a signal that a call names.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"signal {value!r}; allowed: an integer, 0 to {SIGNALS - 1}")  # noqa: TRY004  (a peer's)
    if not 0 <= value < SIGNALS:
        raise ValueError(f"signal {value}; allowed: 0 to {SIGNALS - 1}")
    return value


def _text(value: JsonObject, key: str, default: str | None = None) -> str:
    text = value.get(key, default)
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise ValueError(f"{key} {text!r:.80}; allowed: a text of up to {_MAX_TEXT}")
    return text
