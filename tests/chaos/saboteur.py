"""A pymuled with quick restarts, and with planted bugs if asked for.

``python -m tests.chaos.saboteur NAME[,NAME...] WORDS-OF-PYMULED...``

The bugs are put into the classes of this process from the outside; pymule itself has
no switch for them. ``none`` plants nothing.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pymule.cli import pymuled
from pymule.errors import QueueFullError
from pymule.master import plan
from pymule.master.clients import ClientPeer, Clients
from pymule.master.journal import Journal, Progress
from pymule.master.journal_file import JournalFile
from pymule.master.links import Links
from pymule.master.outflow import Outflow
from pymule.sansio.batch import Batch
from pymule.sansio.body import JsonObject
from pymule.sansio.intake import Intake
from pymule.sansio.ledger import Ledger
from pymule.sansio.link import LinkId
from pymule.sansio.places import Places
from pymule.sansio.queue import Queue
from pymule.sansio.ready import ReadyLine
from pymule.sansio.record import Fact, Stored
from pymule.sansio.router import Losses, Router
from pymule.sansio.run import Parked, Run, SenderId
from pymule.sansio.submissions import Piece, SubmissionLog
from pymule.sansio.supervision import RestartPolicy

__all__ = ("BUGS", "main")


def _plant(owner: object, name: str, bug: object) -> None:
    """Put *bug* in the place of what *owner* calls *name*."""
    assert hasattr(owner, name), f"{owner} has no {name}"
    setattr(owner, name, bug)


def _ack_early() -> None:
    """A message is done as soon as it is delivered."""
    deliver = Links.deliver

    def deliver_and_ack(self: Links, link: LinkId, run: Run) -> None:
        deliver(self, link, run)
        self._router.ack(link, run.first_id, run.count, run.attempts + 1)

    _plant(Links, "deliver", deliver_and_ack)


def _forget_requeue() -> None:
    """What was in hand when a mule died is forgotten."""

    def crashed(
        self: Router, run: Run, error: JsonObject, losses: Losses, now: float
    ) -> None:
        del self, error, losses, now
        run.queue.settle(run)

    _plant(Router, "_crashed", crashed)


def _deliver_twice() -> None:
    """Every so often a batch is queued twice."""
    submit = Router.submit
    count = 0

    def submit_twice(
        self: Router,
        sender: SenderId,
        sequence: int,
        target: str,
        batch: Batch,
        *words: object,
    ) -> None:
        nonlocal count
        copy = Batch(batch.count, batch.payload)
        submit(self, sender, sequence, target, batch, *words)  # type: ignore[arg-type]
        count += 1
        if count % 5 == 0:
            # For a sender that nobody knows, so that the answer goes nowhere.
            submit(self, -count, sequence, target, copy, *words)  # type: ignore[arg-type]

    _plant(Router, "submit", submit_twice)


def _lose_on_reconnect() -> None:
    """What a client that comes back sends first is taken for a repetition."""
    recognize, split = Clients._recognize, SubmissionLog.split
    # By log: where it really ends. Only what is before that is looked at closely.
    doubted: dict[int, int] = {}

    def recognize_wrongly(self: Clients, peer: ClientPeer, client: str) -> None:
        log = peer.sender.log
        recognize(self, peer, client)
        found = peer.sender.log
        if found is not log:
            doubted[id(found)], found.end = found.end, 2**63

    def split_wrongly(self: SubmissionLog, sequence: int, count: int) -> list[Piece]:
        if id(self) in doubted:
            self.end = doubted.pop(id(self))
            return [Piece(sequence, count, 1)]
        return split(self, sequence, count)

    _plant(Clients, "_recognize", recognize_wrongly)
    _plant(SubmissionLog, "split", split_wrongly)


def _reorder() -> None:
    """Every so often what was accepted last is delivered first."""
    append = ReadyLine.append
    count = 0

    def append_in_front(self: ReadyLine, run: Run) -> None:
        nonlocal count
        append(self, run)
        count += 1
        if count % 3 == 0:
            self._levels[run.asked.priority].rotate(1)

    _plant(ReadyLine, "append", append_in_front)


def _revive() -> None:
    """What is refused because the queue is full is queued all the same."""
    submit = Intake.submit

    def submit_and_keep(self: Intake, queue: Queue, parked: Parked) -> None:
        answers = len(self._answers)
        submit(self, queue, parked)
        if queue.limits.refuses and any(
            isinstance(result, QueueFullError)
            for _, _, _, result in self._answers[answers:]
        ):
            # For a sender that nobody knows, so that the answer goes nowhere.
            self._accept(queue, replace(parked, sender=-1), parked.count)

    _plant(Intake, "submit", submit_and_keep)


def _garble() -> None:
    """Every so often a message comes out of another queue than it went into."""
    submit = Router.submit
    count = 0

    def submit_elsewhere(self: Router, *words: object) -> None:
        nonlocal count
        count += 1
        sender, sequence, target, *rest = words
        if count % 5 == 0 and target == "mule":
            target = "farm:crowd"
        submit(self, sender, sequence, target, *rest)  # type: ignore[arg-type]

    _plant(Router, "submit", submit_elsewhere)


def _hurry() -> None:
    """A delay is forgotten."""
    enter = Places.enter

    def enter_now(self: Places, run: Run, due_at: float | None = None) -> None:
        del due_at
        enter(self, run)

    _plant(Places, "enter", enter_now)


def _ignore_keys() -> None:
    """Messages with one key go to several mules at once."""

    def line_up(self: Places, run: Run) -> None:
        self._ready(run)

    _plant(Places, "_line_up", line_up)


def _confirm_early() -> None:
    """All is said to be written at once, and is written a moment later."""
    progressed = Outflow.progressed
    confirmed: set[int] = set()

    held: deque[tuple[int, Sequence[Fact]]] = deque()

    def write_later(self: Journal, facts: Sequence[Fact]) -> int:
        self._mark += 1
        writer = self._writer
        assert writer is not None
        held.append((self._mark, facts))
        loop = asyncio.get_running_loop()
        # Timers of one instant may come in any order, what they write may not.
        loop.call_later(0.1, lambda: writer.queue.put(held.popleft()))
        rows = [f.row for f in facts if isinstance(f, Stored) and not f.is_kept]
        loop.call_soon(self._on_progress, Progress(self._mark, rows))
        return self._mark

    def progress_once(self: Outflow, progress: Progress) -> None:
        rows = [row for row in progress.stored if row not in confirmed]
        confirmed.update(rows)
        written = max(progress.written, self._written)
        progressed(self, replace(progress, written=written, stored=rows))

    _plant(Journal, "write", write_later)
    _plant(Outflow, "progressed", progress_once)


def _skip_fsync() -> None:
    """The disk is never asked to keep anything."""
    run = JournalFile.run

    def run_unsynced(
        self: JournalFile,
        statements: list[tuple[str, tuple[object, ...]]],
        *,
        is_synced: bool,
    ) -> None:
        del is_synced
        run(self, statements, is_synced=False)

    _plant(JournalFile, "run", run_unsynced)


def _forget_attempts() -> None:
    """Of an attempt that begins, what is written is what was before."""

    def leased(self: Ledger, run: Run) -> None:
        self.changed(run)

    _plant(Ledger, "leased", leased)


def _forget_acks() -> None:
    """That a message is done is not written."""
    _plant(Ledger, "settled", lambda *_: None)


BUGS: Final[dict[str, Callable[[], None]]] = {
    "ack-early": _ack_early,
    "forget-requeue": _forget_requeue,
    "deliver-twice": _deliver_twice,
    "lose-on-reconnect": _lose_on_reconnect,
    "reorder": _reorder,
    "revive": _revive,
    "garble": _garble,
    "hurry": _hurry,
    "ignore-keys": _ignore_keys,
    "confirm-early": _confirm_early,
    "skip-fsync": _skip_fsync,
    "forget-attempts": _forget_attempts,
    "forget-acks": _forget_acks,
}


def main(words: list[str]) -> None:
    """Plant what *words* name first; then be pymuled."""
    names, *rest = words
    # Mules that are killed all the time are to be back soon.
    quick = RestartPolicy(backoff_s=0.02, backoff_max_s=0.1, max_deaths=1_000_000)
    _plant(plan, "RestartPolicy", lambda: quick)
    for name in names.split(","):
        if name != "none":
            BUGS[name]()
    sys.argv = ["pymuled", *rest]
    pymuled.main()


if __name__ == "__main__":
    main(sys.argv[1:])
