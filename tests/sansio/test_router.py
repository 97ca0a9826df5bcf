import pytest

from pymule.errors import (
    DrainingError,
    LeaseLostError,
    QueueFullError,
    RemoteProtocolError,
    UnknownTargetError,
)
from pymule.sansio.alarms import AlarmKind
from pymule.sansio.batch import Batch, unpack_bodies
from pymule.sansio.delivery import DeadReason, DeliveryPolicy
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import (
    Changed,
    DeadGone,
    Durability,
    Gone,
    RowGone,
    Stored,
)
from pymule.sansio.run import BATCH_OVERHEAD_BYTES
from tests.sansio.routing import DURABLE, Desk

# Room for two messages of one byte, or for one of six.
SMALL = Limits(max_bytes=BATCH_OVERHEAD_BYTES + 10)
KEEN = DeliveryPolicy(max_attempts=3, max_crashes=2, backoff_s=4.0)


# Senders


def test_a_confirm_names_sequence_count_and_first_id() -> None:
    desk = Desk("a", "b")

    assert desk.submit("a", b"x", b"y", sender=5) == [(5, 1, 2, 1)]
    assert desk.submit("b", b"z", sender=6) == [(6, 1, 1, 3)]
    assert desk.submit("a", b"z", sender=5) == [(5, 3, 1, 4)]


def test_an_answer_is_given_once() -> None:
    desk = Desk("a")
    desk.submit("a", b"x")

    assert desk.router.take_answers() == []


# What a mule waits for passes through its queue at once


def pass_on(desk: Desk, *bodies: bytes) -> list[tuple[int, list[bytes]]]:
    delivery = desk.router.pass_on(1, 1, "a", Batch.of(bodies), 0.0)
    if delivery is None:
        return []
    link, run = delivery
    return [(link, unpack_bodies(run.payload, run.count))]


def test_what_passes_on_is_as_if_it_was_submitted_and_then_delivered() -> None:
    desk, other = Desk("a"), Desk("a")
    for one in (desk, other):
        one.link(1, "a", credit=3)
        one.link(2, "a", credit=3)

    passed = pass_on(desk, b"x", b"y")
    answers = desk.router.take_answers()

    assert answers == other.submit("a", b"x", b"y")
    assert passed == other.sent() == [(1, [b"x", b"y"])]
    assert desk.sent() == []
    queue, same = desk.router.queues["a"], other.router.queues["a"]
    for name in ("count", "bytes", "leased", "accepted"):
        assert getattr(queue, name) == getattr(same, name)
    assert desk.submit("a", b"z")[0][3] == other.submit("a", b"z")[0][3] == 3
    assert desk.sent() == other.sent() == [(2, [b"z"])]


@pytest.mark.parametrize(
    "what",
    ["unknown", "nobody", "credit", "ready", "full", "bytes", "paused", "closed"],
)
def test_nothing_passes_on_where_something_is_in_the_way(what: str) -> None:
    limits = {"full": Limits(max_messages=1), "bytes": Limits(max_bytes=520)}
    desk = Desk("b" if what == "unknown" else "a", limits=limits.get(what))
    if what not in ("unknown", "nobody"):
        desk.link(1, "a", credit=1 if what == "credit" else 5)
    if what == "paused":
        desk.router.queues["a"].is_paused = True
    if what == "closed":
        desk.router.queues["a"].is_closed = True
    if what == "ready":
        desk.submit("a", b"x")
    before = desk.router.next_id

    assert not pass_on(desk, b"123456789", b"x")
    assert desk.router.next_id == before


def test_what_must_be_written_first_does_not_pass_on() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.link(1, "a", credit=5)

    assert not pass_on(desk, b"x")


def test_what_waits_for_room_is_not_overtaken() -> None:
    desk = Desk("a", limits=Limits(max_messages=2))
    desk.link(1, "a", credit=5)
    desk.submit("a", b"1", b"2", b"3")
    desk.sent()
    desk.router.queues["a"].limits = Limits()

    assert not pass_on(desk, b"4")


def test_nothing_passes_on_before_the_answers_that_are_being_written() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.link(1, "a", credit=5)
    desk.submit("a", b"x")
    desk.open("a", keeping=Keeping())

    assert not pass_on(desk, b"y")


def test_an_unknown_target_is_refused_with_the_names_that_exist() -> None:
    desk = Desk("a", "b")

    ((sender, sequence, count, error),) = desk.submit("c", b"x", b"y")

    assert (sender, sequence, count) == (1, 1, 2)
    assert isinstance(error, UnknownTargetError)
    assert (error.target, error.known) == ("c", ["a", "b"])


def test_a_full_queue_takes_what_fits_and_lets_the_rest_wait() -> None:
    desk = Desk("a", limits=Limits(max_messages=2))
    link = desk.link(1, "a", credit=1)

    assert desk.submit("a", b"x", b"y", b"z") == [(1, 1, 2, 1)]
    assert desk.sent() == [(1, [b"x"])]
    desk.router.ack(link, 1, 1, 1)

    assert desk.router.take_answers() == [(1, 3, 1, 3)]
    desk.grant(link, 2)
    assert desk.sent() == [(1, [b"y"]), (1, [b"z"])]


def test_a_full_queue_takes_what_fits_and_refuses_the_rest() -> None:
    desk = Desk("a", limits=Limits(max_messages=2, refuses=True))

    first, (sender, sequence, count, error) = desk.submit("a", b"x", b"y", b"z", b".")

    assert first == (1, 1, 2, 1)
    assert (sender, sequence, count) == (1, 3, 2)
    assert isinstance(error, QueueFullError)
    assert (error.limit, error.unit) == (2, "messages")


def test_bytes_have_a_limit_too() -> None:
    desk = Desk("a", limits=Limits(max_bytes=SMALL.max_bytes, refuses=True))

    first, (_, sequence, count, error) = desk.submit("a", b"x", b"y", b"z")

    assert first == (1, 1, 2, 1)
    assert (sequence, count) == (3, 1)
    assert isinstance(error, QueueFullError)
    assert (error.limit, error.unit) == (SMALL.max_bytes, "bytes")


def test_those_who_wait_are_let_in_as_they_came() -> None:
    desk = Desk("a", limits=Limits(max_messages=1))
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"w")
    desk.submit("a", b"x", sender=2)
    desk.submit("a", b"y", sender=3)
    desk.submit("a", b"z", sender=2)
    order = []

    for number in (1, 2, 3):
        desk.sent()
        desk.router.ack(link, number, 1, 1)
        order += [answer[:2] for answer in desk.router.take_answers()]

    assert order == [(2, 1), (3, 1), (2, 2)]


def test_a_full_queue_does_not_hold_up_another() -> None:
    desk = Desk("a", "b", limits=Limits(max_messages=1))
    desk.submit("a", b"w")
    assert desk.submit("a", b"x") == []

    assert desk.submit("b", b"y") == [(1, 3, 1, 2)]


def test_a_message_that_can_never_fit_is_refused_although_others_may_wait() -> None:
    desk = Desk("a", limits=SMALL)
    desk.submit("a", b"w")

    (_, sequence, count, error), *rest = desk.submit("a", b"much too long", b"x")

    assert (sequence, count, rest) == (2, 1, [])
    assert isinstance(error, QueueFullError)
    assert (error.limit, error.unit) == (SMALL.max_bytes, "bytes")
    assert desk.router.queues["a"].waiting[0].sequence == 3


def test_a_message_that_can_never_fit_is_refused_alone_among_its_batch() -> None:
    desk = Desk("a", limits=SMALL)
    link = desk.link(1, "a", credit=9)

    assert desk.submit("a", b"w", b"much too long", b"x")[0] == (1, 1, 1, 1)
    desk.sent()
    desk.router.ack(link, 1, 1, 1)

    assert desk.router.take_answers() == [(1, 3, 1, 2)]
    assert desk.sent() == [(1, [b"x"])]


def test_what_a_lost_sender_had_waiting_is_forgotten() -> None:
    desk = Desk("a", limits=Limits(max_messages=1))
    desk.submit("a", b"w")
    desk.submit("a", b"x")
    desk.submit("a", b"y", sender=2)

    desk.router.sender_gone(1)
    desk.open("a", Limits())

    assert desk.router.take_answers() == [(2, 1, 1, 2)]
    assert desk.router.queues["a"].count == 2


def test_a_lost_sender_makes_way_for_one_that_needs_less_room() -> None:
    desk = Desk("a", limits=Limits(max_bytes=2 * BATCH_OVERHEAD_BYTES + 20))
    desk.submit("a", b"w")
    assert desk.submit("a", b"needs more room") == []
    assert desk.submit("a", b"x", sender=2) == []

    desk.router.sender_gone(1)

    assert desk.router.take_answers() == [(2, 1, 1, 2)]


def test_a_sender_that_had_nothing_waiting_may_go() -> None:
    desk = Desk("a")

    desk.router.sender_gone(1)

    assert desk.router.take_answers() == []


# Queues


def test_new_limits_let_those_in_that_wait() -> None:
    desk = Desk("a", limits=Limits(max_messages=1))
    desk.submit("a", b"w", b"x", b"y")

    desk.open("a", Limits(max_messages=2))

    assert desk.router.take_answers() == [(1, 2, 1, 2)]


def test_who_waits_still_does_when_the_queue_begins_to_refuse() -> None:
    desk = Desk("a", limits=Limits(max_messages=1))
    desk.submit("a", b"w", b"x")
    desk.open("a", Limits(max_messages=1, refuses=True))

    ((sender, sequence, _, error),) = desk.submit("a", b"y", sender=2)

    assert (sender, sequence) == (2, 1)
    assert isinstance(error, QueueFullError)
    assert len(desk.router.queues["a"].waiting) == 1


def test_a_closed_queue_refuses_those_who_wait_and_those_who_come() -> None:
    desk = Desk("a", "b", limits=Limits(max_messages=1))
    desk.submit("a", b"w", b"x")

    assert desk.router.close_queue("a") == 1

    ((_, sequence, count, waited),) = desk.router.take_answers()
    ((_, _, _, came),) = desk.submit("a", b"y")
    assert (sequence, count) == (2, 1)
    assert isinstance(waited, UnknownTargetError)
    assert isinstance(came, UnknownTargetError)
    assert came.known == list(desk.router.targets) == ["b"]


def test_at_a_stop_those_who_wait_are_refused_and_what_is_queued_stays() -> None:
    desk = Desk("a", "b", limits=Limits(max_messages=1))
    desk.submit("a", b"w", b"x")

    desk.router.refuse_waiting(DrainingError())

    ((_, sequence, count, answer),) = desk.router.take_answers()
    assert (sequence, count) == (2, 1)
    assert isinstance(answer, DrainingError)
    assert desk.router.queues["a"].count == 1


def test_a_closed_queue_is_emptied_and_then_vanishes() -> None:
    desk = Desk("a")
    desk.submit("a", b"w")
    desk.router.close_queue("a")
    link = desk.link(1, "a", credit=1)

    assert desk.sent() == [(1, [b"w"])]
    assert "a" in desk.router.queues
    desk.router.ack(link, 1, 1, 1)

    assert desk.router.queues == {}


def test_an_empty_queue_vanishes_when_it_is_closed() -> None:
    desk = Desk("a")

    assert desk.router.close_queue("a") == 0

    assert desk.router.queues == {}


def test_a_closed_queue_stays_for_its_dead_letters() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=1)
    desk.submit("a", b"w")
    desk.sent()
    desk.router.close_queue("a")

    desk.nack(link, 1, is_final=True)

    assert len(desk.router.queues["a"].dead) == 1


def test_a_queue_that_is_opened_again_has_kept_its_messages() -> None:
    desk = Desk("a")
    desk.submit("a", b"w")
    desk.router.close_queue("a")
    desk.open("a")
    desk.link(1, "a", credit=9)

    assert desk.submit("a", b"x") == [(1, 2, 1, 2)]
    assert desk.sent() == [(1, [b"w"]), (1, [b"x"])]


# Links


def test_a_lane_is_opened_once() -> None:
    desk = Desk("a")
    link = desk.link(1, "a")

    with pytest.raises(RemoteProtocolError, match="lane 0 is open already"):
        desk.router.open_lane(link, 0, ["a"])


def test_a_lane_takes_only_from_the_queues_of_its_mule() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a")

    with pytest.raises(RemoteProtocolError, match=r"'b'; allowed: \['a'\]"):
        desk.router.open_lane(link, 1, ["a", "b"])


def test_a_lane_leaves_out_a_queue_that_a_reload_took_away() -> None:
    desk = Desk("a")

    desk.link(1, "gone", "a", "a", credit=1)
    desk.submit("a", b"x")

    assert desk.sent() == [(1, [b"x"])]


def test_credit_for_a_lane_that_is_not_open_is_an_error() -> None:
    desk = Desk("a")
    link = desk.link(1, "a")

    with pytest.raises(RemoteProtocolError, match="lane 7, which is not open"):
        desk.router.credit(link, 7, 1)


def test_a_link_is_idle_until_it_has_something_and_after_it_is_done() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=1)
    assert desk.router.is_idle(link)

    desk.submit("a", b"x")
    desk.sent()
    assert not desk.router.is_idle(link)
    desk.router.ack(link, 1, 1, 1)

    assert desk.router.is_idle(link)


# Leases


def test_an_ack_ends_what_it_covers_and_counts_what_it_does_not() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=9)
    other = desk.link(2, "a")
    desk.submit("a", b"w", b"x", b"y", b"z")
    desk.sent()

    desk.router.ack(link, 2, 2, 1)
    desk.router.ack(link, 2, 2, 1)
    desk.router.ack(link, 1, 1, 2)
    desk.router.ack(other, 4, 1, 1)

    queue = desk.router.queues["a"]
    assert (queue.acked, queue.leased, queue.count) == (2, 2, 2)
    assert desk.router.late_count == 4
    assert desk.router.links[link].handled == 2


def test_a_nack_names_the_time_of_the_next_attempt() -> None:
    desk = Desk("a", policy=KEEN)
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x")
    desk.sent()

    assert desk.nack(link, 1, delay=None) == 2.0

    assert desk.sent() == []
    desk.due(1)
    assert desk.sent() == [(1, [b"x"])]
    assert desk.nack(link, 1, attempt=2, delay=30.0) is not None


def test_a_nack_without_delay_is_redelivered_before_younger_ones() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=1)
    desk.submit("a", b"x", b"y")
    desk.sent()

    assert desk.nack(link, 1, delay=0.0) is None
    desk.grant(link, 2)
    runs = [run for _, run in desk.router.deliveries(0.0)]

    assert [(run.first_id, run.attempts) for run in runs] == [(1, 1), (2, 0)]
    assert desk.router.queues["a"].redelivered == 1


def test_a_late_nack_is_refused_and_changes_nothing() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x")
    desk.sent()

    with pytest.raises(LeaseLostError):
        desk.nack(link, 1, attempt=2)
    with pytest.raises(LeaseLostError):
        desk.nack(link, 7)

    assert desk.router.queues["a"].leased == 1
    assert desk.router.late_count == 2


def test_a_rejected_message_is_dead_at_once() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x", b"y")
    desk.sent()

    assert desk.nack(link, 2, is_final=True) is None

    (letter,) = desk.router.queues["a"].dead
    assert (letter.id, letter.body, letter.attempts) == (2, b"y", 1)
    assert letter.reason is DeadReason.REJECTED
    assert letter.error == {"type": "Oops", "attempt": 1}
    assert (letter.accepted_at, letter.died_at) == (0.0, 9.0)


def test_a_message_is_dead_when_its_attempts_are_spent() -> None:
    desk = Desk("a", policy=KEEN)
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x")

    for attempt in (1, 2, 3):
        desk.sent()
        desk.nack(link, 1, attempt)

    queue = desk.router.queues["a"]
    (letter,) = queue.dead
    assert (letter.attempts, letter.reason) == (3, DeadReason.ATTEMPTS)
    assert (queue.count, queue.bytes, queue.failed) == (0, 0, 3)


def test_an_unknown_retry_is_ignored() -> None:
    desk = Desk("a")

    desk.due(7)

    assert desk.sent() == []


def test_what_a_link_gives_back_spends_no_attempt_and_keeps_its_place() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=3)
    desk.submit("a", b"w", b"x", b"y", b"z")
    desk.sent()

    desk.router.give_back(link, 2, 5)
    desk.link(2, "a", credit=9)
    runs = [run for _, run in desk.router.deliveries(0.0)]

    assert [(run.first_id, run.count, run.attempts) for run in runs] == [
        (2, 2, 0),
        (4, 1, 0),
    ]
    assert desk.router.late_count == 3


# Deaths


def test_only_what_was_in_hand_at_a_death_spends_an_attempt() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"v", b"w", b"x", b"y", b"z")
    desk.sent()

    losses = desk.gone(link, 1, 3)

    assert (losses.in_hand, losses.dead) == ([2, 4], [])
    assert (losses.untouched, losses.done) == (1, 2)
    queue = desk.router.queues["a"]
    assert [(run.first_id, run.attempts) for run in queue.suspects] == [(2, 1), (4, 1)]
    assert [(run.first_id, run.attempts) for run in queue.ready] == [(5, 0)]
    assert (queue.acked, queue.leased, queue.redelivered) == (2, 0, 2)


def test_a_mule_without_a_scoreboard_had_touched_nothing() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x", b"y")
    desk.sent()

    losses = desk.gone(link)

    assert (losses.in_hand, losses.untouched) == ([], 2)
    desk.link(2, "a", credit=9)
    assert desk.sent() == [(2, [b"x", b"y"])]


def test_a_message_in_whose_hands_mules_die_is_dead() -> None:
    desk = Desk("a", policy=KEEN)
    desk.submit("a", b"x")

    losses = []
    for number in (1, 2):
        link = desk.link(number, "a", credit=9)
        desk.sent()
        losses.append(desk.gone(link, 0))

    assert [loss.dead for loss in losses] == [[], [1]]
    assert [loss.in_hand for loss in losses] == [[1], [1]]
    (letter,) = desk.router.queues["a"].dead
    assert (letter.crashes, letter.reason) == (2, DeadReason.CRASHES)
    assert letter.error == {"type": "MuleDied", "attempt": 2}


def test_a_death_makes_room_for_those_who_wait() -> None:
    desk = Desk("a", limits=Limits(max_messages=2))
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x", b"y", b"z")
    desk.sent()

    desk.gone(link, taken=1)

    assert desk.router.take_answers() == [(1, 3, 1, 3)]


def test_a_failed_message_does_not_keep_the_bytes_of_its_batch() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x", b"y" * 1000)
    desk.sent()

    desk.nack(link, 1, delay=60.0)
    desk.router.ack(link, 2, 1, 1)

    told = len("Oops") + len("1")
    assert desk.router.queues["a"].bytes == BATCH_OVERHEAD_BYTES + 4 + 1 + told


def test_options_travel_with_the_messages() -> None:
    desk = Desk("a")
    desk.router.submit(1, 1, "a", Batch.of([b"x", b"y"]), b'{"priority":1}', 0.0)
    link = desk.link(1, "a", credit=1)
    desk.link(2, "a", credit=1)

    runs = [run for _, run in desk.router.deliveries(0.0)]

    assert [run.options for run in runs] == [b'{"priority":1}'] * 2
    desk.nack(link, 1, is_final=True)
    assert [letter.options for letter in desk.router.queues["a"].dead] == [
        b'{"priority":1}'
    ]


def test_a_link_may_be_allowed_more_sources() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a")

    desk.router.allow(link, ["b"])
    desk.router.open_lane(link, 1, ["b"])
    desk.router.credit(link, 1, 1)
    desk.submit("b", b"x")

    assert desk.sent() == [(1, [b"x"])]


# Time


def test_a_message_whose_time_is_over_leaves_and_makes_room() -> None:
    desk = Desk("a", limits=Limits(max_messages=2))
    desk.submit("a", b"x", b"y", b"z", ttl=5.0)

    desk.router.alarm(AlarmKind.EXPIRY, 1)
    desk.router.alarm(AlarmKind.EXPIRY, 1)

    queue = desk.router.queues["a"]
    assert (queue.expired, queue.count) == (2, 1)
    assert desk.router.take_answers() == [(1, 3, 1, 3)]


def test_what_has_expired_is_not_delivered_although_no_alarm_rang() -> None:
    """It may have waited for room, or with a mule, for longer than its ttl."""
    desk = Desk("a", limits=Limits(max_messages=3))
    desk.submit("a", b"x", b"y", ttl=5.0)
    desk.submit("a", b"z")
    desk.submit("a", b"late", ttl=4.0)
    desk.submit("a", b"last")
    desk.link(1, "a", credit=9)

    assert desk.sent(now=5.0) == [(1, [b"z"]), (1, [b"last"])]

    queue = desk.router.queues["a"]
    assert (queue.expired, queue.count) == (3, 2)
    assert not any(desk.router.take_alarms().values())


def test_of_what_has_expired_no_part_is_delivered() -> None:
    desk = Desk("a")
    desk.submit("a", b"x", b"y", b"z", ttl=5.0)
    desk.link(1, "a", credit=1)

    assert desk.sent(now=5.0) == []

    assert desk.router.queues["a"].expired == 3
    assert not any(desk.router.take_alarms().values())


def test_a_suspect_that_has_expired_is_not_delivered() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=2)
    desk.submit("a", b"x", ttl=5.0)
    desk.submit("a", b"y", ttl=50.0)
    desk.sent()
    desk.gone(link, 0, 1)
    desk.link(2, "a", credit=9)

    assert desk.sent(now=9.0) == [(2, [b"y"])]
    assert desk.router.queues["a"].expired == 1


def test_the_next_of_a_key_does_not_wait_for_one_that_has_expired() -> None:
    desk = Desk("a")
    desk.submit("a", b"x", key="k", ttl=5.0)
    desk.submit("a", b"y", key="k")
    desk.link(1, "a", credit=1)

    assert desk.sent(now=5.0) == [(1, [b"y"])]


def test_of_a_batch_that_is_split_each_part_has_its_end() -> None:
    desk = Desk("a")
    desk.link(1, "a", credit=1)
    desk.submit("a", b"x", b"y", ttl=5.0)
    desk.sent()

    assert desk.router.take_alarms() == {
        (AlarmKind.EXPIRY, 1): None,
        (AlarmKind.EXPIRY, 2): 5.0,
    }
    desk.router.alarm(AlarmKind.EXPIRY, 2)
    assert desk.router.queues["a"].count == 1


def test_one_of_several_suspects_may_expire() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=2)
    desk.submit("a", b"x", b"y", ttl=5.0)
    desk.sent()
    desk.gone(link, 0, 1)

    desk.router.alarm(AlarmKind.EXPIRY, 1)

    assert [run.first_id for run in desk.router.queues["a"].suspects] == [2]


def test_a_queue_that_may_keep_fewer_dead_letters_drops_the_oldest() -> None:
    desk = Desk("a", keeping=DURABLE)
    link = desk.link(1, "a", credit=9)
    desk.submit("a", b"x", b"y")
    desk.write()
    desk.sent()
    for number in (1, 2):
        desk.nack(link, number, is_final=True)
    desk.router.take_facts()

    desk.open("a", keeping=Keeping(Durability.DISK, dead_max_messages=1))

    assert desk.router.take_facts() == [DeadGone((1,))]


def test_an_answer_from_elsewhere_keeps_the_order_of_those_of_its_sender() -> None:
    desk = Desk("a", keeping=DURABLE)
    desk.submit("a", b"x")
    error = DrainingError()

    desk.router.answer("a", (1, 2, 1, error))
    desk.router.answer("a", (2, 1, 1, error))

    assert desk.router.take_answers() == [(2, 1, 1, error)]
    assert desk.write() == [(1, 1, 1, 1), (1, 2, 1, error)]


# The journal


def test_a_lease_is_told_with_its_attempt_and_a_return_takes_it_back() -> None:
    desk = Desk("a", keeping=DURABLE)
    link = desk.link(1, "a", credit=2)
    desk.submit("a", b"x", b"y")
    desk.write()

    desk.sent()
    assert desk.router.take_facts() == [Changed(1, 1, 2, 1, 0)]
    desk.router.give_back(link, 2, 1)
    assert desk.router.take_facts() == [Changed(1, 2, 1, 0, 0)]


def test_a_retry_of_a_batch_is_told_from_a_row_of_its_own() -> None:
    desk = Desk("a", keeping=DURABLE)
    link = desk.link(1, "a", credit=2)
    desk.submit("a", b"x", b"y")
    desk.write()
    desk.sent()
    desk.router.take_facts()

    desk.nack(link, 2, delay=5.0)

    stored, gone, changed = desk.router.take_facts()
    assert isinstance(stored, Stored)
    assert (stored.row, stored.first_id, stored.is_kept) == (2, 2, True)
    assert gone == Gone(1, 2, 1)
    error = {"type": "Oops", "attempt": 1}
    assert changed == Changed(2, 2, 1, 1, 0, 14.0, (error,))


def test_a_death_tells_what_was_in_hand_and_what_was_done() -> None:
    desk = Desk("a", keeping=DURABLE)
    link = desk.link(1, "a", credit=9)
    for body in (b"done", b"held", b"untouched"):
        desk.submit("a", body)
    desk.write()
    desk.sent()
    desk.router.take_facts()

    desk.gone(link, 1, taken=2)

    error = {"type": "MuleDied", "attempt": 1}
    assert desk.router.take_facts() == [
        Changed(3, 3, 1, 0, 0),
        Changed(2, 2, 1, 1, 1, None, (error,)),
        RowGone(1),
    ]
