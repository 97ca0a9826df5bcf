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
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.options import OptionWords, pack_options, read_options
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.ready import MAX_BYPASS
from pymule.sansio.record import Durability
from pymule.sansio.run import Hands
from pymule.sansio.upkeep import Upkeep
from tests.sansio.durable_model import WINDOW_S, LinkModel
from tests.sansio.durable_router import DurableRouter, fingerprint
from tests.sansio.journal_model import recovered_from
from tests.sansio.message_model import Message, Place, QueueModel, Waiting
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
RETRIED: Final[tuple[OptionWords, ...]] = ({}, {"key": "k"}, {"priority": 5})
# Whatever a journal says; the disk is full as a rule.
NO_SPACE: Final = DrainingError()


class DurableRouterAgainstModel(DurableRouter, RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.next_link = 1
        self.sequence = 1
        self.sender = 1
        self.is_flooded = False

    @initialize(
        policy=st.sampled_from(POLICIES),
        limits=LIMITS,
        keeping=KEEPING,
        credit=st.sampled_from([100, 100, 1]),
        is_pumping=st.sampled_from([True, True, False]),
    )
    def start(
        self,
        policy: DeliveryPolicy,
        limits: Limits,
        keeping: Keeping,
        credit: int,
        is_pumping: bool,  # noqa: FBT001  (hypothesis passes it by name)
    ) -> None:
        self.is_pumping = is_pumping
        always = Keeping(Durability.DISK, keeping.dead_max_messages, WINDOW_S)
        self.model.queues["a"] = QueueModel("a", Limits(), always, policy)
        self.model.queues["b"] = QueueModel("b", limits, keeping, policy)
        self.router = self.open_router()
        for _ in range(2):
            self.add_link(list(NAMES), credit)

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
        for _ in range(2 * MAX_BYPASS + 2):
            self.submit("a", 1, {"priority": 9})
        self.write()

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
        self.release()
        self.end()

    @precondition(lambda self: self.journal.new)
    @rule(count=st.sampled_from([1, ENOUGH, ENOUGH]))
    def store(self, count: int) -> None:
        rows = self.journal.store(count)
        for message in self.in_rows(rows):
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
        for message in self.in_rows(rows):
            self.model.not_stored(message)

        self.router.not_stored(rows, NO_SPACE)

        self.end()

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

        self.router = self.open_router()
        found = self.recover(self.router)

        assert found == expected
        again = self.open_router()
        assert self.recover(again) == found
        assert fingerprint(again) == fingerprint(self.router)
        for _ in range(2):
            self.add_link(list(NAMES), 100)
        self.end()

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
        self.grant(number, limit)

    @precondition(lambda self: self.model.links)
    @rule(data=st.data(), more=st.sampled_from([0, 1, 2, 100, 100]))
    def credit(self, data: st.DataObject, more: int) -> None:
        self.grant(self._any_link(data), more)

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
        _, message = self._any_sent(data)
        self._nack(message, delay, jitter, is_final=is_final)

    def _nack(
        self,
        message: Message,
        delay: float | None,
        jitter: float = 0.0,
        *,
        is_final: bool = False,
    ) -> None:
        number, attempt = message.link, message.attempts + 1
        assert number is not None
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

    @rule(
        words=st.sampled_from(RETRIED),
        delay=st.sampled_from([0.0, 5.0]),
        downtime=st.sampled_from([0.0, 6.0]),
    )
    def a_retry_and_a_crash(
        self, words: OptionWords, delay: float, downtime: float
    ) -> None:
        """The first of a batch failed, the others wait: rare by chance."""
        self.submit("a", 3, words)
        self.write()
        self.commit(ENOUGH)
        if self.sent:
            self._nack(min(self.sent, key=lambda message: -message.row), delay)
            self.pump()
            self.crash(ENOUGH, 0, downtime)

    # Time

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.model.now += seconds
        self.ring()
        self.end()

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

        assert Upkeep(self.router).purge(name, 1_000) == count

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

    @rule()
    def deliver(self) -> None:
        self.pump()

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self.check()

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
            self.grant(number, ENOUGH)
            self.write()
            for message in self.sent:
                self._ack(number, message.id, 1, message.attempts + 1)
        self.check()
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


TestDurableRouterAgainstModel = case_of(DurableRouterAgainstModel)


@pytest.mark.parametrize("credit", [1, 100])
def test_the_model_knows_that_what_waited_too_long_makes_room_at_once(
    credit: int,
) -> None:
    machine = DurableRouterAgainstModel()
    limits = Limits(max_messages=2, refuses=False)
    machine.start(DeliveryPolicy(), limits, Keeping(), credit, is_pumping=True)
    for count in (1, 2, 1):
        machine.submit("b", count, {})
    machine.submit("b", 3, {"ttl": 12.0})

    machine.teardown()

    assert machine.model.queues["b"].counts["expired"] == 3
