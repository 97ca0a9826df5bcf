"""The router against a model that is deliberately naive."""

from collections.abc import Iterable, Iterator
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.errors import (
    LeaseLostError,
    QueueFullError,
    RemoteProtocolError,
    UnknownTargetError,
)
from pymule.sansio.batch import Batch, unpack_bodies
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.queue import Hands, Limits, Run
from pymule.sansio.router import Answer, Losses, Retry, Router
from pymule.sansio.target import MessageId
from tests.sansio.router_model import (
    Expected,
    Fate,
    LaneModel,
    LinkModel,
    MessageModel,
    Place,
    QueueModel,
    Waiting,
)

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
        self.policy = POLICIES[0]
        self.queues: dict[str, QueueModel] = {}
        self.links: dict[LinkId, LinkModel] = {}
        self.messages: dict[int, MessageModel] = {}
        # By sender and sequence: for which queue, and what became of it.
        self.asked: dict[tuple[int, int], str] = {}
        self.fates: dict[tuple[int, int], str] = {}
        self.senders = [1, 2, 3]
        self.sequences = dict.fromkeys(self.senders, 1)
        self.next_link = 1
        self.late = 0
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
        self.policy = policy
        self.is_pumping = is_pumping
        self.open_queue("a", limits[0])
        self.open_queue("b", limits[1])
        for sender in range(2):
            self.add_link(["a", "b"], credit)
            self.submit(sender, "a", [1, 1])

    @precondition(lambda self: self.policy.max_crashes > 1)
    @rule(open_limit=LIMITS)
    def a_suspect_waits(self, open_limit: Limits) -> None:
        """All mules are busy, with credit left, as one dies: rare by chance."""
        self.open_queue("a", Limits())
        while len(self.links) < 3:
            self.add_link(["a", "b"], 0)
        for link in self.links:
            self._credit(link, 0, 2)
            self._credit(link, 1, 1)
        for _ in self.links:
            self.submit(0, "a", [1])
            self.deliver()
        number = max(self.links, key=lambda link: len(self._leased(link)))
        sent = self.links[number].lanes[0].sent
        self._link_gone(number, {0: Hands(sent, frozenset(range(sent)))}, 0)
        self.deliver()
        self.open_queue("a", open_limit)

    # Queues and senders

    @rule(name=st.sampled_from(NAMES), limits=LIMITS)
    def open_queue(self, name: str, limits: Limits) -> None:
        queue = self.queues.setdefault(name, QueueModel(name, limits))
        queue.limits, queue.is_closed = limits, False

        self.router.open_queue(name, limits, self.policy)

        self.compare_answers([])

    @rule(name=st.sampled_from("cccab"))
    def close_queue(self, name: str) -> None:
        if name not in self.queues:
            return
        queue = self.queues[name]
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
        expected = self._submitted(name, Waiting(sender, first, list(bodies)))

        self.router.submit(sender, first, name, Batch.of(bodies), b"{}", 0.0)

        self.compare_answers(expected)

    def _submitted(self, name: str, new: Waiting) -> Expected:
        queue = self.queues.get(name)
        if queue is None or queue.is_closed:
            return [(name, new.sender, new.sequence, len(new.bodies), "unknown")]
        queue.waiting.append(new)
        expected = queue.admit()
        if new in queue.waiting and queue.limits.refuses:
            queue.waiting.remove(new)
            expected.append((name, new.sender, new.sequence, len(new.bodies), "full"))
        return expected

    @rule(which=st.integers(0, 2))
    def sender_gone(self, which: int) -> None:
        sender = self.senders[which]
        self.senders[which] = max(self.senders) + 1
        self.sequences[self.senders[which]] = 1
        for queue in self.queues.values():
            queue.waiting = [w for w in queue.waiting if w.sender != sender]
        for key in self.asked:
            if key[0] == sender:
                self.fates.setdefault(key, "forgotten")

        self.router.sender_gone(sender)

        self.compare_answers([])

    def compare_answers(self, expected: Expected) -> None:
        """Compare them by queue; which queue comes first is the router's affair."""
        for queue in self.queues.values():
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
        for queue in list(self.queues.values()):
            if queue.is_closed and not queue.held and not queue.dead:
                del self.queues[queue.name]
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
                assert number not in self.messages
                message.id = number
                self.messages[number] = message

    # Links

    @precondition(lambda self: len(self.links) < 4)
    @rule(
        sources=st.sets(st.sampled_from(NAMES), min_size=1).map(sorted),
        limit=st.sampled_from([100, 1, 3, 100]),
    )
    def add_link(self, sources: list[str], limit: int) -> None:
        number = LinkId(self.next_link)
        self.next_link += 1
        self.links[number] = LinkModel(sources)
        self.router.add_link(number, sources)
        for index, names in enumerate((sources, sources[-1:])):
            self.open_lane(number, index, names)
            self._credit(number, index, limit)

    @precondition(lambda self: self.links)
    @rule(data=st.data(), index=st.integers(0, 2), order=st.permutations(NAMES))
    def open_some_lane(self, data: st.DataObject, index: int, order: list[str]) -> None:
        self.open_lane(self._any_link(data), index, order[: index + 1])

    def open_lane(self, number: LinkId, index: int, sources: list[str]) -> None:
        link = self.links[number]
        if index in link.lanes or not set(sources) <= set(link.sources):
            with pytest.raises(RemoteProtocolError):
                self.router.open_lane(number, index, sources)
            return
        known = [self.queues[name] for name in sources if name in self.queues]
        link.lanes[index] = LaneModel(known)

        self.router.open_lane(number, index, sources)

    @precondition(lambda self: self.links)
    @rule(data=st.data(), more=st.sampled_from([-2, 0, 1, 2, 100, 100]))
    def credit(self, data: st.DataObject, more: int) -> None:
        number = self._any_link(data)
        index = data.draw(st.sampled_from([*self.links[number].lanes, 9]))
        lane = self.links[number].lanes.get(index)
        if lane is None:
            with pytest.raises(RemoteProtocolError):
                self.router.credit(number, index, 1)
            return
        self._credit(number, index, more)

    def _credit(self, number: LinkId, index: int, more: int) -> None:
        lane = self.links[number].lanes[index]
        lane.limit = max(lane.sent + more, 0)

        self.router.credit(number, index, lane.limit)

        self.compare_answers([])

    @precondition(lambda self: len(self.links) > 2)
    @rule(data=st.data())
    def drain_link(self, data: st.DataObject) -> None:
        number = self._any_link(data)
        self.links[number].is_draining = True

        self.router.drain_link(number)

        self.compare_answers([])

    @precondition(lambda self: self.links)
    @rule(data=st.data(), new_credit=st.sampled_from([0, 1, 100, 100]))
    def link_gone(self, data: st.DataObject, new_credit: int) -> None:
        number = self._any_link(data)
        hands: dict[int, Hands] = {}
        for index, lane in self.links[number].lanes.items():
            if not lane.sent:
                continue
            positions = st.integers(0, lane.sent - 1)
            held = data.draw(st.frozensets(positions, max_size=3))
            low = max(held, default=-1) + 1
            hands[index] = Hands(data.draw(st.integers(low, lane.sent)), held)
        self._link_gone(number, hands, new_credit)

    @precondition(lambda self: any(self._leased(number) for number in self.links))
    @rule(data=st.data(), new_credit=st.sampled_from([0, 0, 1, 100]))
    def link_gone_with_all_in_hand(self, data: st.DataObject, new_credit: int) -> None:
        busy = [number for number in sorted(self.links) if self._leased(number)]
        number = data.draw(st.sampled_from(busy))
        hands = {
            index: Hands(lane.sent, frozenset(range(lane.sent)))
            for index, lane in self.links[number].lanes.items()
        }
        self._link_gone(number, hands, new_credit)

    def _link_gone(
        self, number: LinkId, hands: dict[int, Hands], new_credit: int
    ) -> None:
        expected = Losses()
        for message in self._leased(number):
            board = hands.get(message.lane, Hands(0, frozenset()))
            if message.position in board.held:
                expected.in_hand.append(MessageId(message.id))
                if message.fail(self.policy, crashes=1):
                    message.queue.redelivered += 1
                    message.go_back()
                else:
                    expected.dead.append(MessageId(message.id))
            elif message.position < board.taken:
                expected.done += 1
                message.leave(Place.DONE)
            else:
                expected.untouched += 1
                message.go_back()
        sources = self.links.pop(number).sources

        losses = self.router.link_gone(number, hands, {"text": "died"}, 1.0)

        losses.dead.sort()
        assert losses == expected
        self.compare_answers([])
        if new_credit:
            self.add_link(sources, new_credit)

    def _any_link(self, data: st.DataObject) -> LinkId:
        return data.draw(st.sampled_from(sorted(self.links)))

    def _leased(self, number: LinkId) -> list[MessageModel]:
        held = (m for queue in self.queues.values() for m in queue.held)
        found = [m for m in held if m.link == number]
        return sorted(found, key=lambda message: message.id)

    # Leases

    @precondition(lambda self: self.links and self.messages)
    @rule(
        data=st.data(),
        before=st.sampled_from([0, 0, 1, 3]),
        count=st.sampled_from([1, 1, 2, 4, ENOUGH]),
        is_wrong=st.sampled_from([0, 0, 0, 1]),
    )
    def ack(self, data: st.DataObject, before: int, count: int, is_wrong: int) -> None:
        number, message = self._any_lease(data)
        first, attempt = max(message.id - before, 1), message.attempts + 1 + is_wrong
        done = [
            m for m in self._range(number, first, count) if m.attempts + 1 == attempt
        ]
        for one in done:
            one.leave(Place.DONE)
        self.late += count - len(done)
        self.links[number].handled += len(done)

        self.router.ack(number, first, count, attempt)

        self.compare_answers([])

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def ack_all(self, data: st.DataObject) -> None:
        self._ack_all(self._any_link(data))

    def _ack_all(self, number: LinkId) -> None:
        for message in self._leased(number):
            message.leave(Place.DONE)
            self.links[number].handled += 1
            self.router.ack(number, message.id, 1, message.attempts + 1)
            self.compare_answers([])

    @precondition(lambda self: self.links and self.messages)
    @rule(
        data=st.data(),
        before=st.sampled_from([0, 0, 2]),
        count=st.sampled_from([1, 2, 4, ENOUGH]),
    )
    def give_back(self, data: st.DataObject, before: int, count: int) -> None:
        number, message = self._any_lease(data)
        first = max(message.id - before, 1)
        given = self._range(number, first, count)
        for one in given:
            one.go_back()
        self.late += count - len(given)

        self.router.give_back(number, first, count)

        self.compare_answers([])

    @precondition(lambda self: self.links and self.messages)
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

        def nack() -> Retry | None:
            return self.router.nack(
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
            self.late += 1
            with pytest.raises(LeaseLostError):
                nack()
            return
        expected = self._nacked(message, delay, jitter, is_final=is_final)

        assert nack() == expected
        self.compare_answers([])

    def _nacked(
        self,
        message: MessageModel,
        delay: float | None,
        jitter: float,
        *,
        is_final: bool,
    ) -> Retry | None:
        message.queue.failed += 1
        if is_final:
            message.attempts += 1
            message.leave(Place.DEAD)
            return None
        if not message.fail(self.policy, crashes=0):
            return None
        if delay is None:
            longest = self.policy.backoff_s * 2 ** (message.attempts - 1)
            delay = min(longest, self.policy.backoff_max_s) * jitter
        if not delay:
            message.queue.redelivered += 1
            message.go_back()
            return None
        message.leave(Place.DELAYED)
        return Retry(MessageId(message.id), delay)

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def retry_due(self, data: st.DataObject) -> None:
        delayed = [m.id for q in self.queues.values() for m in q.at(Place.DELAYED)]
        number = data.draw(st.sampled_from(delayed or sorted(self.messages)))
        self._retry_due(self.messages[number])

    def _retry_due(self, message: MessageModel) -> None:
        if message.place is Place.DELAYED:
            message.queue.redelivered += 1
            message.go_back()

        self.router.retry_due(MessageId(message.id))

    def _any_lease(self, data: st.DataObject) -> tuple[LinkId, MessageModel]:
        """Draw a link, and a message that is rather one of its own."""
        number = self._any_link(data)
        own = [message.id for message in self._leased(number)]
        message = data.draw(st.sampled_from(own * 5 + sorted(self.messages)[-5:]))
        return number, self.messages[message]

    def _range(self, number: LinkId, first: int, count: int) -> list[MessageModel]:
        return [m for m in self._leased(number) if first <= m.id < first + count]

    # Deliveries

    @rule()
    def deliver(self) -> None:
        for number, run in self.router.deliveries():
            self._delivered(number, run)

        self._nobody_waits_in_vain()

    def _delivered(self, number: LinkId, run: Run) -> None:
        link, queue = self.links[number], self.queues[run.queue.name]
        lane = link.lanes[run.lane_index]
        place = Place.SUSPECT if run.crashes else Place.READY
        leased = self._leased(number)
        oldest = queue.at(place)[: run.count]

        assert not link.is_draining
        assert queue in lane.queues
        assert [m.id for m in oldest] == list(range(run.first_id, run.end_id))
        assert [m.body for m in oldest] == unpack_bodies(run.payload, run.count)
        assert {(m.attempts, m.crashes) for m in oldest} == {
            (run.attempts, run.crashes)
        }
        assert run.attempts < self.policy.max_attempts
        assert run.crashes < self.policy.max_crashes
        assert not any(m.crashes for m in leased)
        assert not run.crashes or (run.count == 1 and not leased)
        assert run.start == lane.sent
        for message in oldest:
            message.place, message.link = Place.LEASED, number
            message.lane, message.position = run.lane_index, lane.sent
            lane.sent += 1
        assert lane.sent <= lane.limit

    def _nobody_waits_in_vain(self) -> None:
        for queue in self.queues.values():
            for number, link in self.links.items():
                if link.is_draining or not link.has_credit_for(queue):
                    continue
                leased = self._leased(number)
                if not leased:
                    assert not queue.at(Place.SUSPECT)
                if queue.at(Place.READY) and not any(m.crashes for m in leased):
                    self._is_kept_free(number)

    def _is_kept_free(self, number: LinkId) -> None:
        """That is the only reason not to deliver: it is busy, and next a suspect."""
        reserver = self.router.links[number].reserved_by
        assert reserver is not None
        queue = self.queues[reserver.name]
        assert self._leased(number)
        assert queue.at(Place.SUSPECT)
        assert self.links[number].has_credit_for(queue)

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
            for _, message in sorted(self.messages.items())
            if message.place is not Place.DONE
        ]

    @invariant()
    def the_counts_are_true(self) -> None:
        assert list(self.router.queues) == list(self.queues)
        for name, queue in self.router.queues.items():
            model = self.queues[name]
            assert queue.is_closed == model.is_closed
            assert queue.count == len(model.held)
            assert queue.bytes == model.bytes
            assert queue.leased == len(model.at(Place.LEASED))
            assert queue.ready_count == len(
                model.at(Place.READY) + model.at(Place.SUSPECT)
            )
            assert queue.accepted == model.accepted
            assert queue.acked == model.accepted - len(model.held) - model.dead
            assert len(queue.dead) == model.dead
            assert queue.failed == model.failed
            assert queue.redelivered == model.redelivered
        assert self.router.late_count == self.late

    @invariant()
    def the_links_are_as_they_should(self) -> None:
        assert self.router.links.keys() == self.links.keys()
        for number, link in self.router.links.items():
            leased = self._leased(number)
            assert link.leased == len(leased)
            assert link.handled == self.links[number].handled
            assert self.router.is_idle(number) == (not leased)
            assert link.is_solo == any(message.crashes for message in leased)
            if link.reserved_by is not None:
                assert link.reserved_by.reserved is link
                assert link.reserved_by.suspects

    @invariant()
    def every_sender_knows_or_waits(self) -> None:
        waiting = {
            (w.sender, w.sequence + offset)
            for queue in self.queues.values()
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
        for number in list(self.links):
            self._link_gone(number, {}, 0)
        self.add_link(list(NAMES), ENOUGH)
        (number,) = self.links
        while any(queue.held for queue in self.queues.values()):
            for queue in self.queues.values():
                for message in queue.at(Place.DELAYED):
                    self._retry_due(message)
            self._do_everything(number)
        self.every_message_is_in_one_place()
        self.the_counts_are_true()
        assert {queue.bytes for queue in self.router.queues.values()} <= {0}
        assert not any(queue.waiting for queue in self.queues.values())

    def _do_everything(self, number: LinkId) -> None:
        lane = self.links[number].lanes[0]
        lane.limit = lane.sent + ENOUGH
        self.router.credit(number, 0, lane.limit)
        self.deliver()
        assert self._leased(number)
        self._ack_all(number)


def word_for(result: object) -> str:
    match result:
        case int():
            return "queued"
        case QueueFullError():
            return "full"
        case UnknownTargetError():
            return "unknown"
    raise AssertionError(f"an answer that nobody expects: {result}")


def each(runs: Iterable[Run], place: Place) -> Iterator[tuple[int, Place]]:
    for run in runs:
        for number in range(run.first_id, run.end_id):
            yield number, place


TestRouterAgainstModel = RouterAgainstModel.TestCase
TestRouterAgainstModel.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None
)
