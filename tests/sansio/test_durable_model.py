"""The router, and a journal of which any part is written, against a naive model."""

from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.errors import DrainingError, QueueFullError
from pymule.sansio.alarms import Alarm, AlarmKind
from pymule.sansio.batch import Batch, unpack_bodies
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.options import OptionWords, pack_options, read_options
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Durability, Fact, Stored
from pymule.sansio.router import Router
from pymule.sansio.run import Hands, Run
from pymule.sansio.upkeep import Recovery, Upkeep
from tests.sansio.durable_model import WINDOW_S, LinkModel, Model, Snapshot
from tests.sansio.journal_model import JournalModel, recovered_from
from tests.sansio.message_model import WAITING, Message, Place, QueueModel, Waiting
from tests.sansio.stateful import case_of

NAMES: Final = ("a", "b")
ENOUGH: Final = 1_000
POLICIES: Final = (
    DeliveryPolicy(max_attempts=9, max_crashes=4, backoff_s=1.0, backoff_max_s=1.5),
    DeliveryPolicy(max_attempts=2, max_crashes=3, backoff_s=1.0, backoff_max_s=1.5),
    DeliveryPolicy(max_attempts=3, max_crashes=1, backoff_s=0.0, backoff_max_s=1.5),
)
KEEPING = st.builds(
    Keeping,
    durability=st.sampled_from([Durability.DISK, Durability.DISK, *Durability]),
    dead_max_messages=st.sampled_from([ENOUGH, 2, 1, 0]),
    dedupe_s=st.just(WINDOW_S),
)
LIMITS = st.builds(
    Limits,
    max_messages=st.sampled_from([ENOUGH, ENOUGH, 8, 4, 2]),
    refuses=st.booleans(),
)
OPTIONS: Final[tuple[OptionWords, ...]] = (
    {},
    {},
    {"delay": 5.0},
    {"ttl": 12.0},
    {"delay": 5.0, "ttl": 4.0},
    {"priority": 5},
    {"priority": 9, "ttl": 12.0},
    {"key": "k"},
    {"key": "k", "priority": 5},
    {"key": "k", "delay": 5.0},
    {"key": "k", "ttl": 12.0},
    {"key": "l", "max_attempts": 2},
    {"message_id": "m"},
    {"message_id": "m"},
    {"message_id": "n", "key": "l", "delay": 5.0},
    {"max_attempts": 1},
    {"max_crashes": 1, "priority": 5},
)
# Whatever a journal says; the disk is full as a rule.
NO_SPACE: Final = DrainingError()

Fingerprint = list[tuple[object, ...]]


class DurableRouterAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.router = Router()
        self.model = Model()
        self.journal = JournalModel(Snapshot())
        self.alarms: dict[Alarm, float] = {}
        # By link: what waits until the journal has come to a mark.
        self.outflow: dict[LinkId, list[tuple[int, list[Message]]]] = {}
        self.next_link = 1
        self.sequence = 1
        self.sender = 1
        # Whether to deliver at the end of each step, as the master does.
        self.is_pumping = True
        self.is_flooded = False

    @initialize(
        policy=st.sampled_from(POLICIES),
        limits=LIMITS,
        keeping=KEEPING,
        is_pumping=st.sampled_from([True, True, False]),
    )
    def start(
        self,
        policy: DeliveryPolicy,
        limits: Limits,
        keeping: Keeping,
        is_pumping: bool,  # noqa: FBT001  (hypothesis passes it by name)
    ) -> None:
        self.is_pumping = is_pumping
        always = Keeping(Durability.DISK, keeping.dead_max_messages, WINDOW_S)
        self.model.queues["a"] = QueueModel("a", Limits(), always, policy)
        self.model.queues["b"] = QueueModel("b", limits, keeping, policy)
        self.router = self._open_router()
        for _ in range(2):
            self.add_link(list(NAMES), 100)

    def _open_router(self) -> Router:
        router = Router()
        for queue in self.model.queues.values():
            router.open_queue(queue.name, queue.limits, queue.policy, queue.keeping)
        return router

    # Senders

    @rule(
        name=st.sampled_from("aaab"),
        count=st.integers(1, 3),
        words=st.sampled_from(OPTIONS),
    )
    def submit(self, name: str, count: int, words: OptionWords) -> None:
        options = pack_options(**words)
        asked = read_options(options)
        count = 1 if asked.message_id else count
        bodies = [b"%d/%d" % (self.sender, self.sequence + n) for n in range(count)]
        due_at = asked.due_at(self.model.now, 0.0)
        new = Waiting(self.sender, self.sequence, bodies, asked, self.model.now, due_at)
        self.model.queues[name].waiting.append(new)
        batch = Batch.of(bodies)

        self.router.submit(
            new.sender, new.sequence, name, batch, options, new.at, due_at
        )

        self.sequence += count
        self.end(new)

    @precondition(lambda self: not self.is_flooded)
    @rule()
    def flood(self) -> None:
        """One of low priority waits behind many of a higher one: rare by chance."""
        self.is_flooded = True
        self.submit("a", 1, {})
        for _ in range(20):
            self.submit("a", 1, {"priority": 9})

    @rule()
    def sender_gone(self) -> None:
        for queue in self.model.queues.values():
            queue.waiting = [w for w in queue.waiting if w.sender != self.sender]

        self.router.sender_gone(self.sender)

        self.sender += 1
        self.end()

    # The journal

    @precondition(lambda self: self.journal.calls)
    @rule(count=st.sampled_from([1, 2, ENOUGH, ENOUGH]))
    def commit(self, count: int) -> None:
        self.journal.commit(count)
        self._release()
        self.end()

    @precondition(lambda self: self.journal.new)
    @rule(count=st.sampled_from([1, ENOUGH, ENOUGH]))
    def store(self, count: int) -> None:
        rows = self.journal.store(count)
        for message in self._in_rows(rows):
            self.model.entered(message)

        self.router.stored(rows)

        self.end()

    @rule()
    def write(self) -> None:
        """All that there is, as a journal that is fast would."""
        self.pump()
        self.commit(ENOUGH)
        self.store(ENOUGH)

    @precondition(lambda self: self.journal.new)
    @rule(count=st.sampled_from([1, 2]))
    def refuse(self, count: int) -> None:
        rows = self.journal.refuse(count)
        for message in self._in_rows(rows):
            self.model.not_stored(message)

        self.router.not_stored(rows, NO_SPACE)

        self.end()

    def _in_rows(self, rows: list[int]) -> list[Message]:
        storing = self.model.at(Place.STORING)
        return [m for row in rows for m in storing if m.row == row]

    def _release(self) -> None:
        for number, held in list(self.outflow.items()):
            while held and held[0][0] <= self.journal.written:
                for message in held.pop(0)[1]:
                    if message.link == number:
                        self.model.sent(message)
            if not held:
                del self.outflow[number]

    @rule(
        committed=st.sampled_from([0, 0, 1, 2, ENOUGH]),
        stored=st.sampled_from([0, 1, ENOUGH]),
        downtime=st.sampled_from([0.0, 0.0, 3.0, 30.0]),
    )
    def crash(self, committed: int, stored: int, downtime: float) -> None:
        """The master dies; what was written last, it did not hear of."""
        self.journal.commit(committed)
        self.journal.store(stored)
        self.journal.die()
        self.model.now += downtime
        self.sender += 1
        self.alarms, self.outflow = {}, {}
        expected = self.model.restart(self.journal.snapshot, self.journal.stored)

        self.router = self._open_router()
        found = self._recover(self.router)

        assert found == expected
        again = self._open_router()
        assert self._recover(again) == found
        assert fingerprint(again) == fingerprint(self.router)
        for _ in range(2):
            self.add_link(list(NAMES), 100)
        self.end()

    def _recover(self, router: Router) -> Recovery:
        now = self.model.now
        recovered = recovered_from(self.journal.log, now, WINDOW_S)
        return Upkeep(router).recover(recovered, now)

    # Mules

    @precondition(lambda self: len(self.model.links) < 4)
    @rule(
        sources=st.sampled_from([["a"], ["b"], ["a", "b"], ["a", "b"]]),
        limit=st.sampled_from([100, 1, 3, 100]),
    )
    def add_link(self, sources: list[str], limit: int) -> None:
        number = LinkId(self.next_link)
        self.next_link += 1
        self.model.links[number] = LinkModel(sources)
        self.router.add_link(number, sources)
        self.router.open_lane(number, 0, sources)
        self._credit(number, limit)

    @precondition(lambda self: self.model.links)
    @rule(data=st.data(), more=st.sampled_from([0, 1, 2, 100, 100]))
    def credit(self, data: st.DataObject, more: int) -> None:
        self._credit(self._any_link(data), more)

    def _credit(self, number: LinkId, more: int) -> None:
        link = self.model.links[number]
        link.limit = link.sent + more

        self.router.credit(number, 0, link.limit)

        self.end()

    @precondition(lambda self: len(self.model.links) > 2)
    @rule(data=st.data())
    def drain_link(self, data: st.DataObject) -> None:
        number = self._any_link(data)
        self.model.links[number].is_draining = True

        self.router.drain_link(number)

        self.end()

    @precondition(lambda self: self.model.at(Place.LEASED))
    @rule(data=st.data(), new_credit=st.sampled_from([0, 1, 100, 100]))
    def link_gone(self, data: st.DataObject, new_credit: int) -> None:
        number = data.draw(st.sampled_from([m.link for m in self.sent] or [None]))
        number = number or self._any_link(data)
        had = [m.position for m in self.sent if m.link == number]
        held = data.draw(st.frozensets(st.sampled_from(had), max_size=3)) if had else ()
        low = max(held, default=-1) + 1
        taken = data.draw(st.sampled_from([0, low, max(had, default=-1) + 1]))
        self._link_gone(number, max(low, taken), frozenset(held))
        if new_credit:
            self.add_link(list(NAMES), new_credit)

    def _link_gone(self, number: LinkId, taken: int, held: frozenset[int]) -> None:
        hands = {0: Hands(taken, held)} if taken else {}
        in_hand = [m.id for m in self.model.leased(number) if m.position in held]
        self.model.link_gone(number, taken, held)

        losses = self.router.link_gone(number, hands, {"text": "died"}, self.model.now)

        assert losses.in_hand == in_hand
        self.end()

    def _any_link(self, data: st.DataObject) -> LinkId:
        return data.draw(st.sampled_from(sorted(self.model.links)))

    @property
    def sent(self) -> list[Message]:
        """What mules have, and know that they have."""
        return [m for m in self.model.at(Place.LEASED) if m.was_sent]

    def _any_sent(self, data: st.DataObject) -> tuple[LinkId, Message]:
        number = data.draw(st.sampled_from([message.id for message in self.sent]))
        message = self.model.messages[number]
        assert message.link is not None
        return message.link, message

    @precondition(lambda self: self.sent)
    @rule(
        data=st.data(),
        count=st.sampled_from([1, 1, 2, ENOUGH]),
        is_wrong=st.sampled_from([0, 0, 0, 1]),
    )
    def ack(self, data: st.DataObject, count: int, is_wrong: int) -> None:
        number, message = self._any_sent(data)
        ids = [m.id for m in self.sent if m.link == number]
        while message.id + count - 1 > max(ids):
            count -= 1
        self._ack(number, message.id, count, message.attempts + 1 + is_wrong)

    def _ack(self, number: LinkId, first: int, count: int, attempt: int) -> None:
        self.model.ack(number, first, count, attempt)

        self.router.ack(number, first, count, attempt)

        self.end()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        number, message = self._any_sent(data)
        message.go_back()

        self.router.give_back(number, message.id, 1)

        self.end()

    @precondition(lambda self: self.sent)
    @rule(
        data=st.data(),
        delay=st.sampled_from([None, None, 0.0, 5.0]),
        is_final=st.sampled_from([False, False, False, True]),
        jitter=st.sampled_from([0.0, 0.5, 0.99]),
    )
    def nack(
        self,
        data: st.DataObject,
        delay: float | None,
        is_final: bool,  # noqa: FBT001  (hypothesis passes it by name)
        jitter: float,
    ) -> None:
        number, message = self._any_sent(data)
        attempt = message.attempts + 1
        self.model.nack(message, delay, jitter, is_final=is_final)

        self.router.nack(
            number,
            message.id,
            attempt,
            delay=delay,
            is_final=is_final,
            error={"text": "no"},
            jitter=jitter,
            now=self.model.now,
        )

        self.end()

    # Time

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.model.now += seconds
        self._ring()
        self.end()

    def _ring(self) -> None:
        """Let those alarms ring of which the time has come, in their order."""
        while due := [
            (at, kind.value, number)
            for (kind, number), at in self.alarms.items()
            if at <= self.model.now
        ]:
            _, word, number = min(due)
            kind = AlarmKind(word)
            del self.alarms[kind, number]
            if kind is AlarmKind.DUE:
                for message in self._run_of(number):
                    self.model.due(message)
            self.router.alarm(kind, number)
            self.observe()

    def _run_of(self, first_id: int) -> list[Message]:
        """Return the delayed messages that have one alarm, by its number."""
        for queue in self.router.queues.values():
            for run in queue.delayed.values():
                if run.first_id == first_id:
                    ids = range(run.first_id, run.end_id)
                    return [self.model.messages[number] for number in ids]
        return []

    # People

    @rule(name=st.sampled_from(NAMES))
    def pause_or_resume(self, name: str) -> None:
        queue = self.model.queues[name]
        queue.is_paused = not queue.is_paused
        upkeep = Upkeep(self.router)

        assert (upkeep.pause if queue.is_paused else upkeep.resume)(name)

        self.end()

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        count = self.model.purge(self.model.queues[name])

        assert Upkeep(self.router).purge(name) == count

        self.end()

    @precondition(lambda self: any(q.dead for q in self.model.queues.values()))
    @rule(data=st.data(), into=st.sampled_from([None, None, "a", "b"]))
    def replay(self, data: st.DataObject, into: str | None) -> None:
        letters = [o for q in self.model.queues.values() for o in q.dead]
        letter = letters[data.draw(st.integers(0, len(letters) - 1))]
        queue = self.model.queues[into or letter.queue.name]
        upkeep = Upkeep(self.router)
        found = upkeep.find_dead(letter.message.id)  # type: ignore[arg-type]
        assert found is not None
        if len(queue.held) >= queue.limits.max_messages:
            with pytest.raises(QueueFullError):
                upkeep.replay(found, into, self.model.now)
            return
        self.model.replay(letter, queue)

        upkeep.replay(found, into, self.model.now)

        self.end()

    @precondition(lambda self: any(q.dead for q in self.model.queues.values()))
    @rule(name=st.sampled_from(NAMES))
    def purge_dead(self, name: str) -> None:
        queue = self.model.queues[name]
        count = len(queue.dead)
        queue.dead.clear()
        upkeep = Upkeep(self.router)

        assert upkeep.purge_dead(upkeep.dead_letters(name)) == count

        self.end()

    @rule(limits=LIMITS, dead_max_messages=st.sampled_from([ENOUGH, 2, 1, 0]))
    def reload(self, limits: Limits, dead_max_messages: int) -> None:
        queue = self.model.queues["b"]
        durability = queue.keeping.durability
        queue.limits = limits
        queue.keeping = Keeping(durability, dead_max_messages, WINDOW_S)
        del queue.dead[: max(0, len(queue.dead) - dead_max_messages)]

        self.router.open_queue("b", limits, queue.policy, queue.keeping)

        self.end()

    # What the master does after each

    def end(self, new: Waiting | None = None) -> None:
        self.observe(new)
        if self.is_pumping:
            self.pump()

    def observe(self, new: Waiting | None = None) -> None:
        """Look what the router chose to do, and whether it might."""
        ids = {number for number, *_ in where(self.router)}
        gone = [m for m in self.model.at(*WAITING) if m.id not in ids]
        self.model.expire(gone)
        answers = self.router.take_answers()
        self.model.answered(answers, new)
        for _, _, _, result in answers:
            if isinstance(result, int):
                message = self.model.messages[result]
                assert not message.is_durable or message.row in self.journal.stored

    @rule()
    def pump(self) -> None:
        self._pump()
        while any(at <= self.model.now for at in self.alarms.values()):
            self._ring()
            self._pump()
        assert not any(m.is_late(self.model.now) for m in self.model.at(*WAITING))
        self.nobody_waits_in_vain()

    def _pump(self) -> None:
        deliveries = self.router.deliveries(self.model.now)
        self.observe()
        leased = [(n, run, self.model.delivered(n, run)) for n, run in deliveries]
        for queue in self.model.queues.values():
            if queue.is_unsure:
                queue.is_unsure = False
                queue.forget_bypassed()
        facts = self.router.take_facts()
        for fact in facts:
            self._note_row(fact)
        mark = self.journal.mark
        if facts:
            mark = self.journal.write(facts, self.model.snapshot())
        for number, run, messages in leased:
            self._deliver(number, run, messages, mark)
        for alarm, at in self.router.take_alarms().items():
            if at is None:
                self.alarms.pop(alarm, None)
            else:
                self.alarms[alarm] = at

    def _note_row(self, fact: Fact) -> None:
        if isinstance(fact, Stored) and not fact.is_kept:
            bodies = unpack_bodies(fact.payload, fact.count)
            for number, body in enumerate(bodies, fact.first_id):
                message = self.model.bodies[body]
                message.row = fact.row
                self.model.named(message, number)

    def _deliver(
        self, number: LinkId, run: Run, messages: list[Message], mark: int
    ) -> None:
        if run.batch.row or number in self.outflow:
            self.outflow.setdefault(number, []).append((mark, messages))
            return
        for message in messages:
            self.model.sent(message)

    def nobody_waits_in_vain(self) -> None:
        for queue in self.model.queues.values():
            if queue.is_paused:
                continue
            for number, link in self.model.links.items():
                has_credit = link.limit > link.sent and queue.name in link.sources
                if link.is_draining or not has_credit:
                    continue
                leased = self.model.leased(number)
                if not leased:
                    assert not queue.at(Place.SUSPECT)
                if queue.at(Place.READY) and not any(m.crashes for m in leased):
                    self._is_kept_free(number)

    def _is_kept_free(self, number: LinkId) -> None:
        """That is the only reason not to deliver: it is busy, and next a suspect."""
        reserver = self.router.links[number].reserved_by
        assert reserver is not None
        queue = self.model.queues[reserver.name]
        assert self.model.leased(number)
        assert queue.at(Place.SUSPECT)
        assert not queue.is_paused

    # What always holds

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        assert sorted(where(self.router)) == [
            (m.id, m.place.value, m.attempts, m.crashes)
            for m in self.model.at(*WAITING, Place.LEASED)
        ]
        for name, queue in self.router.queues.items():
            assert [letter.id for letter in queue.dead] == [
                letter.message.id for letter in self.model.queues[name].dead
            ]

    @invariant()
    def the_counts_are_true(self) -> None:
        for name, queue in self.router.queues.items():
            model = self.model.queues[name]
            assert queue.count == len(model.held)
            assert queue.bytes == model.size
            assert queue.leased == len(model.at(Place.LEASED))
            assert queue.storing == len(model.at(Place.STORING))
            assert queue.delayed_count == len(model.at(Place.DELAYED))
            assert queue.blocked == len(model.at(Place.BLOCKED))
            ready = model.at(Place.READY) + model.at(Place.SUSPECT)
            assert queue.ready_count == len(ready)
            assert queue.is_paused == model.is_paused
            assert queue.deduplicated == model.deduplicated
            assert {word: getattr(queue, word) for word in model.counts} == model.counts
        assert self.router.late_count == self.model.late

    @invariant()
    def the_waiting_are_the_waiting(self) -> None:
        for name, queue in self.router.queues.items():
            assert [(p.sender, p.sequence, p.count) for p in queue.waiting] == [
                (w.sender, w.sequence, len(w.bodies))
                for w in self.model.queues[name].waiting
            ]

    @invariant()
    def the_links_are_as_they_should(self) -> None:
        assert self.router.links.keys() == self.model.links.keys()
        for number, link in self.router.links.items():
            leased = self.model.leased(number)
            assert link.leased == len(leased)
            assert link.handled == self.model.links[number].handled
            assert link.is_solo == any(message.crashes for message in leased)
            if link.reserved_by is not None:
                assert link.reserved_by.reserved is link
                assert link.reserved_by.suspects

    @invariant()
    def the_alarms_are_those_that_are_wanted(self) -> None:
        if not self.is_pumping:
            return
        wanted: dict[Alarm, float] = {}
        for queue in self.router.queues.values():
            for run in queue.waiting_runs():
                message = self.model.messages[run.first_id]
                if message.place is Place.DELAYED:
                    assert message.due_at is not None
                    wanted[AlarmKind.DUE, run.first_id] = message.due_at
                if message.expires_at is not None:
                    wanted[AlarmKind.EXPIRY, run.first_id] = message.expires_at
        assert self.alarms == wanted

    def teardown(self) -> None:
        """With one good mule, everything gets done and nothing stays behind."""
        if not self.model.queues:
            return
        self.is_pumping = True
        for queue in self.model.queues.values():
            if queue.is_paused:
                self.pause_or_resume(queue.name)
        for number in list(self.model.links):
            self._link_gone(number, 0, frozenset())
        self.add_link(list(NAMES), ENOUGH)
        (number,) = self.model.links
        while any(q.held or q.waiting for q in self.model.queues.values()):
            self.wait(6.0)
            self._credit(number, ENOUGH)
            self.write()
            for message in self.sent:
                self._ack(number, message.id, 1, message.attempts + 1)
        self.every_message_is_in_one_place()
        self.the_counts_are_true()
        self.journal.commit(ENOUGH)
        recovered = recovered_from(self.journal.log, self.model.now, WINDOW_S)
        assert recovered.rows == []
        assert {letter.id for letter in recovered.dead} == {
            letter.message.id
            for queue in self.model.queues.values()
            for letter in queue.dead
            if letter.is_durable
        }
        assert not self.alarms
        assert None not in self.model.fates.values()


def where(router: Router) -> Fingerprint:
    """Return each message with its place and its history."""
    runs = [run for link in router.links.values() for run in link.leases]
    for queue in router.queues.values():
        runs += queue.waiting_runs()
    return [
        (number, run.place.value, run.attempts, run.crashes)
        for run in runs
        for number in range(run.first_id, run.end_id)
    ]


def fingerprint(router: Router) -> Fingerprint:
    """Return all that a master can tell of what it took back."""
    words = ("count", "bytes", "accepted", "expired", "is_paused", "delayed_count")
    found: Fingerprint = [*where(router), (router.next_id, router.ledger.next_row)]
    for queue in router.queues.values():
        found.append(tuple(getattr(queue, word) for word in words))
        found += [(letter.id, letter.errors, letter.reason) for letter in queue.dead]
        found += [(run.first_id, run.errors) for run in queue.waiting_runs()]
        found += [(len(queue.seen), queue.keys.blocked)]
    return found


TestDurableRouterAgainstModel = case_of(DurableRouterAgainstModel)
