"""A router, its journal, its clock and its model, kept in step."""

from pymule.sansio.alarms import Alarm, AlarmKind
from pymule.sansio.batch import unpack_bodies
from pymule.sansio.link import LinkId
from pymule.sansio.record import Fact, Stored
from pymule.sansio.router import Router
from pymule.sansio.run import Run
from pymule.sansio.upkeep import Recovery, Upkeep
from tests.sansio.durable_model import WINDOW_S, Model, Snapshot
from tests.sansio.journal_model import JournalModel, recovered_from
from tests.sansio.message_model import WAITING, Message, Place, Waiting

__all__ = ("DurableRouter", "fingerprint")

Fingerprint = list[tuple[object, ...]]


class DurableRouter:
    """What a master is, but for the processes, the sockets and the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.router = Router()
        self.model = Model()
        self.journal = JournalModel(Snapshot())
        self.alarms: dict[Alarm, float] = {}
        # By link: what waits until the journal has come to a mark.
        self.outflow: dict[LinkId, list[tuple[int, list[Message]]]] = {}
        # Whether to deliver at the end of each step, as the master does.
        self.is_pumping = True

    def open_router(self) -> Router:
        router = Router()
        for queue in self.model.queues.values():
            router.open_queue(queue.name, queue.limits, queue.policy, queue.keeping)
        return router

    def recover(self, router: Router) -> Recovery:
        now = self.model.now
        recovered = recovered_from(self.journal.log, now, WINDOW_S)
        return Upkeep(router).recover(recovered, now)

    def grant(self, number: LinkId, more: int) -> None:
        link = self.model.links[number]
        link.limit = link.sent + more

        self.router.credit(number, 0, link.limit)

        self.end()

    def in_rows(self, rows: list[int]) -> list[Message]:
        storing = self.model.at(Place.STORING)
        return [m for row in rows for m in storing if m.row == row]

    def release(self) -> None:
        for number, held in list(self.outflow.items()):
            while held and held[0][0] <= self.journal.written:
                for message in held.pop(0)[1]:
                    if message.link == number:
                        self.model.sent(message)
            if not held:
                del self.outflow[number]

    def ring(self) -> None:
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

    # What the master does after each

    def end(self, new: Waiting | None = None) -> None:
        self.observe(new)
        if self.is_pumping:
            self.pump()

    def observe(self, new: Waiting | None = None) -> None:
        """Look what the router chose to do, and whether it might."""
        ids = {number for number, *_ in where(self.router)}
        self.model.forget_expired(ids)
        answers = self.router.take_answers()
        self.model.answered(answers, new, ids)
        for _, _, _, result in answers:
            if isinstance(result, int):
                message = self.model.messages.get(result)
                if message is not None and message.is_durable:
                    assert message.row in self.journal.stored

    def pump(self) -> None:
        self._pump()
        while any(at <= self.model.now for at in self.alarms.values()):
            self.ring()
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
                message.row, message.is_begun = fact.row, fact.is_begun
                self.model.named(message, number)

    def _deliver(
        self, number: LinkId, run: Run, messages: list[Message], mark: int
    ) -> None:
        if run.batch.row and not run.is_begun:
            self.outflow.setdefault(number, []).append((mark, messages))
            return
        if number in self.outflow:
            self.outflow[number].append((0, messages))
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

    def check(self) -> None:
        self.every_message_is_in_one_place()
        self.the_counts_are_true()
        self.the_waiting_are_the_waiting()
        self.the_links_are_as_they_should()
        self.the_alarms_are_those_that_are_wanted()

    def every_message_is_in_one_place(self) -> None:
        assert sorted(where(self.router)) == [
            (m.id, m.place.value, m.attempts, m.crashes)
            for m in self.model.at(*WAITING, Place.LEASED)
        ]
        for name, queue in self.router.queues.items():
            assert [letter.id for letter in queue.dead] == [
                letter.message.id for letter in self.model.queues[name].dead
            ]

    def the_counts_are_true(self) -> None:
        for name, queue in self.router.queues.items():
            model = self.model.queues[name]
            assert queue.count == len(model.held)
            # Beside bodies, options and what failures told are counted.
            room = 1_000 * len(model.held)
            assert model.size <= queue.bytes <= model.size + room
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

    def the_waiting_are_the_waiting(self) -> None:
        for name, queue in self.router.queues.items():
            assert [(p.sender, p.sequence, p.count) for p in queue.waiting] == [
                (w.sender, w.sequence, len(w.bodies))
                for w in self.model.queues[name].waiting
            ]

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
