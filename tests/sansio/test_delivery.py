import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.delivery import (
    Bury,
    DeadLetter,
    DeadLetters,
    DeadReason,
    DeliveryPolicy,
    Redeliver,
)
from pymule.sansio.target import MessageId

POLICY = DeliveryPolicy(max_attempts=5, max_crashes=3, backoff_s=0.5, backoff_max_s=3.0)


def letter(number: int, size: int = 1) -> DeadLetter:
    return DeadLetter(
        id=MessageId(number),
        queue="a",
        body=b"x" * size,
        options=b"",
        attempts=1,
        crashes=0,
        reason=DeadReason.REJECTED,
        errors=(),
        accepted_at=0.0,
        died_at=1.0,
    )


def ids(letters: DeadLetters) -> list[int]:
    return [one.id for one in letters]


@pytest.mark.parametrize(
    ("attempts", "delay"), [(1, 0.25), (2, 0.5), (3, 1.0), (4, 1.5)]
)
def test_the_longest_wait_doubles_up_to_its_cap(attempts: int, delay: float) -> None:
    assert POLICY.after_failure(attempts, jitter=0.5) == Redeliver(delay)


def test_the_whole_wait_is_drawn() -> None:
    assert POLICY.after_failure(1, jitter=0.0) == Redeliver(0.0)


def test_a_delay_that_the_program_asked_for_is_kept_as_it_is() -> None:
    assert POLICY.after_failure(1, jitter=0.5, delay=99.0) == Redeliver(99.0)


def test_the_last_attempt_is_the_last_whatever_the_program_asked_for() -> None:
    assert POLICY.after_failure(5, jitter=0.5) == Bury(DeadReason.ATTEMPTS)
    assert POLICY.after_failure(6, jitter=0.5, delay=1.0) == Bury(DeadReason.ATTEMPTS)


def test_a_death_is_followed_at_once_by_another_attempt() -> None:
    assert POLICY.after_crash(attempts=2, crashes=2) == Redeliver(0.0)


def test_deaths_have_a_limit_of_their_own() -> None:
    assert POLICY.after_crash(attempts=3, crashes=3) == Bury(DeadReason.CRASHES)


def test_a_death_spends_an_attempt_too() -> None:
    assert POLICY.after_crash(attempts=5, crashes=1) == Bury(DeadReason.ATTEMPTS)


@settings(deadline=None)
@given(
    attempts=st.integers(1, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
    longest=st.floats(0, 1e9),
)
def test_no_wait_is_negative_or_beyond_the_cap(
    attempts: int, jitter: float, longest: float
) -> None:
    policy = DeliveryPolicy(max_attempts=20_000, backoff_max_s=longest)

    verdict = policy.after_failure(attempts, jitter)

    assert isinstance(verdict, Redeliver)
    assert 0 <= verdict.delay <= longest


def test_dead_letters_are_kept_in_the_order_of_their_deaths() -> None:
    letters = DeadLetters()

    for number in (2, 1, 3):
        letters.add(letter(number, size=number))

    assert ids(letters) == [2, 1, 3]
    assert (len(letters), letters.bytes, letters.dropped) == (3, 6, 0)


def test_the_oldest_dead_letter_leaves_when_there_are_too_many() -> None:
    letters = DeadLetters(max_messages=2)

    for number in (1, 2, 3, 4):
        letters.add(letter(number))

    assert ids(letters) == [3, 4]
    assert (letters.bytes, letters.dropped) == (2, 2)


def test_the_oldest_dead_letters_leave_when_they_are_too_large() -> None:
    letters = DeadLetters(max_bytes=10)

    for number, size in ((1, 4), (2, 4), (3, 9)):
        letters.add(letter(number, size))

    assert ids(letters) == [3]
    assert (letters.bytes, letters.dropped) == (9, 2)


def test_the_last_dead_letter_is_kept_however_large() -> None:
    letters = DeadLetters(max_bytes=10)

    letters.add(letter(1, size=99))

    assert ids(letters) == [1]
    assert letters.dropped == 0
