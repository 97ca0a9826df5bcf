"""The router against a model that is deliberately naive."""

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

from pymule.errors import LeaseLostError, RemoteProtocolError
from pymule.sansio.alarms import AlarmKind
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.queue import Limits
from pymule.sansio.router import Answer, Delivery, Router
from pymule.sansio.run import Hands
from tests.sansio.router_model import (
    Expected,
    Fate,
    LaneModel,
    LinkModel,
    MessageModel,
    Place,
    QueueModel,
    RouterModel,
    Waiting,
    each,
    word_for,
)
from tests.sansio.stateful import case_of

NAMES: Final = ("a", "b", "c")
ENOUGH: Final = 1_000
POLICIES: Final = (
    DeliveryPolicy(max_attempts=9, max_crashes=4, backoff_s=1.0, backoff_max_s=1.5),
    DeliveryPolicy(max_attempts=2, max_crashes=3, backoff_s=1.0, backoff_max_s=1.5),
    DeliveryPolicy(max_attempts=9, max_crashes=1, backoff_s=0.0, backoff_max_s=1.5),
)
LIMITS = st.builds(
    Limits,
    max_messages=st.sampled_from([ENOUGH, ENOUGH, 8, 3, 1]),
    # As many as there are, some, one, not one.
    max_bytes=st.sampled_from([1_000_000, 1_000_000, 2_500, 1_200, 540, 520]),
    refuses=st.booleans(),
)
SIZES = st.lists(st.sampled_from([0, 1, 1, 1, 20, 700]), min_size=1, max_size=6)


class RouterAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.router = Router()
        self.model = RouterModel()
        # By sender and sequence: for which queue, and what became of it.
        self.asked: dict[tuple[int, int], str] = {}
        self.fates: dict[tuple[int, int], str] = {}
        self.senders = [1, 2, 3]
        self.sequences = dict.fromkeys(self.senders, 1)
        self.next_link = 1
        # Whether to deliver at the end of each step, as the master does.
        self.is_pumping = False

    @initialize(
        policy=st.sampled_from(POLICIES),
        limits=st.tuples(LIMITS, LIMITS),
        credit=st.sampled_from([1, 2, 100]),
        is_pumping=st.sampled_from([True, True, False]),
    )
    def start(
        self,
        policy: DeliveryPolicy,
        limits: tuple[Limits, Limits],
        credit: int,
        is_pumping: bool,  # noqa: FBT001  (hypothesis passes it by name)
    ) -> None:
        self.model.policy = policy
        self.is_pumping = is_pumping
        self.open_queue("a", limits[0])
        self.open_queue("b", limits[1])
        for sender in range(2):
            self.add_link(["a", "b"], credit)
            self.submit(sender, "a", [1, 1])

    @precondition(lambda self: self.model.policy.max_crashes > 1)
    @rule(open_limit=LIMITS)
    def a_suspect_waits(self, open_limit: Limits) -> None:
        """All mules are busy, with credit left, as one dies: rare by chance."""
        self.open_queue("a", Limits())
        while len(self.model.links) < 3:
            self.add_link(["a", "b"], 0)
        for link in self.model.links:
            self._credit(link, 0, 2)
            self._credit(link, 1, 1)
        for _ in self.model.links:
            self.submit(0, "a", [1])
            self.deliver()
        number = max(self.model.links, key=lambda link: len(self.model.leased(link)))
        sent = self.model.links[number].lanes[0].sent
        self._link_gone(number, {0: Hands(sent, frozenset(range(sent)))}, 0)
        self.deliver()
        self.open_queue("a", open_limit)

    # Queues and senders

    @rule(name=st.sampled_from(NAMES), limits=LIMITS)
    def open_queue(self, name: str, limits: Limits) -> None:
        queue = self.model.queues.setdefault(name, QueueModel(name, limits))
        queue.limits, queue.is_closed = limits, False

        self.router.open_queue(name, limits, self.model.policy)

        self.compare_answers([])

    @rule(name=st.sampled_from("cccab"))
    def close_queue(self, name: str) -> None:
        if name not in self.model.queues:
            return
        queue = self.model.queues[name]
        queue.is_closed = True
        refused = queue.refuse_all()

        assert self.router.close_queue(queue.name) == len(queue.held)
        self.compare_answers(refused)

    @rule(which=st.integers(0, 2), name=st.sampled_from(NAMES), sizes=SIZES)
    def submit(self, which: int, name: str, sizes: list[int]) -> None:
        sender = self.senders[which]
        first = self.sequences[sender]
        self.sequences[sender] += len(sizes)
        bodies = [
            b"%d/%d" % (sender, first + i) + b"." * n for i, n in enumerate(sizes)
        ]
        for sequence in range(first, first + len(sizes)):
            self.asked[sender, sequence] = name
        expected = self.model.submitted(name, Waiting(sender, first, list(bodies)))

        batch = Batch.of(bodies)
        passed = None
        if self.is_pumping:
            passed = self.router.pass_on(sender, first, name, batch, 0.0)
        if passed is None:
            self.router.submit(sender, first, name, batch, b"", 0.0)

        self.compare_answers(expected, passed)

    @rule(which=st.integers(0, 2))
    def sender_gone(self, which: int) -> None:
        sender = self.senders[which]
        self.senders[which] = max(self.senders) + 1
        self.sequences[self.senders[which]] = 1
        self.model.sender_gone(sender)
        for key in self.asked:
            if key[0] == sender:
                self.fates.setdefault(key, "forgotten")

        self.router.sender_gone(sender)

        self.compare_answers([])

    def compare_answers(
        self, expected: Expected, passed: Delivery | None = None
    ) -> None:
        """Compare them by queue; which queue comes first is the router's affair."""
        for queue in self.model.queues.values():
            expected += queue.admit()
        answers = self.router.take_answers()
        for name in NAMES:
            of_name = [a for a in answers if self.asked[a[0], a[1]] == name]
            wanted = [w[1:] for w in expected if w[0] == name]
            assert [(*a[:3], word_for(a[3])) for a in of_name] == [
                (*w[:3], "queued" if isinstance(w[3], list) else w[3]) for w in wanted
            ]
            for answer, (_, _, _, fate) in zip(of_name, wanted, strict=True):
                self._note(answer, fate)
        for queue in list(self.model.queues.values()):
            if queue.is_closed and not queue.held and not queue.dead:
                del self.model.queues[queue.name]
        if passed is not None:
            self.model.delivered(*passed)
        if self.is_pumping:
            self.deliver()

    def _note(self, answer: Answer, fate: Fate) -> None:
        sender, first, count, result = answer
        for sequence in range(first, first + count):
            assert (sender, sequence) not in self.fates
            self.fates[sender, sequence] = word_for(result)
        if isinstance(fate, list):
            assert isinstance(result, int)
            for number, message in enumerate(fate, result):
                assert number not in self.model.messages
                message.id = number
                self.model.messages[number] = message

    # Links

    @precondition(lambda self: len(self.model.links) < 4)
    @rule(
        sources=st.sets(st.sampled_from(NAMES), min_size=1).map(sorted),
        limit=st.sampled_from([100, 1, 3, 100]),
    )
    def add_link(self, sources: list[str], limit: int) -> None:
        number = LinkId(self.next_link)
        self.next_link += 1
        self.model.links[number] = LinkModel(sources)
        self.router.add_link(number, sources)
        for index, names in enumerate((sources, sources[-1:])):
            self.open_lane(number, index, names)
            self._credit(number, index, limit)

    @precondition(lambda self: self.model.links)
    @rule(data=st.data(), index=st.integers(0, 2), order=st.permutations(NAMES))
    def open_some_lane(self, data: st.DataObject, index: int, order: list[str]) -> None:
        self.open_lane(self._any_link(data), index, order[: index + 1])

    def open_lane(self, number: LinkId, index: int, sources: list[str]) -> None:
        link = self.model.links[number]
        if index in link.lanes or not set(sources) <= set(link.sources):
            with pytest.raises(RemoteProtocolError):
                self.router.open_lane(number, index, sources)
            return
        queues = self.model.queues
        link.lanes[index] = LaneModel([queues[n] for n in sources if n in queues])

        self.router.open_lane(number, index, sources)

    @precondition(lambda self: self.model.links)
    @rule(data=st.data(), more=st.sampled_from([-2, 0, 1, 2, 100, 100]))
    def credit(self, data: st.DataObject, more: int) -> None:
        number = self._any_link(data)
        index = data.draw(st.sampled_from([*self.model.links[number].lanes, 9]))
        lane = self.model.links[number].lanes.get(index)
        if lane is None:
            with pytest.raises(RemoteProtocolError):
                self.router.credit(number, index, 1)
            return
        self._credit(number, index, more)

    def _credit(self, number: LinkId, index: int, more: int) -> None:
        lane = self.model.links[number].lanes[index]
        lane.limit = max(lane.sent + more, 0)

        self.router.credit(number, index, lane.limit)

        self.compare_answers([])

    @precondition(lambda self: len(self.model.links) > 2)
    @rule(data=st.data())
    def drain_link(self, data: st.DataObject) -> None:
        number = self._any_link(data)
        self.model.links[number].is_draining = True

        self.router.drain_link(number)

        self.compare_answers([])

    @precondition(lambda self: self.model.links)
    @rule(data=st.data(), new_credit=st.sampled_from([0, 1, 100, 100]))
    def link_gone(self, data: st.DataObject, new_credit: int) -> None:
        number = self._any_link(data)
        hands: dict[int, Hands] = {}
        for index, lane in self.model.links[number].lanes.items():
            if not lane.sent:
                continue
            positions = st.integers(0, lane.sent - 1)
            held = data.draw(st.frozensets(positions, max_size=3))
            low = max(held, default=-1) + 1
            hands[index] = Hands(data.draw(st.integers(low, lane.sent)), held)
        self._link_gone(number, hands, new_credit)

    @precondition(lambda self: self.model.busy)
    @rule(data=st.data(), new_credit=st.sampled_from([0, 0, 1, 100]))
    def link_gone_with_all_in_hand(self, data: st.DataObject, new_credit: int) -> None:
        number = data.draw(st.sampled_from(self.model.busy))
        hands = {
            index: Hands(lane.sent, frozenset(range(lane.sent)))
            for index, lane in self.model.links[number].lanes.items()
        }
        self._link_gone(number, hands, new_credit)

    def _link_gone(
        self, number: LinkId, hands: dict[int, Hands], new_credit: int
    ) -> None:
        sources = self.model.links[number].sources
        expected = self.model.link_gone(number, hands)

        losses = self.router.link_gone(number, hands, {"text": "died"}, 1.0)

        losses.dead.sort()
        assert losses == expected
        self.compare_answers([])
        if new_credit:
            self.add_link(sources, new_credit)

    def _any_link(self, data: st.DataObject) -> LinkId:
        return data.draw(st.sampled_from(sorted(self.model.links)))

    # Leases

    @precondition(lambda self: self.model.links and self.model.messages)
    @rule(
        data=st.data(),
        before=st.sampled_from([0, 0, 1, 3]),
        count=st.sampled_from([1, 1, 2, 4, ENOUGH]),
        is_wrong=st.sampled_from([0, 0, 0, 1]),
    )
    def ack(self, data: st.DataObject, before: int, count: int, is_wrong: int) -> None:
        number, message = self._any_lease(data)
        first, attempt = max(message.id - before, 1), message.attempts + 1 + is_wrong
        self.model.ack(number, first, count, attempt)

        self.router.ack(number, first, count, attempt)

        self.compare_answers([])

    @precondition(lambda self: self.model.links)
    @rule(data=st.data())
    def ack_all(self, data: st.DataObject) -> None:
        self._ack_all(self._any_link(data))

    def _ack_all(self, number: LinkId) -> None:
        for message in self.model.leased(number):
            self.model.ack(number, message.id, 1, message.attempts + 1)
            self.router.ack(number, message.id, 1, message.attempts + 1)
            self.compare_answers([])

    @precondition(lambda self: self.model.links and self.model.messages)
    @rule(
        data=st.data(),
        before=st.sampled_from([0, 0, 2]),
        count=st.sampled_from([1, 2, 4, ENOUGH]),
    )
    def give_back(self, data: st.DataObject, before: int, count: int) -> None:
        number, message = self._any_lease(data)
        first = max(message.id - before, 1)
        self.model.give_back(number, first, count)

        self.router.give_back(number, first, count)

        self.compare_answers([])

    @precondition(lambda self: self.model.links and self.model.messages)
    @rule(
        data=st.data(),
        is_wrong=st.sampled_from([0, 0, 0, 1]),
        delay=st.sampled_from([None, None, 0.0, 5.0]),
        is_final=st.sampled_from([False, False, False, True]),
        jitter=st.sampled_from([0.0, 0.5, 0.99]),
    )
    def nack(
        self,
        data: st.DataObject,
        is_wrong: int,
        delay: float | None,
        is_final: bool,  # noqa: FBT001  (hypothesis passes it by name)
        jitter: float,
    ) -> None:
        number, message = self._any_lease(data)
        attempt = message.attempts + 1 + is_wrong

        def nack() -> None:
            self.router.nack(
                number,
                message.id,
                attempt,
                delay=delay,
                is_final=is_final,
                error={"text": "no"},
                jitter=jitter,
                now=1.0,
            )

        if message.link != number or is_wrong:
            self.model.late += 1
            with pytest.raises(LeaseLostError):
                nack()
            return
        expected = self.model.nacked(message, delay, jitter, is_final=is_final)

        nack()

        assert self.router.take_alarms().get((AlarmKind.DUE, message.id)) == expected
        self.compare_answers([])

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data())
    def retry_due(self, data: st.DataObject) -> None:
        number = data.draw(
            st.sampled_from(self.model.delayed or sorted(self.model.messages))
        )
        self._retry_due(number)

    def _retry_due(self, number: int) -> None:
        self.model.retry_due(self.model.messages[number])

        self.router.alarm(AlarmKind.DUE, number)

        self.compare_answers([])

    def _any_lease(self, data: st.DataObject) -> tuple[LinkId, MessageModel]:
        """Draw a link, and a message that is rather one of its own."""
        number = self._any_link(data)
        own = [message.id for message in self.model.leased(number)]
        message = data.draw(st.sampled_from(own * 5 + sorted(self.model.messages)[-5:]))
        return number, self.model.messages[message]

    # Deliveries

    @rule()
    def deliver(self) -> None:
        for number, run in self.router.deliveries(0.0):
            self.model.delivered(number, run)

        self.model.nobody_waits_in_vain(self.router)

    # What always holds

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        places: list[tuple[int, Place]] = []
        for queue in self.router.queues.values():
            places += each(queue.ready, Place.READY)
            places += each(queue.suspects, Place.SUSPECT)
            places += each(queue.delayed.values(), Place.DELAYED)
            places += [(letter.id, Place.DEAD) for letter in queue.dead]
        for link in self.router.links.values():
            places += each(link.leases, Place.LEASED)

        assert sorted(places, key=lambda item: item[0]) == [
            (message.id, message.place)
            for _, message in sorted(self.model.messages.items())
            if message.place is not Place.DONE
        ]

    @invariant()
    def the_counts_are_true(self) -> None:
        assert list(self.router.queues) == list(self.model.queues)
        for name, queue in self.router.queues.items():
            model = self.model.queues[name]
            assert queue.is_closed == model.is_closed
            assert queue.count == len(model.held)
            assert queue.bytes == model.size
            assert queue.leased == len(model.at(Place.LEASED))
            assert queue.ready_count == len(
                model.at(Place.READY) + model.at(Place.SUSPECT)
            )
            assert queue.accepted == model.accepted
            assert queue.acked == model.accepted - len(model.held) - model.dead
            assert len(queue.dead) == model.dead
            assert queue.failed == model.failed
            assert queue.redelivered == model.redelivered
        assert self.router.late_count == self.model.late

    @invariant()
    def the_links_are_as_they_should(self) -> None:
        assert self.router.links.keys() == self.model.links.keys()
        for number, link in self.router.links.items():
            leased = self.model.leased(number)
            assert link.leased == len(leased)
            assert link.handled == self.model.links[number].handled
            assert self.router.is_idle(number) == (not leased)
            assert link.is_solo == any(message.crashes for message in leased)
            if link.reserved_by is not None:
                assert link.reserved_by.reserved is link
                assert link.reserved_by.suspects
            for lane in () if link.is_draining else link.lanes.values():
                standing = [queue for queue in lane.queues if lane in queue.line]
                assert sorted([q.name for q in (*standing, *lane.missing)]) == sorted(
                    queue.name for queue in lane.queues
                )

    @invariant()
    def every_sender_knows_or_waits(self) -> None:
        waiting = {
            (w.sender, w.sequence + offset)
            for queue in self.model.queues.values()
            for w in queue.waiting
            for offset in range(len(w.bodies))
        }
        parked = {
            (p.sender, p.sequence + offset)
            for queue in self.router.queues.values()
            for p in queue.waiting
            for offset in range(p.count)
        }

        assert parked == waiting
        assert self.fates.keys() | waiting == self.asked.keys()

    def teardown(self) -> None:
        """With one good mule, everything gets done and nothing stays behind."""
        self.is_pumping = False
        for number in list(self.model.links):
            self._link_gone(number, {}, 0)
        self.add_link(list(NAMES), ENOUGH)
        (number,) = self.model.links
        while any(queue.held for queue in self.model.queues.values()):
            for message in self.model.delayed:
                self._retry_due(message)
            self._do_everything(number)
        self.every_message_is_in_one_place()
        self.the_counts_are_true()
        assert {queue.bytes for queue in self.router.queues.values()} <= {0}
        assert not any(queue.waiting for queue in self.model.queues.values())

    def _do_everything(self, number: LinkId) -> None:
        lane = self.model.links[number].lanes[0]
        lane.limit = lane.sent + ENOUGH
        self.router.credit(number, 0, lane.limit)
        self.deliver()
        assert self.model.leased(number)
        self._ack_all(number)


TestRouterAgainstModel = case_of(RouterAgainstModel)
