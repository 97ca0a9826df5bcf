"""Who has a handler for which signal, and who runs it next.

Theory of operation. A *holder* is a mule, by its number, or a worker: it registered a
handler and keeps its place while it is restarted. A *receiver* is one process of a
holder; it says when it *listens*, which is when it could run a handler at once. A
signal has *seats*, one for each holder that has to run it: the seats of ``mules`` are
those mules, ``mule2`` is a seat of its own, and the first available of several share
one. A raise makes seats *due*; a due seat takes the receiver that listened longest
and *runs* there until the receiver says how it went::

              raise                 a receiver listens
      (idle) -------> due (n) --------------------------> running
                       ^                                   |  |
                       |  returned; or its process died    |  |  handled
                       '-----------------------------------'  '------> (idle)

A raise of a seat that is due already adds nothing (*coalescing*); one of a seat that
runs makes it due again. So what always holds: after the last raise, each seat is taken
at least once, and by one receiver at a time unless its overlap allows more. Ticks of
timers and cron entries follow the overlap of their signal instead. A handler that took
its process with it three times in a row is not tried again.

A registration is *the same* in two processes when its identity is: that is how many
mules that load one application have one timer. Two different ones of one number are a
conflict, unless the newer comes from a newer generation of the code.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pymule.errors import (
    NoFreeSignalError,
    NoHandlerError,
    RemoteProtocolError,
    SignalConflictError,
)
from pymule.sansio.seat import ReceiverId, Seat, Signal, Wanted
from pymule.sansio.signal_words import SIGNALS, Outcome, Overlap
from pymule.sansio.target import TargetKind

__all__ = (
    "SIGNALS",
    "Dispatch",
    "Outcome",
    "Overlap",
    "ReceiverId",
    "Signal",
    "SignalTable",
    "Wanted",
)

_MAX_CRASHES: Final = 3
# Ticks that wait for a handler which is slower than its timer, at most.
_MAX_DUE: Final = 1_000
_ONE_SEAT: Final = ""
_WORKER_KINDS: Final = (TargetKind.WORKER, TargetKind.WORKERS)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Let *receiver* run its handler of signal *number*.

    Args:
        paths: Files that changed, for a file monitor.
        is_complete: Whether those are all.
    """

    receiver: ReceiverId
    number: int
    paths: tuple[str, ...]
    is_complete: bool


@dataclass(slots=True)
class _Run:
    seat: Seat
    paths: tuple[str, ...]
    is_complete: bool
    since: float = 0.0


@dataclass(slots=True)
class _Receiver:
    holder: str
    farms: frozenset[str]
    epoch: int
    is_listening: bool = False
    is_draining: bool = False
    numbers: dict[int, None] = field(default_factory=dict)
    running: dict[int, list[_Run]] = field(default_factory=dict)

    @property
    def is_worker(self) -> bool:
        return self.holder.startswith("worker")


class SignalTable:
    """All registrations, receivers and seats."""

    def __init__(self) -> None:
        self.signals: dict[int, Signal] = {}
        self._by_identity: dict[str, int] = {}
        self._receivers: dict[ReceiverId, _Receiver] = {}
        # Those that listen, the one that has for longest first.
        # An OrderedDict: the front of a dict costs a walk over all that left it.
        self._listening: OrderedDict[ReceiverId, None] = OrderedDict()
        # Mules that are started or restarted and may register yet.
        self._expected: dict[str, None] = {}
        self._out: list[tuple[Dispatch, _Run]] = []

    # Receivers

    def expect(self, holder: str) -> None:
        """A process of *holder* is on its way."""
        self._expected[holder] = None

    @property
    def is_expecting(self) -> bool:
        """Whether a process is on its way that may register what is missing."""
        return bool(self._expected)

    def add_receiver(
        self, receiver: ReceiverId, holder: str, farms: Iterable[str], epoch: int
    ) -> None:
        """A process of *holder* may register from now on.

        Args:
            receiver: Names the process.
            holder: ``muleN`` or ``workerN``.
            farms: Those that it is in.
            epoch: Of its code: a newer one may register anew what an older one did.
        """
        self._receivers[receiver] = _Receiver(holder, frozenset(farms), epoch)

    def arrived(self, receiver: ReceiverId) -> None:
        """A process has loaded its program, and with it most of what it registers."""
        self._expected.pop(self._receivers[receiver].holder, None)

    def settled(self, receiver: ReceiverId) -> list[int]:
        """What a process has not registered by now, it will not.

        Returns:
            The numbers of signals that only its predecessor had.
        """
        holder = self._receivers[receiver].holder
        return [
            signal.number
            for signal in list(self.signals.values())
            if signal.holders.get(holder, receiver) != receiver
            and self._leave(signal, holder)
        ]

    def listen(self, receiver: ReceiverId, *, is_listening: bool) -> None:
        """A process could run a handler at once, or no longer."""
        one = self._receivers[receiver]
        one.is_listening = is_listening and not one.is_draining
        self._listening.pop(receiver, None)
        if one.is_listening:
            self._listening[receiver] = None
            self._serve(receiver, one)

    def drain(self, receiver: ReceiverId) -> None:
        """Nothing more goes to a process."""
        self._receivers[receiver].is_draining = True
        self.listen(receiver, is_listening=False)

    def is_idle(self, receiver: ReceiverId) -> bool:
        """Whether a process runs no handler."""
        return not self._receivers[receiver].running

    def running_since(self, receiver: ReceiverId) -> tuple[float, int] | None:
        """Return since when a process runs its oldest handler, and of which signal."""
        return min(
            (
                (run.since, number)
                for number, runs in self._receivers[receiver].running.items()
                for run in runs
            ),
            default=None,
        )

    def receiver_gone(
        self, receiver: ReceiverId, *, returns: bool
    ) -> tuple[list[int], list[int]]:
        """A process ended: others, or its successor, run what it did not finish.

        Args:
            receiver: The process.
            returns: Whether its holder will have another.

        Returns:
            The numbers of signals that are forgotten with it, and of those whose
            handler killed its process too often.
        """
        one = self._receivers.pop(receiver)
        self._listening.pop(receiver, None)
        if returns and all(
            other.holder != one.holder for other in self._receivers.values()
        ):
            self._expected[one.holder] = None
        forgotten = []
        for number in one.numbers:
            signal = self.signals.get(number)
            if signal is not None and signal.holders.get(one.holder) == receiver:
                signal.holders[one.holder] = None
                if not returns and self._leave(signal, one.holder):
                    forgotten.append(number)
        dropped = [
            number
            for number, runs in one.running.items()
            for run in runs
            if self._crashed(run, receiver)
        ]
        return forgotten, dropped

    def holder_gone(self, holder: str) -> list[int]:
        """A mule stays down; return the numbers of signals forgotten with it."""
        self._expected.pop(holder, None)
        return [
            signal.number
            for signal in list(self.signals.values())
            if signal.holders.get(holder, 0) is None and self._leave(signal, holder)
        ]

    # Registrations

    def register(self, receiver: ReceiverId, wanted: Wanted) -> tuple[int, bool]:
        """Note that a process has a handler.

        Returns:
            The number of the signal, and whether the registration is new.

        Raises:
            SignalConflictError: Another one has the number.
            NoFreeSignalError: All numbers are taken.
        """
        one = self._receivers[receiver]
        number = wanted.number
        if number is None:
            number = self._by_identity.get(wanted.identity)
        if number is None:
            number = self.free_number()
        signal = self.signals.get(number)
        is_new = signal is None or signal.identity != wanted.identity
        if signal is not None and is_new:
            others = [holder for holder in signal.holders if holder != one.holder]
            if others and one.epoch <= signal.epoch:
                raise SignalConflictError(number, signal.place, wanted.place)
            self._forget(signal)
        if signal is None or is_new:
            signal = self._open(number, wanted, one.epoch)
        signal.place, signal.epoch = wanted.place, max(signal.epoch, one.epoch)
        signal.holders[one.holder] = receiver
        one.numbers[number] = None
        if signal.is_for_all and one.is_worker == (
            signal.target.kind is TargetKind.WORKERS
        ):
            signal.seats.setdefault(one.holder, Seat(signal, one.holder))
        self._serve(receiver, one)
        return number, is_new

    def free_number(self) -> int:
        """Return the lowest number without a handler.

        Raises:
            NoFreeSignalError: There is none.
        """
        for number in range(SIGNALS):
            if number not in self.signals:
                return number
        raise NoFreeSignalError(SIGNALS)

    def _open(self, number: int, wanted: Wanted, epoch: int) -> Signal:
        signal = self.signals[number] = Signal(
            number,
            wanted.target,
            wanted.identity,
            wanted.handler,
            wanted.place,
            wanted.overlap,
            epoch,
        )
        self._by_identity[wanted.identity] = number
        if not signal.is_for_all:
            is_numbered = signal.target.number > 0
            holder = str(signal.target) if is_numbered else _ONE_SEAT
            signal.seats[holder] = Seat(signal, holder)
        return signal

    def _leave(self, signal: Signal, holder: str) -> bool:
        """*holder* has the handler no more; tell whether nobody has."""
        del signal.holders[holder]
        if (seat := signal.seats.get(holder)) is not None:
            signal.dropped += seat.due
            seat.due = 0
            if signal.is_for_all:
                del signal.seats[holder]
        if signal.holders:
            return False
        self._forget(signal)
        return True

    def _forget(self, signal: Signal) -> None:
        del self.signals[signal.number]
        if self._by_identity.get(signal.identity) == signal.number:
            del self._by_identity[signal.identity]
        for seat in signal.seats.values():
            seat.due = 0

    # Raises

    def raise_signal(
        self, number: int, paths: Iterable[str] = (), *, is_complete: bool = True
    ) -> None:
        """Let each seat of the signal run once more.

        Raises:
            NoHandlerError: Nobody has a handler for it, or nobody at its target.
        """
        signal = self._signal(number)
        signal.raised += 1
        for seat in list(signal.seats.values()):
            seat.add_paths(paths, is_complete=is_complete)
            if seat.due:
                signal.coalesced += 1
            else:
                seat.due = 1
                self._try(seat)

    def tick(self, number: int) -> None:
        """A timer or a cron entry of the signal is due.

        Raises:
            NoHandlerError: As :meth:`raise_signal`.
        """
        signal = self._signal(number)
        signal.raised += 1
        for seat in list(signal.seats.values()):
            is_busy = seat.due or seat.running
            limit = 1 if signal.overlap is Overlap.SKIP else _MAX_DUE
            if seat.due >= limit or (is_busy and signal.overlap is Overlap.SKIP):
                signal.skipped += 1
            else:
                seat.due += 1
                self._try(seat)

    def _signal(self, number: int) -> Signal:
        signal = self.signals.get(number)
        if signal is None:
            raise NoHandlerError(number, "", sorted(self.signals))
        if not self._expected and not self._has_holder(signal):
            raise NoHandlerError(number, str(signal.target), sorted(self.signals))
        return signal

    def _has_holder(self, signal: Signal) -> bool:
        """Whether somebody may run the signal, farms apart."""
        kind = signal.target.kind
        if kind in (TargetKind.MULE, TargetKind.WORKER_N):
            return str(signal.target) in signal.holders
        if kind is TargetKind.ANY:
            return bool(signal.holders)
        prefix = "worker" if kind in _WORKER_KINDS else "mule"
        return any(holder.startswith(prefix) for holder in signal.holders)

    def handled(self, receiver: ReceiverId, number: int, outcome: Outcome) -> None:
        """A process tells how its handler went.

        Raises:
            RemoteProtocolError: It was not asked to run it.
        """
        one = self._receivers[receiver]
        runs = one.running.get(number)
        if not runs:
            raise RemoteProtocolError(f"signal {number} was handled, and not sent")
        run = runs.pop(0)
        if not runs:
            del one.running[number]
        seat = run.seat
        seat.running.remove(receiver)
        if outcome is Outcome.RETURNED:
            self.listen(receiver, is_listening=False)
            self._again(run)
            return
        seat.crashes = 0
        seat.signal.handled += 1
        seat.signal.failed += outcome is Outcome.FAILED
        self._try(seat)

    def _crashed(self, run: _Run, receiver: ReceiverId) -> bool:
        """The process died with its handler; tell whether it is not tried again."""
        seat = run.seat
        seat.running.remove(receiver)
        seat.crashes += 1
        if seat.crashes < _MAX_CRASHES:
            self._again(run)
            return False
        seat.crashes = 0
        seat.signal.dropped += 1
        self._try(seat)
        return True

    def _again(self, run: _Run) -> None:
        seat = run.seat
        if self.signals.get(seat.signal.number) is not seat.signal:
            return
        if seat.holder and seat.holder not in seat.signal.holders:
            seat.signal.dropped += 1
            return
        seat.add_paths(run.paths, is_complete=run.is_complete)
        is_counted = seat.signal.overlap is not Overlap.SKIP
        seat.due = seat.due + 1 if is_counted else 1
        self._try(seat)

    # Dispatches

    def take_dispatches(self, now: float) -> list[Dispatch]:
        """Return what is to be run where, decided since the last call, in order."""
        if not self._out:
            return []
        out, self._out = self._out, []
        for _, run in out:
            run.since = now
        return [dispatch for dispatch, _ in out]

    def _serve(self, receiver: ReceiverId, one: _Receiver) -> None:
        """Give a process that listens the first due signal that it can run."""
        for number in list(one.numbers):
            if not one.is_listening:
                return
            signal = self.signals.get(number)
            if signal is None:
                continue
            for holder in (one.holder, _ONE_SEAT):
                seat = signal.seats.get(holder)
                if seat is not None and seat.can_run and self._fits(receiver, seat):
                    self._run(receiver, seat)
                    break

    def _try(self, seat: Seat) -> None:
        """Run a seat, if it is due and somebody listens."""
        while seat.can_run:
            receiver = self._first_for(seat)
            if receiver is None:
                return
            self._run(receiver, seat)

    def _first_for(self, seat: Seat) -> ReceiverId | None:
        """Return who of those that listen runs *seat*."""
        if seat.holder:
            # Not looked for among all: with 1,000 mules, ``mules`` has 1,000 seats.
            receiver = seat.signal.holders.get(seat.holder)
            return receiver if receiver in self._listening else None
        return next((one for one in self._listening if self._fits(one, seat)), None)

    def _fits(self, receiver: ReceiverId, seat: Seat) -> bool:
        one, signal = self._receivers[receiver], seat.signal
        if signal.holders.get(one.holder) != receiver:
            return False
        if seat.holder:
            return seat.holder == one.holder
        kind = signal.target.kind
        if kind is TargetKind.FARM:
            return signal.target.name in one.farms
        if kind is TargetKind.ANY:
            return not one.is_worker or not any(
                holder.startswith("mule") for holder in signal.holders
            )
        return one.is_worker == (kind is TargetKind.WORKER)

    def _run(self, receiver: ReceiverId, seat: Seat) -> None:
        one, number = self._receivers[receiver], seat.signal.number
        one.is_listening = False
        del self._listening[receiver]
        # The signals after it come first when this process listens again.
        del one.numbers[number]
        one.numbers[number] = None
        seat.due -= 1
        seat.running.append(receiver)
        paths, is_complete = seat.take_paths()
        run = _Run(seat, paths, is_complete)
        one.running.setdefault(number, []).append(run)
        dispatch = Dispatch(receiver, number, paths, is_complete)
        self._out.append((dispatch, run))
