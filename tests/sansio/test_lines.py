import pytest

from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.run import Hands
from tests.sansio.routing import Desk

PATIENT = DeliveryPolicy(max_attempts=99, max_crashes=99)


def desk_with_suspects(*bodies: bytes) -> Desk:
    """A mule died with all of the messages in its hands."""
    desk = Desk("a", "b", policy=PATIENT)
    dead = desk.link(100, "a", credit=len(bodies))
    desk.submit("a", *bodies)
    desk.sent()
    desk.gone(dead, *range(len(bodies)))
    return desk


# Fairness


def test_a_message_goes_to_the_lane_that_has_credit() -> None:
    desk = Desk("a")
    desk.link(1, "a")
    desk.link(2, "a", credit=1)

    desk.submit("a", b"x")

    assert desk.sent() == [(2, [b"x"])]


def test_a_message_waits_until_a_lane_has_credit() -> None:
    desk = Desk("a")
    desk.submit("a", b"x")
    link = desk.link(1, "a")
    assert desk.sent() == []

    desk.grant(link, 1)

    assert desk.sent() == [(1, [b"x"])]


def test_the_lane_that_waited_longest_is_served_first() -> None:
    desk = Desk("a")
    for number in (3, 1, 2):
        desk.link(number, "a", credit=1)

    for body in (b"x", b"y", b"z"):
        desk.submit("a", body)

    assert desk.sent() == [(3, [b"x"]), (1, [b"y"]), (2, [b"z"])]


def test_a_lane_with_credit_left_goes_to_the_end_of_the_line() -> None:
    desk = Desk("a")
    desk.link(1, "a", credit=9)
    desk.link(2, "a", credit=9)

    for body in (b"x", b"y", b"z"):
        desk.submit("a", body)

    assert desk.sent() == [(1, [b"x"]), (2, [b"y"]), (1, [b"z"])]


def test_credit_again_does_not_cost_a_lane_its_place() -> None:
    desk = Desk("a")
    first = desk.link(1, "a", credit=1)
    desk.link(2, "a", credit=1)

    desk.grant(first, 5)
    desk.submit("a", b"x")

    assert desk.sent() == [(1, [b"x"])]


def test_a_batch_goes_as_a_whole_to_a_lane_with_enough_credit() -> None:
    desk = Desk("a")
    desk.link(1, "a", credit=3)
    desk.submit("a", b"x", b"y", b"z")
    ((_, run),) = desk.router.deliveries(0.0)

    assert run.payload is run.batch.payload


def test_a_batch_is_split_when_the_credit_is_smaller() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=2)
    desk.link(2, "a", credit=1)

    desk.submit("a", b"v", b"w", b"x", b"y")

    assert desk.sent() == [(1, [b"v", b"w"]), (2, [b"x"])]
    desk.grant(link, 2)
    assert desk.sent() == [(1, [b"y"])]


def test_credit_that_was_taken_back_is_not_used() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=5)

    desk.grant(link, 0)
    desk.submit("a", b"x")

    assert desk.sent() == []


def test_positions_go_on_after_a_return() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=2)
    desk.submit("a", b"x", b"y")
    desk.sent()
    desk.router.give_back(link, 2, 1)

    desk.grant(link, 1)
    ((_, run),) = desk.router.deliveries(0.0)

    assert (run.first_id, run.start, run.attempts) == (2, 2, 0)


def test_a_lane_takes_from_its_queues_in_turn() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a", "b")
    desk.submit("a", b"a1", b"a2", b"a3")
    desk.submit("b", b"b1", b"b2", b"b3")
    order = []

    for _ in range(6):
        desk.grant(link, 1)
        order += [body for _, bodies in desk.sent() for body in bodies]

    assert order == [b"a1", b"b1", b"a2", b"b2", b"a3", b"b3"]


def test_a_queue_that_is_fed_all_the_time_does_not_starve_another() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a", "b")
    desk.submit("b", b"b1", b"b2")
    order = []

    for _ in range(4):
        desk.submit("a", b"a")
        desk.grant(link, 1)
        order += [body for _, bodies in desk.sent() for body in bodies]

    assert order == [b"a", b"b1", b"a", b"b2"]


def test_a_lane_goes_on_to_its_other_queues_when_others_were_first_at_one() -> None:
    desk = Desk("a", "b")
    links = [desk.link(number, "a", "b") for number in (1, 2)]
    desk.submit("a", b"x")
    desk.submit("b", b"y")

    for link in links:
        desk.grant(link, 1)

    assert desk.sent() == [(1, [b"x"]), (2, [b"y"])]


def test_a_lane_that_has_spent_its_credit_elsewhere_is_passed_over() -> None:
    desk = Desk("a", "b")
    desk.link(1, "a", "b", credit=1)
    desk.link(2, "b", credit=1)
    desk.submit("a", b"x")
    assert desk.sent() == [(1, [b"x"])]

    desk.submit("b", b"y")

    assert desk.sent() == [(2, [b"y"])]


def test_nothing_goes_to_a_link_that_drains() -> None:
    desk = Desk("a")
    link = desk.link(1, "a", credit=5)

    desk.router.drain_link(link)
    desk.submit("a", b"x")
    assert desk.sent() == []
    desk.grant(link, 9)
    desk.router.open_lane(link, 1, ["a"])
    desk.grant(link, 1, lane=1)

    assert desk.sent() == []


# Suspects


def test_a_suspect_goes_alone_and_only_to_a_mule_with_nothing_else() -> None:
    desk = desk_with_suspects(b"s", b"t")
    desk.submit("a", b"x")

    link = desk.link(1, "a", credit=9)

    assert desk.sent() == [(1, [b"s"])]
    desk.router.ack(link, 1, 1, 2)
    assert desk.sent() == [(1, [b"t"])]
    desk.router.ack(link, 2, 1, 2)
    assert desk.sent() == [(1, [b"x"])]


def test_a_mule_with_a_suspect_gets_nothing_in_its_other_lanes_either() -> None:
    desk = desk_with_suspects(b"s")
    link = desk.link(1, "a", "b", credit=1)
    desk.router.open_lane(link, 1, ["b"])
    desk.grant(link, 5, lane=1)
    desk.sent()

    desk.submit("b", b"x")

    assert desk.sent() == []
    desk.router.ack(link, 1, 1, 2)
    assert desk.sent() == [(1, [b"x"])]


def test_other_mules_go_on_while_a_suspect_is_out() -> None:
    desk = desk_with_suspects(b"s")
    desk.link(1, "a", credit=9)
    desk.link(2, "a", credit=9)

    desk.submit("a", b"x")

    assert desk.sent() == [(1, [b"s"]), (2, [b"x"])]


def test_a_suspect_that_nobody_touched_is_still_one() -> None:
    desk = desk_with_suspects(b"s")
    link = desk.link(1, "a", credit=1)
    desk.sent()

    desk.gone(link)
    desk.link(2, "a", credit=1)

    assert desk.sent() == [(2, [b"s"])]
    assert desk.router.links[LinkId(2)].is_solo


@pytest.fixture
def busy() -> Desk:
    """Two mules at work, with credit for more, and a suspect that waits."""
    desk = Desk("a", "b", policy=PATIENT)
    for number in (1, 2):
        desk.link(number, "a", "b", credit=2)
    dead = desk.link(100, "a", credit=1)
    for body in (b"w", b"x", b"s"):
        desk.submit("a", body)
        desk.sent()
    desk.gone(dead, 0)
    assert desk.sent() == []
    return desk


def test_a_busy_mule_is_kept_free_for_a_suspect(busy: Desk) -> None:
    busy.submit("b", b"y", b"z")
    assert busy.sent() == [(2, [b"y"])]

    busy.router.ack(LinkId(1), 1, 1, 1)

    assert busy.sent() == [(1, [b"s"])]
    busy.router.ack(LinkId(1), 3, 1, 2)
    busy.grant(LinkId(1), 1)
    assert busy.sent() == [(1, [b"z"])]


def test_a_mule_kept_free_has_the_suspect_though_others_were_served_meanwhile(
    busy: Desk,
) -> None:
    busy.submit("a", b"y")
    assert busy.sent() == [(2, [b"y"])]

    busy.router.ack(LinkId(1), 1, 1, 1)

    assert busy.sent() == [(1, [b"s"])]


def test_a_suspect_does_not_wait_for_the_mule_kept_free_when_another_is(
    busy: Desk,
) -> None:
    busy.router.ack(LinkId(2), 2, 1, 1)

    assert busy.sent() == [(2, [b"s"])]
    busy.submit("b", b"y")
    assert busy.sent() == [(1, [b"y"])]


def test_a_suspect_takes_a_new_mule_before_the_one_kept_free(busy: Desk) -> None:
    busy.link(3, "a", credit=1)

    assert busy.sent() == [(3, [b"s"])]


def test_when_the_mule_kept_free_drains_another_is_kept_free(busy: Desk) -> None:
    busy.router.drain_link(LinkId(1))
    assert busy.sent() == []

    busy.submit("b", b"y")

    assert busy.sent() == []
    busy.router.ack(LinkId(2), 2, 1, 1)
    assert busy.sent() == [(2, [b"s"])]


def test_the_end_of_a_mule_that_was_kept_free_changes_nothing_for_its_heir(
    busy: Desk,
) -> None:
    busy.router.drain_link(LinkId(1))
    busy.sent()
    busy.gone(LinkId(1))

    busy.link(3, "a", credit=1)

    assert busy.sent() == [(3, [b"s"]), (2, [b"w"])]


def test_a_mule_that_takes_its_credit_back_is_not_kept_free(busy: Desk) -> None:
    busy.router.open_lane(LinkId(1), 1, ["b"])
    busy.grant(LinkId(1), 1, lane=1)
    busy.router.drain_link(LinkId(2))

    busy.grant(LinkId(1), 0)
    busy.submit("b", b"y")

    assert busy.sent() == [(1, [b"y"])]


def test_a_mule_is_kept_free_for_one_queue_at_a_time() -> None:
    desk = Desk("a", "b", policy=PATIENT)
    link = desk.link(1, "a", "b", credit=9)
    dead = [desk.link(number, name, credit=1) for number, name in ((2, "a"), (3, "b"))]
    desk.submit("a", b"w")
    desk.submit("a", b"s")
    desk.sent()
    desk.submit("b", b"x")
    desk.submit("b", b"t")
    desk.sent()
    for number in dead:
        desk.gone(number, 0)
    desk.sent()
    order = []

    while leases := desk.router.links[link].leases:
        run = leases[0]
        desk.router.ack(link, run.first_id, run.count, run.attempts + 1)
        order += desk.sent()

    assert order == [(1, [b"s"]), (1, [b"t"])]
    assert not any(queue.count for queue in desk.router.queues.values())


def test_what_was_in_hand_in_each_lane_is_known_apart() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a", "b")
    desk.router.open_lane(link, 1, ["b"])
    desk.grant(link, 1)
    desk.submit("a", b"x")
    desk.sent()
    desk.grant(link, 1, lane=1)
    desk.submit("b", b"y")
    desk.sent()

    losses = desk.router.link_gone(link, {1: Hands(1, frozenset({0}))}, {}, 0.0)

    assert (losses.in_hand, losses.untouched) == ([2], 1)
