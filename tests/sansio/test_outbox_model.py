"""The outbox against a sender's and a master's naive memory."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from pymule.errors import QueueFullError, RemoteProtocolError
from pymule.sansio.batch import Batch
from pymule.sansio.outbox import Outbox, Pile, Ticket
from pymule.sansio.verbs import Submit


@dataclass(eq=False)
class MessageModel:
    sequence: int
    body: bytes
    ticket: "TicketModel | None"
    # What the master did, and what the sender knows of it: an id, or a refusal.
    accepted_as: int | None = None
    answer: int | QueueFullError | None = None


@dataclass(eq=False)
class PileModel:
    target: str
    messages: list[MessageModel]

    @property
    def unanswered(self) -> list[MessageModel]:
        return [message for message in self.messages if message.answer is None]

    @property
    def size(self) -> int:
        return sum(4 + len(message.body) for message in self.messages)


@dataclass(eq=False)
class TicketModel:
    ticket: Ticket[str]
    target: str
    messages: list[MessageModel] = field(default_factory=list)


class OutboxAgainstModel(RuleBasedStateMachine):
    """A sender, and a master that may accept, refuse, or be lost at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox[str](window_count=8, window_bytes=60)
        self.piles: list[PileModel] = []
        self.tickets: list[TicketModel] = []
        self.settled: list[Ticket[str]] = []
        self.failures: list[QueueFullError] = []
        self.next_sequence = 1
        self.next_id = 1

    @property
    def open_piles(self) -> list[PileModel]:
        return [pile for pile in self.piles if pile.unanswered]

    @rule(
        name=st.sampled_from("aab"),
        shares=st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from(["none", "new", "last"])),
            min_size=1,
            max_size=4,
        ),
        size=st.sampled_from([0, 1, 9]),
    )
    def seal(self, name: str, shares: list[tuple[int, str]], size: int) -> None:
        pile, model = Pile[str](name, b""), PileModel(name, [])
        for count, whose in shares:
            ticket = None if whose == "none" else self._ticket(name, whose)
            for index in range(count):
                body = bytes([65 + index]) * size
                message = MessageModel(self.next_sequence, body, ticket)
                self.next_sequence += 1
                model.messages.append(message)
                if ticket is not None:
                    ticket.messages.append(message)
                    ticket.ticket.wanted += 1
                pile.add(body, None if ticket is None else ticket.ticket)
        self.piles.append(model)

        submit = self.outbox.seal(pile)

        self._carries(submit, model)

    def _ticket(self, target: str, whose: str) -> TicketModel:
        """Return the last ticket, if it still waits at *target*; or a new one."""
        if whose == "last" and self.tickets:
            last = self.tickets[-1]
            if last.target == target and last.ticket not in self.settled:
                return last
        self.tickets.append(TicketModel(Ticket(0, "me"), target))
        return self.tickets[-1]

    def _carries(self, submit: Submit, pile: PileModel) -> None:
        """It has what has no answer, and nothing else."""
        messages = pile.unanswered
        assert submit.sequence == messages[0].sequence
        assert submit.target == pile.target
        bodies = Batch.received(submit.count, submit.payload).bodies(0, submit.count)
        assert bodies == [message.body for message in messages]
        assert submit.floor <= self.open_piles[0].unanswered[0].sequence

    @precondition(lambda self: self.open_piles)
    @rule(
        data=st.data(),
        count=st.integers(1, 6),
        is_refusal=st.booleans(),
        is_heard=st.sampled_from([True, True, True, False]),
    )
    def answer(
        self,
        data: st.DataObject,
        count: int,
        is_refusal: bool,  # noqa: FBT001
        is_heard: bool,  # noqa: FBT001
    ) -> None:
        """The master answers the first messages for one target, in their order."""
        target = data.draw(st.sampled_from(sorted({p.target for p in self.open_piles})))
        pile = next(p for p in self.open_piles if p.target == target)
        messages = pile.unanswered[:count]
        known = [m for m in messages if m.accepted_as is not None]
        if known:
            # Sent again: it is told the ids of the first time.
            self._confirm(known[:1], known[0].accepted_as or 0)
            return
        if is_refusal:
            if is_heard:
                self._refuse(messages)
            return
        first_id, self.next_id = self.next_id, self.next_id + len(messages)
        for offset, message in enumerate(messages):
            message.accepted_as = first_id + offset
        if is_heard:
            self._confirm(messages, first_id)
        else:
            self.reconnect()

    @precondition(lambda self: self.open_piles)
    @rule()
    def confirm_everything_at_once(self) -> None:
        """Neighbours are one range, whatever piles and targets they belong to."""
        first = self.open_piles[0].unanswered[0]
        messages: list[MessageModel] = []
        for message in (m for pile in self.open_piles for m in pile.unanswered):
            if message.sequence != first.sequence + len(messages):
                break
            if message.accepted_as is not None:
                return
            messages.append(message)
        first_id, self.next_id = self.next_id, self.next_id + len(messages)

        self._confirm(messages, first_id)

    def _confirm(self, messages: list[MessageModel], first_id: int) -> None:
        for offset, message in enumerate(messages):
            message.answer = first_id + offset

        settled = self.outbox.confirmed(messages[0].sequence, len(messages), first_id)

        self._compare_settled(settled)

    def _refuse(self, messages: list[MessageModel]) -> None:
        error = QueueFullError("a", messages[0].sequence)
        for message in messages:
            message.answer = error
        if any(message.ticket is None for message in messages):
            self.failures.append(error)

        settled = self.outbox.refused(messages[0].sequence, len(messages), error)

        self._compare_settled(settled)

    def _compare_settled(self, settled: list[Ticket[str]]) -> None:
        self.settled += settled
        due = [
            model.ticket
            for model in self.tickets
            if all(message.answer is not None for message in model.messages)
        ]
        assert set(self.settled) == set(due)
        assert len(self.settled) == len(due)

    @rule()
    def reconnect(self) -> None:
        submits = self.outbox.resend()

        assert len(submits) == len(self.open_piles)
        for submit, pile in zip(submits, self.open_piles, strict=True):
            self._carries(submit, pile)

    @rule(beyond=st.integers(0, 5), count=st.integers(1, 5))
    def answer_to_nothing(self, beyond: int, count: int) -> None:
        with pytest.raises(RemoteProtocolError):
            self.outbox.confirmed(self.next_sequence + beyond, count, 1)

    @invariant()
    def every_ticket_has_its_ids_and_its_first_refusal(self) -> None:
        for model in self.tickets:
            answers = [message.answer for message in model.messages]
            ids = [number for part in model.ticket.ids for number in part]
            assert ids == [answer for answer in answers if isinstance(answer, int)]
            errors = (a for a in answers if isinstance(a, QueueFullError))
            assert model.ticket.error is next(errors, None)
            assert model.ticket.wanted == answers.count(None)
        assert self.outbox.failures == self.failures

    @invariant()
    def the_windows_are_true(self) -> None:
        assert self.outbox.unanswered == sum(len(p.unanswered) for p in self.open_piles)
        for target in "ab":
            piles = [pile for pile in self.open_piles if pile.target == target]
            count = sum(len(pile.unanswered) for pile in piles)
            size = sum(pile.size for pile in piles)
            assert self.outbox.is_full(target) == (count >= 8 or size >= 60)


TestOutboxAgainstModel = OutboxAgainstModel.TestCase
TestOutboxAgainstModel.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
