from collections.abc import Iterable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.submissions import Piece, SubmissionLog

# What a sender does: it sends a range, of which some parts are accepted, then forgets.
RANGES = st.tuples(st.integers(0, 40), st.integers(1, 12))
STEPS = st.lists(st.tuples(RANGES, st.integers(0, 50), st.randoms()), max_size=12)


def ids(pieces: Iterable[Piece]) -> list[tuple[int, int | None]]:
    """Return sequence and id of every message in *pieces*."""
    return [
        (piece.sequence + n, None if piece.first_id is None else piece.first_id + n)
        for piece in pieces
        for n in range(piece.count)
    ]


def test_what_was_never_accepted_is_one_new_piece() -> None:
    assert SubmissionLog().split(5, 3) == [Piece(5, 3, None)]


def test_what_was_accepted_is_known_by_its_first_ids() -> None:
    log = SubmissionLog()
    log.accepted(10, 5, 100)

    pieces = log.split(8, 9)

    assert pieces == [Piece(8, 2, None), Piece(10, 5, 100), Piece(15, 2, None)]


def test_a_part_of_what_was_accepted_has_its_part_of_the_ids() -> None:
    log = SubmissionLog()
    log.accepted(10, 5, 100)

    assert log.split(12, 2) == [Piece(12, 2, 102)]


def test_what_waited_for_room_finds_its_place_among_the_others() -> None:
    log = SubmissionLog()
    log.accepted(0, 2, 1)
    log.accepted(6, 2, 3)

    log.accepted(2, 2, 5)

    assert ids(log.split(0, 8)) == [
        (0, 1), (1, 2), (2, 5), (3, 6), (4, None), (5, None), (6, 3), (7, 4),
    ]  # fmt: skip


def test_what_the_sender_has_answers_for_is_forgotten() -> None:
    log = SubmissionLog()
    log.accepted(0, 4, 1)
    log.accepted(4, 4, 5)

    log.forget_below(4)

    assert len(log) == 1
    assert log.split(0, 8) == [Piece(0, 4, None), Piece(4, 4, 5)]


def test_a_piece_that_the_floor_cuts_is_kept() -> None:
    log = SubmissionLog()
    log.accepted(0, 4, 1)

    log.forget_below(3)

    assert len(log) == 1


def test_what_is_being_written_is_neither_new_nor_known() -> None:
    log = SubmissionLog()
    log.accepted(0, 2, 1)
    log.taken(2, 3)

    assert log.split(1, 6) == [
        Piece(1, 1, 2),
        Piece(2, 3, None, is_pending=True),
        Piece(5, 2, None),
    ]
    assert len(log) == 2


def test_what_was_written_is_known_and_what_was_refused_is_new() -> None:
    log = SubmissionLog()
    log.taken(0, 1)
    log.taken(1, 1)

    log.accepted(0, 1, 7)
    log.refused(1)
    log.refused(9)

    assert log.split(0, 2) == [Piece(0, 1, 7), Piece(1, 1, None)]


def test_what_is_beyond_all_that_came_is_new_without_a_search() -> None:
    log = SubmissionLog()
    log.taken(0, 4)

    assert log.split(4, 2) == [Piece(4, 2, None)]


@given(steps=STEPS)
def test_the_log_knows_what_a_dictionary_knows(
    steps: list[tuple[tuple[int, int], int, Random]],
) -> None:
    log, model, next_id, floor = SubmissionLog(), dict[int, int](), 1, 0
    for (sequence, count), new_floor, random in steps:
        floor = max(floor, min(new_floor, sequence))
        log.forget_below(floor)
        sequence = max(sequence, floor)  # noqa: PLW2901  (no sender goes below)

        pieces = log.split(sequence, count)

        assert ids(pieces) == [
            (number, model.get(number)) for number in range(sequence, sequence + count)
        ]
        new = [piece for piece in pieces if piece.first_id is None]
        random.shuffle(new)
        for piece in new[: random.randint(0, len(new))]:
            log.accepted(piece.sequence, piece.count, next_id)
            for n in range(piece.count):
                model[piece.sequence + n] = next_id + n
            next_id += piece.count


def test_a_sender_whose_floor_never_rises_is_remembered_in_part() -> None:
    log = SubmissionLog()

    for sequence in range(20_000):
        log.accepted(sequence, 1, 100_000 + sequence)

    assert len(log) == 16_384
    assert log.split(3615, 2) == [Piece(3615, 1, None), Piece(3616, 1, 103_616)]
