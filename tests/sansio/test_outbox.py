from typing import Final

import pytest

from pymule.errors import (
    ConnectionLostError,
    DrainingError,
    QueueFullError,
    RemoteProtocolError,
)
from pymule.sansio.batch import Batch, pack_bodies
from pymule.sansio.outbox import MESSAGE_COST, Outbox, Pile, Ticket
from pymule.sansio.verbs import Confirm, Refuse, Submit

FULL: Final = QueueFullError("a", 1)
DRAINING: Final = DrainingError()


def put(pile: Pile[str], *bodies: bytes, ticket: Ticket[str] | None = None) -> None:
    for body in bodies:
        pile.add(body, ticket)


def piled(
    *bodies: bytes, target: str = "a", ticket: Ticket[str] | None = None
) -> Pile[str]:
    pile: Pile[str] = Pile(target, b"{}")
    put(pile, *bodies, ticket=ticket)
    return pile


def bodies_of(submit: Submit) -> list[bytes]:
    return Batch.received(submit.count, submit.payload).bodies(0, submit.count)


def test_a_sealed_pile_has_consecutive_sequences() -> None:
    outbox = Outbox[str]()

    first = outbox.seal(piled(b"x", b"y"))
    second = outbox.seal(piled(b"z", target="b"))

    payload = pack_bodies([b"x", b"y"])
    assert first == Submit(1, 1, 2, "a", b"{}", payload)
    assert second == Submit(3, 1, 1, "b", b"{}", pack_bodies([b"z"]))


def test_a_message_alone_is_the_frame_of_its_pile() -> None:
    outbox, other = Outbox[str](), Outbox[str]()
    frame = outbox.lone_frame("a", b"xyz")
    pile = outbox.left_alone("a", b"xyz")
    ticket = Ticket(1, "waiter")
    pile.expect(ticket)

    same: Pile[str] = Pile("a", b"")
    put(same, b"xyz")
    assert frame == other.seal(same).pack()
    assert outbox.lone_frame("a", b"not now") is None
    assert [submit.pack() for submit in outbox.resend()] == [frame]
    assert outbox.confirmed(1, 1, 7) == [ticket]
    assert ticket.ids == [range(7, 8)]
    assert outbox.lone_frame("a", b"now") is not None
    assert outbox.floor == 2


def test_an_empty_pile_is_not_sealed() -> None:
    with pytest.raises(AssertionError, match="sealed when it is full"):
        Outbox[str]().seal(piled())


def test_a_pile_counts_the_bytes_and_the_messages() -> None:
    pile = piled()
    room = pile.room

    put(pile, b"abc", b"")

    assert room - pile.room == 3 + 2 * MESSAGE_COST


def test_the_floor_is_below_all_that_has_no_answer() -> None:
    outbox = Outbox[str]()
    outbox.seal(piled(b"x"))
    outbox.seal(piled(b"y"))
    outbox.confirmed(1, 1, 100)

    assert outbox.seal(piled(b"z")).floor == outbox.floor == 2
    outbox.confirmed(2, 2, 200)
    assert outbox.floor == outbox.next_sequence == 4


def test_a_confirm_settles_the_ticket_with_its_ids() -> None:
    outbox, ticket = Outbox[str](), Ticket(2, "me")
    outbox.seal(piled(b"x", b"y", ticket=ticket))

    assert outbox.confirmed(1, 2, 100) == [ticket]

    assert (ticket.waiter, ticket.ids, ticket.error) == ("me", [range(100, 102)], None)
    assert outbox.unanswered == 0


def test_a_ticket_settles_with_the_last_of_its_messages() -> None:
    outbox, ticket = Outbox[str](), Ticket(3, "me")
    outbox.seal(piled(b"x", b"y", b"z", ticket=ticket))

    assert outbox.confirmed(1, 1, 100) == []
    assert outbox.confirmed(2, 2, 200) == [ticket]

    assert ticket.ids == [range(100, 101), range(200, 202)]


def test_a_ticket_may_wait_for_several_piles() -> None:
    outbox, ticket = Outbox[str](), Ticket(3, "me")
    outbox.seal(piled(b"x", ticket=ticket))
    outbox.seal(piled(b"y", b"z", ticket=ticket))

    assert outbox.confirmed(1, 3, 100) == [ticket]

    assert ticket.ids == [range(100, 101), range(101, 103)]


def test_one_answer_may_settle_several_tickets() -> None:
    outbox = Outbox[str]()
    first, second = Ticket(1, "first"), Ticket(1, "second")
    pile = piled(b"x", ticket=first)
    put(pile, b"nobody waits for this")
    put(pile, b"y", ticket=second)
    outbox.seal(pile)

    assert outbox.confirmed(1, 3, 100) == [first, second]

    assert (first.ids, second.ids) == ([range(100, 101)], [range(102, 103)])


def test_the_first_refusal_is_the_error_of_the_ticket() -> None:
    outbox, ticket = Outbox[str](), Ticket(3, "me")
    outbox.seal(piled(b"x", b"y", b"z", ticket=ticket))
    outbox.confirmed(1, 1, 100)

    assert outbox.refused(2, 1, FULL) == []
    assert outbox.refused(3, 1, DRAINING) == [ticket]

    assert (ticket.error, ticket.ids) == (FULL, [range(100, 101)])
    assert outbox.failures == []


def test_a_ticket_may_have_others_in_between() -> None:
    outbox, ticket = Outbox[str](), Ticket(2, "me")
    pile = piled(b"x", ticket=ticket)
    put(pile, b"nobody waits for this")
    put(pile, b"y", ticket=ticket)
    outbox.seal(pile)

    assert outbox.confirmed(1, 3, 100) == [ticket]

    assert ticket.ids == [range(100, 101), range(102, 103)]


def test_answers_are_taken_as_they_come_from_the_master() -> None:
    outbox = Outbox[str]()
    first, second, third = (Ticket(1, name) for name in "abc")
    for ticket in (first, second, third):
        outbox.seal(piled(b"x", ticket=ticket))

    confirm = Confirm([(1, 1, 100), (2, 1, 200)])
    assert list(outbox.answered(confirm)) == [first, second]
    refuse = Refuse(3, 1, FULL.code, FULL.to_detail())
    assert list(outbox.answered(refuse)) == [third]

    assert isinstance(third.error, QueueFullError)
    assert third.error.limit == 1


def test_what_a_broken_answer_settles_before_its_fault_is_settled() -> None:
    outbox, ticket = Outbox[str](), Ticket(1, "me")
    outbox.seal(piled(b"x", ticket=ticket))
    answers = outbox.answered(Confirm([(1, 1, 100), (7, 1, 200)]))

    assert next(answers) is ticket
    with pytest.raises(RemoteProtocolError):
        next(answers)


def test_a_flush_hears_the_first_refusal_and_how_many_there_were() -> None:
    outbox = Outbox[str]()
    assert outbox.take_failure() is None
    for _ in range(150):
        outbox.seal(piled(b"x", b"y"))

    for number in range(150):
        error = QueueFullError("a", number)
        outbox.refused(1 + 2 * number, 2, error)

    assert len(outbox.failures) == 100
    told = outbox.take_failure()
    assert isinstance(told, QueueFullError)
    assert (told.limit, told.__notes__) == (0, ["and 299 more messages were refused"])
    assert outbox.take_failure() is None


def test_a_single_refusal_needs_no_note() -> None:
    outbox = Outbox[str]()
    outbox.seal(piled(b"x"))
    outbox.refused(1, 1, DRAINING)

    told = outbox.take_failure()

    assert told is not None
    assert not hasattr(told, "__notes__")


def test_those_who_still_wait_at_the_end_are_known() -> None:
    outbox = Outbox[str]()
    first, second = Ticket(1, "first"), Ticket(3, "second")
    outbox.seal(piled(b"x", ticket=first))
    outbox.seal(piled(b"y", ticket=second))
    outbox.seal(piled(b"z", ticket=second))
    outbox.confirmed(1, 1, 100)

    assert outbox.abandon() == [second]


def test_a_refusal_that_nobody_waits_for_is_kept() -> None:
    outbox, ticket = Outbox[str](), Ticket(1, "me")
    pile = piled(b"x", ticket=ticket)
    put(pile, b"y", b"z")
    outbox.seal(pile)

    assert outbox.refused(1, 3, FULL) == [ticket]

    assert outbox.failures == [FULL]


def test_what_has_no_answer_is_sent_again() -> None:
    outbox = Outbox[str]()
    outbox.seal(piled(b"w"))
    middle = outbox.seal(piled(b"x"))
    last = outbox.seal(piled(b"y", target="b"))
    outbox.confirmed(1, 1, 100)

    again = outbox.resend()

    assert [bodies_of(submit) for submit in again] == [[b"x"], [b"y"]]
    assert [s.sequence for s in again] == [middle.sequence, last.sequence]
    assert [s.floor for s in again] == [2, 2]


def test_what_was_refused_is_not_sent_again_with_its_pile() -> None:
    outbox, ticket = Outbox[str](), Ticket(3, "me")
    outbox.seal(piled(b"x", b"yy", b"zzz", ticket=ticket))
    outbox.refused(1, 1, FULL)

    (again,) = outbox.resend()

    assert (again.sequence, bodies_of(again)) == (2, [b"yy", b"zzz"])
    assert outbox.confirmed(2, 2, 100) == [ticket]


def test_what_another_master_refuses_is_in_doubt_if_it_was_sent_before() -> None:
    outbox, sent, new = Outbox[str](), Ticket(2, "sent"), Ticket(1, "new")
    outbox.resend(epoch=1)
    outbox.seal(piled(b"x", b"y", ticket=sent))
    outbox.lost()
    outbox.seal(piled(b"z", ticket=new))
    outbox.resend(epoch=2)

    outbox.refused(1, 2, FULL)
    outbox.refused(3, 1, FULL)

    assert isinstance(sent.error, ConnectionLostError)
    assert (sent.error.unacked, sent.error.__cause__) == (2, FULL)
    assert new.error is FULL


def test_what_the_same_master_refuses_after_a_while_is_refused() -> None:
    outbox, ticket = Outbox[str](), Ticket(1, "me")
    outbox.resend(epoch=1)
    outbox.seal(piled(b"x", ticket=ticket))
    outbox.lost()
    outbox.resend(epoch=1)

    outbox.refused(1, 1, FULL)

    assert ticket.error is FULL


def test_what_was_in_doubt_once_stays_so() -> None:
    outbox = Outbox[str]()
    outbox.resend(epoch=1)
    pile = piled(b"x")
    outbox.seal(pile)
    outbox.resend(epoch=2)
    outbox.resend(epoch=2)

    outbox.refused(1, 1, FULL)

    assert isinstance(outbox.take_failure(), ConnectionLostError)


def test_an_answer_to_what_was_answered_changes_nothing() -> None:
    outbox = Outbox[str]()
    first, second = Ticket(1, "first"), Ticket(1, "second")
    pile = piled(b"x", ticket=first)
    put(pile, b"y", ticket=second)
    outbox.seal(pile)
    outbox.refused(1, 1, FULL)

    assert outbox.refused(1, 1, FULL) == []
    assert outbox.confirmed(1, 2, 100) == [second]

    assert (first.ids, second.ids) == ([], [range(101, 102)])
    assert outbox.failures == []


@pytest.mark.parametrize(
    ("sequence", "count"), [(1, 1), (2, 3), (4, 1), (0, 3), (3, 2), (9, 1)]
)
def test_an_answer_to_nothing_is_an_error_and_changes_nothing(
    sequence: int, count: int
) -> None:
    outbox, ticket = Outbox[str](), Ticket(2, "me")
    outbox.seal(piled(b"w"))
    outbox.seal(piled(b"x", b"y", ticket=ticket))
    outbox.confirmed(1, 1, 100)

    with pytest.raises(
        RemoteProtocolError, match=f"sequences? {sequence or 2}|{sequence}"
    ):
        outbox.confirmed(sequence, count, 100)

    assert (ticket.wanted, ticket.ids, outbox.unanswered) == (2, [], 2)


def test_a_half_wrong_answer_leaves_every_ticket_to_be_settled() -> None:
    outbox, ticket = Outbox[str](), Ticket(1, "me")
    outbox.seal(piled(b"x", ticket=ticket))

    with pytest.raises(RemoteProtocolError):
        outbox.confirmed(1, 2, 100)

    assert outbox.confirmed(1, 1, 100) == [ticket]


def test_the_window_is_for_each_target() -> None:
    outbox = Outbox[str](window_count=2, window_bytes=20)

    outbox.seal(piled(b"x"))
    assert not outbox.is_full("a")
    outbox.seal(piled(b"y"))
    assert outbox.is_full("a")
    assert not outbox.is_full("b")
    outbox.seal(piled(b"x" * 16, target="b"))
    assert outbox.is_full("b")
    outbox.confirmed(3, 1, 100)

    assert not outbox.is_full("b")
    assert outbox.is_full("a")


def test_the_window_counts_the_options() -> None:
    outbox = Outbox[str](window_bytes=5_000)
    pile: Pile[str] = Pile("a", bytes(5_000))
    put(pile, b"")

    outbox.seal(pile)

    assert outbox.is_full("a")


def test_piles_that_are_stuck_do_not_slow_those_that_are_not() -> None:
    outbox = Outbox[str]()
    for _ in range(5_000):
        outbox.seal(piled(b"stuck"))

    for number in range(5_000, 10_000):
        outbox.seal(piled(b"x", target="b"))
        outbox.confirmed(number + 1, 1, number)

    # What is done is forgotten, as soon as that is cheap.
    assert len(outbox._in_flight) <= 10_001
    assert (outbox.floor, len(outbox.resend())) == (1, 5_000)
    outbox.confirmed(1, 5_000, 1)
    assert outbox._in_flight == []
    assert outbox.floor == outbox.next_sequence
