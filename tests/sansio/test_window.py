from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import RemoteProtocolError
from pymule.sansio.window import PIECE_OVERHEAD_BYTES, Window

# Batches, by count and bytes for one of two targets; between them, answers: which of
# the batches that wait, and to how many of its messages.
BATCHES = st.tuples(st.integers(1, 5), st.integers(0, 9), st.sampled_from("ab"))
ANSWERS = st.tuples(st.integers(0, 9), st.integers(1, 5))
STEPS = st.lists(BATCHES | ANSWERS, max_size=30)
WINDOW: Final = (8, 16)


def a_window() -> Window:
    return Window(*WINDOW)


def fill(window: Window, *sizes: tuple[int, int], target: str = "a") -> int:
    """Submit batches of so many messages and bytes; return the next sequence."""
    sequence = 1
    for count, size in sizes:
        window.check(sequence, target)
        window.submitted(sequence, count, size, target)
        sequence += count
    return sequence


def test_a_batch_of_any_size_may_be_out() -> None:
    fill(a_window(), (1000, 1_000_000))


def test_a_window_that_is_overfull_takes_no_more_and_says_its_limit() -> None:
    window = a_window()
    end = fill(window, (7, 1), (2, 1), (1, 1))

    with pytest.raises(RemoteProtocolError, match=r"10 messages.*window_count is 8"):
        window.check(end, "a")


def test_bytes_fill_a_window_too() -> None:
    window = a_window()
    end = fill(window, (1, 15), (1, 4), (1, 1))

    with pytest.raises(RemoteProtocolError, match=r"20 bytes.*window_bytes is 16"):
        window.check(end, "a")


def test_what_several_batches_of_one_turn_add_up_to_is_tolerated() -> None:
    fill(a_window(), (7, 1), (1, 1), (1, 1), (8, 1))


def test_a_full_target_does_not_concern_another() -> None:
    window = a_window()
    end = fill(window, (100, 1))

    window.check(end, "b")


def test_an_answer_makes_room() -> None:
    window = a_window()
    end = fill(window, (9, 1), (2, 1))

    window.answered(1, 2)

    window.check(end, "a")


def test_a_sequence_without_an_answer_is_not_submitted_again() -> None:
    window = a_window()
    fill(window, (3, 1))

    with pytest.raises(RemoteProtocolError, match=r"sequence 3 while.* up to 3"):
        window.check(3, "b")


def test_a_sequence_that_was_refused_may_come_again() -> None:
    window = a_window()
    fill(window, (3, 1))

    window.answered(1, 3)

    window.check(1, "a")


def test_an_answer_to_something_else_changes_nothing() -> None:
    window = a_window()
    fill(window, (3, 4))

    window.answered(2, 1)

    assert window.bytes == 4 + PIECE_OVERHEAD_BYTES


@given(steps=STEPS)
def test_it_counts_what_a_model_counts(
    steps: list[tuple[int, int, str] | tuple[int, int]],
) -> None:
    window, sequence = a_window(), 1
    # Sequence, messages left, bytes, target.
    model: list[list[int | str]] = []
    for step in steps:
        if len(step) == 3:
            load = [
                (left, size) for _, left, size, target in model if target == step[2]
            ]
            counts, sizes = [c for c, _ in load], [s for _, s in load]
            is_full = sum(map(int, counts)) >= 10 or sum(map(int, sizes)) >= 20
            assert is_full == (not may_submit(window, sequence, step[2]))
            if not is_full:
                window.submitted(sequence, *step)
                model.append([sequence, *step])
                sequence += step[0]
        elif model:
            piece = model[step[0] % len(model)]
            count = min(step[1], int(piece[1]))
            window.answered(int(piece[0]), count)
            piece[0], piece[1] = int(piece[0]) + count, int(piece[1]) - count
            model = [piece for piece in model if piece[1]]
        assert window.bytes == sum(
            int(size) + PIECE_OVERHEAD_BYTES for _, _, size, _ in model
        )


def may_submit(window: Window, sequence: int, target: str) -> bool:
    """Whether the window takes a batch."""
    try:
        window.check(sequence, target)
    except RemoteProtocolError:
        return False
    return True
