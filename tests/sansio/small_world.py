"""Two messages, two mules, a lock, a journal and a master that may die once.

A world is small enough that all its histories can be visited. It knows little: what
senders were told, what mules have in hand, and what the journal was told; from that
follows where a message must be, and where it must not.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final, cast

from pymule.errors import DrainingError, RefusedError
from pymule.sansio.alarms import AlarmKind
from pymule.sansio.batch import Batch, unpack_bodies
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.locks import Grant, LockTable, PeerId
from pymule.sansio.options import OptionWords, pack_options
from pymule.sansio.queue import Keeping, Limits, Queue
from pymule.sansio.record import (
    Buried,
    Changed,
    Durability,
    Fact,
    Gone,
    RowGone,
    Stored,
)
from pymule.sansio.router import Router
from pymule.sansio.run import Hands, Place, Run
from pymule.sansio.target import MessageId
from pymule.sansio.upkeep import Upkeep
from tests.sansio.journal_model import JournalModel, recovered_from

__all__ = ("Event", "Plan", "World")

Event = tuple[str, *tuple[int, ...]]

POLICY: Final = DeliveryPolicy(max_attempts=2, max_crashes=2)
WINDOW_S: Final = 600.0
# How far the journal may be behind.
_MOST_CALLS: Final = 2
_UNTOUCHED, _HELD, _DONE = range(3)


@dataclass(frozen=True)
class Plan:
    """Which small world it is.

    Args:
        options: Of each message.
        is_batch: Whether both are submitted at once.
        is_one: Whether the second is never submitted.
        is_durable: Whether a journal keeps them; then the master may die.
        has_lock: Whether the mules want a lock.
        acts: What mules and clocks do, beside acks and deaths.
    """

    options: tuple[OptionWords, OptionWords]
    is_batch: bool = False
    is_one: bool = False
    is_durable: bool = True
    has_lock: bool = False
    acts: frozenset[str] = frozenset()

    @property
    def is_keyed(self) -> bool:
        return all("key" in words for words in self.options)


@dataclass
class Known:
    """What the world knows of one message."""

    id: int = 0
    row: int = 0
    is_submitted: bool = False
    is_confirmed: bool = False
    is_refused: bool = False
    # The call that tells its end to the journal; 0: it has not ended.
    ended: int = 0
    # A queue has it, or its dead letters.
    is_in: bool = False
    # No mule may get it as an earlier attempt.
    least_attempt: int = 1


@dataclass
class Mule:
    """A process, or the place of one that died."""

    link: LinkId | None = None
    # What it has, and as which attempt; and what waits for the journal.
    has: dict[int, int] = field(default_factory=dict)
    coming: list[tuple[int, int, int]] = field(default_factory=list)


class World:
    """One state of everything."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.router = self._open()
        self.journal: JournalModel[None] = JournalModel(None)
        self.messages = [Known(), Known(is_submitted=plan.is_one)]
        self.mules = [Mule(), Mule()]
        self.next_link = 1
        self.lives = 1 + plan.is_durable
        self.locks = LockTable(1)
        self.token = 0
        # Mules that have the lock or stand in its line, in order.
        self.line: list[int] = []
        for slot in range(2):
            self._start(slot)
        self.pump()

    def _open(self) -> Router:
        router = Router()
        durable = Durability.DISK if self.plan.is_durable else Durability.MEMORY
        router.open_queue("a", Limits(), POLICY, Keeping(durable))
        return router

    # What may happen next

    def events(self) -> Iterator[Event]:
        if self.journal.calls:
            yield ("commit",)
        if self.journal.new:
            yield ("store",)
            if "refuse" in self.plan.acts:
                yield ("refuse",)
        if self.lives > 1:
            for calls in range(len(self.journal.calls) + 1):
                yield ("crash", calls, 0)
                yield ("crash", calls, 1)
        if len(self.journal.calls) >= _MOST_CALLS:
            return
        yield from self._events_of_messages()
        for slot, mule in enumerate(self.mules):
            yield from self._events_of(slot, mule)

    def _events_of_messages(self) -> Iterator[Event]:
        for number, known in enumerate(self.messages):
            if not known.is_submitted:
                yield ("submit", number)
                break
        if "replay" in self.plan.acts:
            for letter in self.router.queues["a"].dead:
                yield ("replay", letter.id)
        for run in self.router.queues["a"].waiting_runs():
            if run.place is Place.DELAYED:
                yield ("due", run.first_id)
            if run.expires_at is not None:
                yield ("expire", run.first_id)

    def _events_of(self, slot: int, mule: Mule) -> Iterator[Event]:
        if mule.link is None:
            yield ("start", slot)
            return
        for number in mule.has:
            yield ("ack", slot, number)
            for act in ("nack", "retry", "reject", "return"):
                if act in self.plan.acts:
                    yield (act, slot, number)
        # What was not touched comes after all that was.
        for hands in product(range(3), repeat=len(mule.has)):
            touched = [hand != _UNTOUCHED for hand in hands]
            if touched == sorted(touched, reverse=True):
                yield cast("Event", ("die", slot, *hands))
        if self.plan.has_lock:
            if slot in self.line[:1]:
                yield ("unlock", slot)
            elif slot not in self.line:
                yield ("lock", slot)

    def apply(self, event: Event) -> None:
        word, *numbers = event
        getattr(self, f"_{word}")(*numbers)
        self.pump()
        self.check()

    # Senders and the journal

    def _submit(self, number: int) -> None:
        numbers = (0, 1) if self.plan.is_batch else (number,)
        batch = Batch.of([b"%d" % n for n in numbers])
        for n in numbers:
            self.messages[n].is_submitted = True
        options = pack_options(**self.plan.options[number])
        self.router.submit(1, number, "a", batch, options, 0.0)

    def _commit(self) -> None:
        self.journal.commit(1)
        self._arrive()

    def _arrive(self) -> None:
        """What waited for the journal leaves for its mule."""
        for mule in self.mules:
            while mule.coming and mule.coming[0][0] <= self.journal.written:
                _, number, attempt = mule.coming.pop(0)
                known = self.messages[number]
                assert known.is_in
                assert known.least_attempt <= attempt <= POLICY.max_attempts
                known.least_attempt = attempt
                mule.has[number] = attempt

    def _store(self) -> None:
        self.router.stored(self.journal.store(1))

    def _refuse(self) -> None:
        self.router.not_stored(self.journal.refuse(1), DrainingError())

    # Mules

    def _start(self, slot: int) -> None:
        link = LinkId(self.next_link)
        self.next_link += 1
        self.mules[slot] = Mule(link)
        self.router.add_link(link, ["a"])
        self.router.open_lane(link, 0, ["a"])
        self.router.credit(link, 0, 1_000_000)

    def _taken(self, slot: int, number: int) -> tuple[LinkId, int, int]:
        """A mule has done with a message: return link, id and attempt."""
        mule, known = self.mules[slot], self.messages[number]
        assert mule.link is not None
        return mule.link, known.id, mule.has.pop(number)

    def _ack(self, slot: int, number: int) -> None:
        link, message, attempt = self._taken(slot, number)
        self.router.ack(link, message, 1, attempt)
        self._end(number)

    def _end(self, number: int) -> None:
        """It has ended: the next call tells the journal."""
        self.messages[number].ended = self.journal.mark + 1

    def _nack(self, slot: int, number: int) -> None:
        self._fail(slot, number, 0.0, is_final=False)

    def _retry(self, slot: int, number: int) -> None:
        self._fail(slot, number, 5.0, is_final=False)

    def _reject(self, slot: int, number: int) -> None:
        self._fail(slot, number, 0.0, is_final=True)

    def _fail(self, slot: int, number: int, delay: float, *, is_final: bool) -> None:
        link, message, attempt = self._taken(slot, number)
        self.messages[number].least_attempt = attempt + 1
        self.router.nack(
            link, message, attempt,
            delay=delay, is_final=is_final, error={}, jitter=0.0, now=0.0,
        )  # fmt: skip

    def _return(self, slot: int, number: int) -> None:
        link, message, _ = self._taken(slot, number)
        self.router.give_back(link, message, 1)

    def _die(self, slot: int, *hands: int) -> None:
        mule = self.mules[slot]
        assert mule.link is not None
        runs = self.router.links[mule.link].leases
        positions = {
            run.first_id + n: run.start + n for run in runs for n in range(run.count)
        }
        held, taken = set(), 0
        for (number, attempt), hand in zip(mule.has.items(), hands, strict=True):
            position = positions[self.messages[number].id]
            if hand != _UNTOUCHED:
                taken = position + 1
            if hand == _HELD:
                held.add(position)
                self.messages[number].least_attempt = attempt + 1
            if hand == _DONE:
                self._end(number)
        self.mules[slot] = Mule()
        boards = {0: Hands(taken, frozenset(held))}
        self.router.link_gone(mule.link, boards, {}, 0.0)
        self._unlock_all([slot])

    def _due(self, first_id: int) -> None:
        self.router.alarm(AlarmKind.DUE, first_id)

    def _expire(self, first_id: int) -> None:
        self._end(self.messages.index(self._named(first_id)))
        self.router.alarm(AlarmKind.EXPIRY, first_id)

    # The lock

    def _lock(self, slot: int) -> None:
        grant = self.locks.acquire("l", PeerId(slot), 1, None, 0.0)
        self.line.append(slot)
        assert bool(grant) == (self.line == [slot])
        self._granted([grant] if grant else [])

    def _unlock(self, slot: int) -> None:
        grant = self.locks.release("l", PeerId(slot), self.token, 0.0)
        self.line.remove(slot)
        self._granted([grant] if grant else [])

    def _unlock_all(self, slots: list[int]) -> None:
        had_lock = self.line[:1]
        self.line = [slot for slot in self.line if slot not in slots]
        grants = self.locks.peers_gone([PeerId(slot) for slot in slots], 0.0)
        assert bool(grants) == (self.line[:1] != had_lock and bool(self.line))
        self._granted(grants)

    def _granted(self, grants: list[Grant]) -> None:
        for grant in grants:
            assert grant.peer == self.line[0], "the next in line, and alive"
            assert grant.token > self.token
            self.token = grant.token

    # The master

    def _crash(self, calls: int, rows: int) -> None:
        """It dies, and did not hear of what was written last."""
        self.lives -= 1
        self.journal.commit(calls)
        self.journal.store(rows)
        for mule in self.mules:
            for number, attempt in mule.has.items():
                self.messages[number].least_attempt = attempt + 1
        for known in self.messages:
            if known.ended > self.journal.written:
                known.ended = 0
            is_stored = known.row in self.journal.stored
            assert is_stored or not known.is_confirmed
            known.is_in = is_stored and not known.ended
            # Its number may be used again.
            known.id = known.id if is_stored else 0
        self.journal.die()
        self.router = self._recovered()
        again = [repr_of(run) for run in where(self._recovered())]
        assert again == [repr_of(run) for run in where(self.router)], "twice is once"
        self.locks, self.line = LockTable(self.token + 1), []
        for slot in range(2):
            self._start(slot)

    def _recovered(self) -> Router:
        router = self._open()
        Upkeep(router).recover(recovered_from(self.journal.log, 0.0, WINDOW_S), 0.0)
        return router

    def _replay(self, message: int) -> None:
        upkeep = Upkeep(self.router)
        letter = upkeep.find_dead(MessageId(message))
        assert letter is not None
        upkeep.replay(letter, None, 0.0)
        self._named(message).least_attempt = 1

    def _named(self, message: int) -> Known:
        return next(known for known in self.messages if known.id == message)

    def pump(self) -> None:
        """Do what the router has decided, as the master does after each event."""
        deliveries = self.router.deliveries(0.0)
        self._answer()
        facts = self.router.take_facts()
        self.router.take_alarms()
        for fact in facts:
            if isinstance(fact, Stored) and not fact.is_kept:
                bodies = unpack_bodies(fact.payload, fact.count)
                for message, body in enumerate(bodies, fact.first_id):
                    known = self.messages[int(body)]
                    known.id, known.row = message, fact.row
        mark = self.journal.write(facts, None) if facts else self.journal.mark
        for link, run in deliveries:
            mule = next(mule for mule in self.mules if mule.link == link)
            until = self.journal.written if run.is_begun else mark
            for body in unpack_bodies(run.payload, run.count):
                mule.coming.append((until, int(body), run.attempts + 1))
        self._arrive()

    def _answer(self) -> None:
        for _, first, count, result in self.router.take_answers():
            for number in range(first, first + count):
                known = self.messages[number]
                assert not known.is_confirmed
                assert not known.is_refused
                known.is_refused = isinstance(result, RefusedError)
                if isinstance(result, int):
                    known.is_confirmed = known.is_in = True
                    known.id = result + number - first
                    written = known.row in self.journal.stored
                    assert written or not self.plan.is_durable

    # What always holds

    def check(self) -> None:
        queue = self.router.queues["a"]
        runs = where(self.router)
        ids = [run.first_id + n for run in runs for n in range(run.count)]
        dead = [letter.id for letter in queue.dead]
        alive = [k.id for k in self.messages if k.is_in and not k.ended]
        assert sorted([*ids, *dead]) == sorted(alive), "in one place, or ended"
        assert queue.count == len(ids) + queue.storing
        assert bool(queue.bytes) == bool(queue.count)
        assert queue.ready_count == len(queue.suspects) + sum(
            run.count for run in queue.ready
        )
        self._check_links(queue)
        if self.plan.is_keyed:
            self._check_key(runs)

    def _check_links(self, queue: Queue) -> None:
        for mule in self.mules:
            if mule.link is None:
                continue
            link = self.router.links[mule.link]
            ids = [run.first_id + n for run in link.leases for n in range(run.count)]
            numbers = [*mule.has, *(number for _, number, _ in mule.coming)]
            assert sorted(self.messages[n].id for n in numbers) == ids
            has_suspect = any(run.crashes for run in link.leases)
            assert link.is_solo == has_suspect
            assert not has_suspect or len(ids) == 1
            # Nobody waits in vain.
            assert not queue.suspects or ids
            assert not queue.ready or has_suspect or link.reserved_by is queue

    def _check_key(self, runs: list[Run]) -> None:
        leased = [run for run in runs if run.place is Place.LEASED]
        assert sum(run.count for run in leased) <= 1
        waiting = [run for run in runs if run.place is not Place.LEASED]
        assert not self.router.queues["a"].blocked or len(runs) > 1
        if leased and "replay" not in self.plan.acts:
            assert all(run.first_id > leased[0].first_id for run in waiting)

    # To know it again

    def fingerprint(self) -> Hashable:
        """Return all that what may happen depends on.

        Numbers that only grow count from where they are now.
        """
        rows: dict[int, int] = {}
        slots = {mule.link: slot for slot, mule in enumerate(self.mules)}
        queue, journal = self.router.queues["a"], self.journal
        log = recovered_from(journal.log, 0.0, WINDOW_S)

        def row(number: int) -> int:
            return rows.setdefault(number, len(rows))

        def of(run: Run) -> Hashable:
            told = run.errors[-1]["attempt"] if run.errors else 0
            return (
                run.first_id, run.count, run.place, run.attempts, run.crashes, told,
                row(run.batch.row), run.batch.unsettled, run.batch.count, run.begun,
            )  # fmt: skip

        return (
            self.lives,
            tuple(self.line),
            tuple(
                (
                    k.id, k.row in journal.stored, k.is_submitted, k.is_confirmed,
                    k.is_refused, k.is_in, k.least_attempt,
                    bool(k.ended) + (k.ended > journal.written),
                    max(k.ended - journal.mark, -_MOST_CALLS),
                )
                for k in self.messages
            ),
            tuple(
                (
                    mule.link is None,
                    tuple(mule.has.items()),
                    tuple((m - journal.mark, n, a) for m, n, a in mule.coming),
                )
                for mule in self.mules
            ),
            tuple(
                (
                    slots[link.id], link.is_solo, link.reserved_by is None,
                    tuple(map(of, link.leases)),
                )
                for link in self.router.links.values()
            ),
            tuple(of(run) for run in queue.waiting_runs()),
            tuple(slots[lane.link.id] for lane in queue.line),
            tuple((o.id, o.attempts, o.crashes) for o in queue.dead),
            tuple(queue.keys._on_its_way.items()),
            tuple(
                tuple(_fact(fact, row) for fact in facts) for facts, _ in journal.calls
            ),
            tuple(_fact(fact, row) for fact in journal.new),
            tuple(
                (row(one.stored.row), *(repr(share) for share in one.shares))
                for one in log.rows
            ),
            tuple((o.id, o.attempts, o.crashes) for o in log.dead),
        )  # fmt: skip


def _fact(fact: Fact, row: Callable[[int], int]) -> Hashable:
    match fact:
        case Stored():
            marks = fact.is_kept, fact.is_begun
            return "stored", row(fact.row), fact.first_id, fact.count, *marks
        case Changed():
            told = len(fact.errors)
            what = fact.attempts, fact.crashes, fact.due_at, told
            return "changed", row(fact.row), fact.first_id, fact.count, what
        case Gone():
            return "gone", row(fact.row), fact.first_id, fact.count
        case RowGone():
            return "row gone", row(fact.row)
        case Buried():
            return "buried", fact.letter.id, fact.letter.attempts
    return repr(fact)


def repr_of(run: Run) -> Hashable:
    return run.first_id, run.count, run.place, run.attempts, run.crashes, run.errors


def where(router: Router) -> list[Run]:
    """Return all runs that are in a place."""
    runs = list(router.queues["a"].waiting_runs())
    return runs + [run for link in router.links.values() for run in link.leases]
