from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.dedupe import SeenIds
from pymule.sansio.target import MessageId


def test_an_id_is_known_inside_the_window_and_not_after_it() -> None:
    seen = SeenIds(10.0)
    seen.add("x", MessageId(7), now=5.0)

    assert seen.find("x", now=14.9) == 7
    assert seen.find("x", now=15.0) is None
    assert len(seen) == 0


def test_an_id_that_nobody_sent_is_not_known() -> None:
    assert SeenIds(10.0).find("x", now=0.0) is None


def test_the_window_begins_again_with_a_message_that_came_in() -> None:
    seen = SeenIds(10.0)
    seen.add("x", MessageId(1), now=0.0)
    seen.add("x", MessageId(2), now=20.0)

    assert seen.find("x", now=29.0) == 2


def test_the_oldest_ids_are_forgotten_when_there_are_too_many() -> None:
    seen = SeenIds(10.0, max_count=2)

    for number in (1, 2, 3):
        seen.add(str(number), MessageId(number), now=0.0)

    assert [seen.find(str(number), now=1.0) for number in (1, 2, 3)] == [None, 2, 3]


def test_what_did_not_come_in_is_forgotten() -> None:
    seen = SeenIds(10.0)
    seen.add("x", MessageId(1), now=0.0)

    seen.forget("x", MessageId(1))
    seen.forget("y", MessageId(2))

    assert seen.find("x", now=0.0) is None


def test_an_id_that_another_message_has_by_now_is_not_forgotten() -> None:
    seen = SeenIds(0.0)
    seen.add("x", MessageId(1), now=0.0)
    seen.add("x", MessageId(2), now=1.0)

    seen.forget("x", MessageId(1))

    assert len(seen) == 1


def test_one_that_waited_long_does_not_outlive_its_window_behind_a_younger_one() -> (
    None
):
    seen = SeenIds(10.0)
    seen.add("young", MessageId(1), now=8.0)
    seen.add("waited for room", MessageId(2), now=1.0)

    assert seen.find("waited for room", now=12.0) is None
    assert seen.find("young", now=12.0) == 1


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 30), st.booleans()), max_size=40
    )
)
def test_it_knows_what_a_dictionary_knows(
    steps: list[tuple[str, float, bool]],
) -> None:
    seen, model, now = SeenIds(25.0), dict[str, tuple[int, float]](), 0.0
    for number, (name, later, waited) in enumerate(steps):
        now += later
        known = model.get(name, (0, -1e9))
        expected = known[0] if known[1] + 25.0 > now else None

        found = seen.find(name, now)

        assert found == expected
        if found is None:
            at = now - 5.0 * waited
            seen.add(name, MessageId(number), at)
            model[name] = number, at
