import pytest

from pymule.errors import BadCallError
from pymule.master.queue_params import (
    MAX_LIMIT,
    after_of,
    ids_of,
    number_of,
    wanted_of,
)
from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.target import MessageId
from pymule.sansio.verbs import Call


def a_call(**params: object) -> Call:
    return Call(1, params)


def a_letter(died_at: float, reason: DeadReason = DeadReason.ATTEMPTS) -> DeadLetter:
    return DeadLetter(
        MessageId(1), "mule", b"", b"", 1, 0, reason, (), accepted_at=0, died_at=died_at
    )


def test_nothing_said_is_everything() -> None:
    wanted = wanted_of(a_call(reason=None), "mule", 100.0)

    assert wanted.queue == "mule"
    for reason in DeadReason:
        assert wanted.has(a_letter(-1e9, reason))
        assert wanted.has(a_letter(1e9, reason))


def test_ages_count_from_now_and_their_ends_belong_to_them() -> None:
    wanted = wanted_of(a_call(older_than_s=10, newer_than_s=20.5), None, 100.0)

    found = [at for at in (79.4, 79.5, 90.0, 90.1) if wanted.has(a_letter(at))]

    assert found == [79.5, 90.0]


@pytest.mark.parametrize("reason", DeadReason)
def test_a_reason_is_a_word(reason: DeadReason) -> None:
    wanted = wanted_of(a_call(reason=reason.name.lower()), None, 0.0)

    assert [one for one in DeadReason if wanted.has(a_letter(0.0, one))] == [reason]


def test_numbers_have_limits_and_defaults() -> None:
    assert number_of(a_call(), "n", 1, 5, 3) == 3
    assert number_of(a_call(n=5), "n", 1, 5) == 5
    assert number_of(a_call(n=10**30), "n", 1, None) == 10**30
    with pytest.raises(BadCallError, match="n 6; allowed: an integer from 1 to 5"):
        number_of(a_call(n=6), "n", 1, 5)
    with pytest.raises(BadCallError, match="n None; allowed: an integer from 1"):
        number_of(a_call(), "n", 1, None)


def test_ids_are_so_many_at_most() -> None:
    ids = list(range(MAX_LIMIT))

    assert ids_of(a_call(ids=ids)) == ids
    with pytest.raises(BadCallError, match=r"allowed: a list of up to 1000 integers"):
        ids_of(a_call(ids=[*ids, 1]))


def test_a_list_goes_on_where_an_answer_said() -> None:
    assert after_of(a_call()) is None
    assert after_of(a_call(after=["mule", 1.5, 7])) == ("mule", 1.5, 7)
    with pytest.raises(BadCallError, match="allowed: the next of another answer"):
        after_of(a_call(after="mule"))
