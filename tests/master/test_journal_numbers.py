"""Numbers are noted as used before they are used."""

from hypothesis import given
from hypothesis import strategies as st

from pymule.master.journal_numbers import Numbers


def test_a_start_notes_many_ahead() -> None:
    numbers = Numbers(epoch=3, next_id=10, next_row=5)

    ((_, noted),) = numbers.take(0, 0)

    assert noted == (10 + 2**20, 5 + 2**20)
    assert numbers.take(11, 5) == []
    assert (numbers.next_id, numbers.next_row) == (12, 6)


def test_what_could_not_be_written_is_noted_again() -> None:
    numbers = Numbers(1, 1, 1)
    numbers.take(0, 0)

    numbers.forget_end()

    assert len(numbers.take(1, 1)) == 1


@given(st.lists(st.tuples(st.integers(1, 2**21), st.integers(1, 2**20))))
def test_every_number_is_noted_before_it_is_used(
    steps: list[tuple[int, int]],
) -> None:
    numbers = Numbers(1, 1, 1)
    noted: tuple[object, ...] = (1, 1)
    highest_id = highest_row = 0
    for ids, rows in steps:
        highest_id += ids
        highest_row += rows
        for _, parameters in numbers.take(highest_id, highest_row):
            noted = parameters

        id_end, row_end = noted
        assert isinstance(id_end, int)
        assert isinstance(row_end, int)
        assert highest_id < id_end
        assert highest_row < row_end
