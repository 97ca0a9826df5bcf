from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.occupancy import SPARE_PLACES, Occupancy

ALICE, BOB, OURS = 1000, 1001, 7


def fill(places: Occupancy, uid: int, count: int, limit: int, *, pid: int = 1) -> int:
    """Let *count* of one user and process come; return how many got a place."""
    taken = 0
    for _ in range(count):
        if places.refusal(uid, pid, limit, is_household=uid == OURS) is None:
            places.take(uid, pid)
            taken += 1
    return taken


def test_a_user_alone_may_take_half_of_the_places() -> None:
    places = Occupancy()

    assert fill(places, ALICE, 100, 20) == 10
    refusal = places.refusal(ALICE, 1, 20, is_household=False)
    assert refusal == (
        "user 1000 has 10 connections and 10 are left; max_clients is 20"
    )


def test_who_comes_later_finds_room_beside_a_flood() -> None:
    places = Occupancy()
    fill(places, ALICE, 100, 20)

    assert fill(places, BOB, 100, 20) == 5


def test_the_household_may_take_all_places() -> None:
    places = Occupancy()

    assert fill(places, OURS, 100, 20) == 20
    refusal = places.refusal(OURS, 1, 20, is_household=True)
    assert refusal == "20 clients are connected; max_clients is 20"
    assert "20 clients" in str(places.refusal(ALICE, 2, 20, is_household=False))


def test_a_new_process_of_the_household_has_a_place_to_spare() -> None:
    places = Occupancy()
    fill(places, OURS, 100, 20)

    spare = sum(fill(places, OURS, 5, 20, pid=pid) for pid in range(2, 100))

    assert spare == SPARE_PLACES


def test_a_limit_that_was_lowered_holds_for_those_who_come() -> None:
    places = Occupancy()
    fill(places, OURS, 20, 20)

    assert places.refusal(OURS, 1, 10, is_household=True) is not None
    assert places.refusal(OURS, 2, 10, is_household=True) is not None


def test_who_leaves_makes_room() -> None:
    places = Occupancy()
    fill(places, OURS, 20, 20)

    places.leave(OURS, 1)

    assert fill(places, OURS, 5, 20) == 1


@given(
    comers=st.lists(st.tuples(st.sampled_from([ALICE, BOB, OURS]), st.integers(1, 3))),
    limit=st.integers(1, 9),
)
def test_there_are_never_more_than_places(
    comers: list[tuple[int, int]], limit: int
) -> None:
    places = Occupancy()

    inside = [
        comer for comer in comers if fill(places, comer[0], 1, limit, pid=comer[1])
    ]
    assert places.taken == len(inside) <= limit + SPARE_PLACES
    for comer in inside:
        places.leave(*comer)

    assert places.taken == 0
    assert places.is_new(1)


def test_who_has_more_than_one_place_has_many() -> None:
    places = Occupancy()
    places.take(0, 7)
    assert not places.has_many(7)

    places.take(0, 7)

    assert places.has_many(7)
    assert not places.has_many(8)
