"""A row after its changes, against a history for each id."""

from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.record import Changed, Gone, Share, Stored
from pymule.sansio.shares import shares_of

ROW = Stored(1, "mule", 10, 8, b"", b"", accepted_at=0.0)


def by_id(shares: list[Share]) -> dict[int, tuple[object, ...]]:
    return {
        number: (one.attempts, one.crashes, one.due_at, one.errors)
        for one in shares
        for number in range(one.first_id, one.first_id + one.count)
    }


def test_a_row_without_changes_is_one_share() -> None:
    assert shares_of(ROW, []) == [Share(10, 8)]


def test_a_row_is_due_when_it_was_stored_to_be() -> None:
    row = Stored(1, "mule", 10, 8, b"", b"", accepted_at=0.0, due_at=5.0)

    assert shares_of(row, []) == [Share(10, 8, due_at=5.0)]


def test_a_part_that_was_tried_has_its_own_share() -> None:
    changes = [Changed(1, 12, 2, 1, 0, errors=({"text": "no"},))]

    assert shares_of(ROW, changes) == [
        Share(10, 2),
        Share(12, 2, 1, 0, errors=({"text": "no"},)),
        Share(14, 4),
    ]


def test_what_is_gone_stays_gone() -> None:
    changes: list[Changed | Gone] = [
        Gone(1, 10, 4),
        Changed(1, 10, 8, 1, 0),
        Gone(1, 17, 1),
    ]

    assert shares_of(ROW, changes) == [Share(14, 3, 1, 0)]


def test_nothing_is_left_of_a_row_that_is_done() -> None:
    assert shares_of(ROW, [Gone(1, 10, 3), Gone(1, 13, 5)]) == []


def test_neighbours_with_one_history_are_one_share() -> None:
    changes = [Changed(1, 12, 2, 1, 0), Changed(1, 10, 2, 1, 0)]

    assert shares_of(ROW, changes) == [Share(10, 4, 1, 0), Share(14, 4)]


@st.composite
def changes(draw: st.DrawFn) -> Changed | Gone:
    first = draw(st.integers(10, 17))
    count = draw(st.integers(1, 18 - first))
    if draw(st.booleans()):
        return Gone(1, first, count)
    due_at = draw(st.none() | st.just(3.0))
    return Changed(1, first, count, draw(st.integers(0, 3)), 0, due_at)


@given(st.lists(changes(), max_size=30))
def test_any_changes_leave_what_a_history_of_each_id_leaves(
    given_changes: list[Changed | Gone],
) -> None:
    model: dict[int, tuple[object, ...]] = dict.fromkeys(
        range(10, 18), (0, 0, None, ())
    )
    for change in given_changes:
        for number in range(change.first_id, change.first_id + change.count):
            if isinstance(change, Gone):
                model.pop(number, None)
            elif number in model:
                model[number] = (change.attempts, change.crashes, change.due_at, ())

    shares = shares_of(ROW, given_changes)

    assert by_id(shares) == model
    assert shares == sorted(shares, key=lambda one: one.first_id)
    assert all(one.count > 0 for one in shares)
