from typing import Final

import pytest

from pymule.errors import DrainingError, QueueFullError, UnknownTargetError
from pymule.sansio.link import LinkId
from pymule.sansio.options import OptionWords
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Changed, Durability, Fact, Stored
from pymule.sansio.router import Answer
from tests.sansio.routing import DURABLE, Desk

# Whatever a journal says; the disk is full as a rule.
FULL: Final = DrainingError()


def stored(facts: list[Fact]) -> list[Stored]:
    return [fact for fact in facts if isinstance(fact, Stored)]


def words(answers: list[Answer]) -> list[tuple[int, int, int, object]]:
    """Return the answers with the names of errors instead of errors."""
    return [
        (*answer[:3], type(answer[3]).__name__)
        if isinstance(answer[3], Exception)
        else answer
        for answer in answers
    ]


# Written first


def test_a_durable_message_is_confirmed_and_delivered_when_it_is_written() -> None:
    desk = Desk("a", keeping=DURABLE)
    queue = desk.router.queues["a"]
    desk.link(1, "a", credit=9)

    assert desk.submit("a", b"x", b"y") == [(1, 1, 2, None)]
    assert desk.sent() == []
    assert (queue.count, queue.storing, queue.accepted) == (2, 2, 0)
    (fact,) = stored(desk.router.take_facts())
    assert (fact.row, fact.count, fact.is_synced, fact.is_kept) == (1, 2, True, False)
    desk.router.stored([1])

    assert desk.router.take_answers() == [(1, 1, 2, 1)]
    assert (queue.count, queue.storing, queue.accepted) == (2, 0, 2)
    assert desk.sent() == [(1, [b"x", b"y"])]


def test_a_lone_message_that_a_mule_waits_for_is_stored_as_begun() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.link(1, "a", credit=9)

    desk.submit("a", b"x")
    desk.submit("a", b"y")
    first, second = stored(desk.router.take_facts())
    desk.router.stored([first.row])

    assert (first.is_begun, second.is_begun) == (True, False)
    assert desk.sent() == [(1, [b"x"])]
    assert desk.router.take_facts() == []


@pytest.mark.parametrize("words", [{"delay": 1.0}, {"key": "k"}])
def test_a_message_that_may_have_to_wait_has_not_begun(words: OptionWords) -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.link(1, "a", credit=9)

    desk.submit("a", b"x", **words)

    assert not any(fact.is_begun for fact in stored(desk.router.take_facts()))


def test_a_message_whose_mule_has_another_meanwhile_has_not_begun() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.open("b", keeping=Keeping())
    desk.link(1, "a", "b", credit=1)
    desk.submit("a", b"x")
    desk.submit("b", b"y")
    desk.sent()
    desk.router.take_facts()

    desk.router.stored([1])

    assert desk.sent() == []
    assert desk.router.take_facts() == [Changed(1, 1, 1, 0, 0)]


def test_what_began_and_comes_back_untouched_has_not_begun() -> None:
    desk = Desk("a", keeping=DURABLE)
    link = desk.link(1, "a", credit=1)
    desk.submit("a", b"x")
    desk.router.stored([1])
    desk.sent()
    desk.router.take_facts()

    desk.router.give_back(link, 1, 1)

    assert desk.router.take_facts() == [Changed(1, 1, 1, 0, 0)]


@pytest.mark.parametrize(
    ("durability", "is_synced"), [(Durability.PROCESS, False), (Durability.DISK, True)]
)
def test_only_disk_asks_for_an_fsync(durability: Durability, is_synced: bool) -> None:  # noqa: FBT001  (pytest passes it by name)
    desk = Desk("a", keeping=Keeping(durability))

    desk.submit("a", b"x")

    assert [f.is_synced for f in stored(desk.router.take_facts())] == [is_synced]


def test_what_waits_for_its_time_is_written_with_it() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.link(1, "a", credit=9)
    desk.submit("a", b"x", delay=7.0)

    (fact,) = stored(desk.router.take_facts())
    desk.router.stored([1])

    assert fact.due_at == 7.0
    assert desk.sent() == []
    desk.due(1)
    assert desk.sent() == [(1, [b"x"])]


def test_what_cannot_be_written_is_as_if_it_had_never_come() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.link(1, "a", credit=9)
    desk.submit("a", b"x", b"y")
    desk.router.take_facts()

    desk.router.not_stored([1], FULL)

    queue = desk.router.queues["a"]
    assert words(desk.router.take_answers()) == [(1, 1, 2, "DrainingError")]
    assert (queue.count, queue.bytes, queue.storing, queue.accepted) == (0, 0, 0, 0)
    assert desk.router.take_facts() == []
    assert desk.sent() == []


def test_what_is_being_written_takes_room_and_its_refusal_gives_it_back() -> None:
    desk = Desk("a", keeping=DURABLE, limits=Limits(max_messages=1))
    desk.submit("a", b"x")
    assert desk.submit("a", b"y") == []

    desk.router.not_stored([1], FULL)

    assert words(desk.router.take_answers()) == [
        (1, 1, 1, "DrainingError"),
        (1, 2, 1, None),
    ]


def test_answers_keep_their_order_when_a_submit_is_taken_in_part() -> None:
    limits = Limits(max_messages=1, refuses=True)
    desk = Desk("a", keeping=DURABLE, limits=limits)

    assert desk.submit("a", b"x", b"y", b"z") == [(1, 1, 1, None)]

    assert words(desk.write()) == [(1, 1, 1, 1), (1, 2, 2, "QueueFullError")]


def test_a_refusal_waits_for_all_that_is_before_it_for_the_same_target() -> None:
    limits = Limits(max_messages=1)
    desk = Desk("a", "b", keeping=DURABLE, limits=limits)
    desk.submit("a", b"x", b"y")
    desk.submit("b", b"z")
    desk.router.close_queue("a")

    assert desk.router.take_answers() == []
    assert words(desk.write()) == [
        (1, 1, 1, 1),
        (1, 2, 1, "UnknownTargetError"),
        (1, 3, 1, 2),
    ]


def test_a_refusal_does_not_wait_for_what_is_written_already() -> None:
    limits = Limits(max_messages=1, refuses=True)
    desk = Desk("a", keeping=DURABLE, limits=limits)
    desk.submit("a", b"x")
    desk.write()

    ((sender, sequence, count, error),) = desk.submit("a", b"y")

    assert (sender, sequence, count) == (1, 2, 1)
    assert isinstance(error, QueueFullError)


def test_all_answers_keep_their_order_whatever_a_reload_changes() -> None:
    desk = Desk("a", keeping=DURABLE, limits=Limits(max_messages=3))
    desk.submit("a", b"w", message_id="m")
    desk.write()
    desk.submit("a", b"x")
    assert desk.submit("a", b"w", message_id="m") == [(1, 3, 1, None)]
    desk.open("a", keeping=Keeping(Durability.MEMORY))
    assert desk.submit("a", b"y") == [(1, 4, 1, None)]

    assert desk.write() == [(1, 2, 1, 2), (1, 3, 1, 1), (1, 4, 1, 3)]


def test_what_a_lost_sender_was_not_told_to_be_taken_is_not_refused_later() -> None:
    limits = Limits(max_messages=2, refuses=True)
    desk = Desk("a", keeping=DURABLE, limits=limits)
    desk.submit("a", b"x", b"y", b"z")
    desk.submit("a", b"z", sender=2)

    desk.router.sender_gone(1)

    assert words(desk.write()) == [(1, 1, 2, 1)]


def test_a_sender_that_is_gone_is_answered_as_ever() -> None:
    """Its messages are being written: it may come back under the same number."""
    desk = Desk("a", keeping=DURABLE)
    desk.submit("a", b"x")

    desk.router.sender_gone(1)

    assert desk.write() == [(1, 1, 1, 1)]


def test_a_queue_that_is_closed_goes_when_its_last_message_cannot_be_written() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.submit("a", b"x")
    desk.router.close_queue("a")

    desk.router.not_stored([1], FULL)

    assert desk.router.queues == {}


# The same message again


def test_a_message_that_is_there_already_is_confirmed_again() -> None:
    desk = Desk("a")

    assert desk.submit("a", b"x", message_id="m") == [(1, 1, 1, 1)]
    assert desk.submit("a", b"x", message_id="m", sender=2) == [(2, 1, 1, 1)]
    assert desk.submit("a", b"y", message_id="n") == [(1, 2, 1, 2)]

    queue = desk.router.queues["a"]
    assert (queue.count, queue.deduplicated) == (2, 1)


def test_each_queue_knows_its_own_ids() -> None:
    desk = Desk("a", "b")
    desk.submit("a", b"x", message_id="m")

    assert desk.submit("b", b"x", message_id="m") == [(1, 2, 1, 2)]


def test_a_message_that_is_done_long_since_is_not_taken_again_either() -> None:
    desk = Desk("a", keeping=Keeping(dedupe_s=10.0))
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x", message_id="m")
    desk.sent()
    desk.router.ack(link, 1, 1, 1)

    assert desk.submit("a", b"x", message_id="m", now=9.9) == [(1, 2, 1, 1)]
    assert desk.submit("a", b"x", message_id="m", now=10.0) == [(1, 3, 1, 2)]


def test_the_same_message_is_confirmed_when_its_original_is_written() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.submit("a", b"x", message_id="m")

    assert desk.submit("a", b"x", message_id="m", sender=2) == [(2, 1, 1, None)]

    assert desk.write() == [(1, 1, 1, 1), (2, 1, 1, 1)]
    assert desk.submit("a", b"x", message_id="m", sender=3) == [(3, 1, 1, 1)]


def test_the_same_message_is_refused_with_its_original_and_may_come_again() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.submit("a", b"x", message_id="m")
    desk.submit("a", b"x", message_id="m", sender=2)

    desk.router.not_stored([1], FULL)

    assert words(desk.router.take_answers()) == [
        (1, 1, 1, "DrainingError"),
        (2, 1, 1, "DrainingError"),
    ]
    assert desk.submit("a", b"x", message_id="m") == [(1, 2, 1, None)]


def test_a_window_may_be_over_before_the_message_is_written() -> None:
    desk = Desk("a", keeping=Keeping(Durability.DISK, dedupe_s=0.0))
    desk.submit("a", b"x", message_id="m")
    desk.submit("a", b"y", message_id="m")

    desk.router.not_stored([1], FULL)
    desk.router.stored([2])

    assert words(desk.router.take_answers()) == [
        (1, 1, 1, "DrainingError"),
        (1, 2, 1, 2),
    ]


def test_the_same_message_takes_no_room() -> None:
    desk = Desk("a", limits=Limits(max_messages=1, refuses=True))
    desk.submit("a", b"x", message_id="m")

    assert desk.submit("a", b"x", message_id="m") == [(1, 2, 1, 1)]


def test_a_closed_queue_takes_nothing_even_if_it_was_there_before() -> None:
    desk = Desk("a")
    desk.submit("a", b"x", message_id="m")
    desk.router.close_queue("a")

    ((_, _, _, error),) = desk.submit("a", b"x", message_id="m")

    assert isinstance(error, UnknownTargetError)


def test_what_waits_for_room_is_compared_when_its_turn_comes() -> None:
    desk = Desk("a", limits=Limits(max_messages=1))
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"w")
    desk.submit("a", b"x", message_id="m")
    desk.submit("a", b"x", message_id="m", sender=2)

    desk.sent()
    desk.router.ack(LinkId(link), 1, 1, 1)

    assert desk.router.take_answers() == [(1, 2, 1, 2), (2, 1, 1, 2)]
