"""Questions of threads: their numbers, and what settles them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.client.questions import (
    Question,
    Questions,
    call_number,
    token_of,
)
from pymule.client.reach import hello
from pymule.client.wire import Wire
from pymule.errors import ConnectionLostError, NotAllowedError, RemoteProtocolError
from pymule.sansio.verbs import Reply, ReplyKind
from tests.client.fake_master import FakeMaster

MAX = 2**32 - 1


@given(last=st.integers(0, MAX), taken=st.sets(st.integers(1, 8)))
def test_a_number_is_in_range_and_free(last: int, taken: set[int]) -> None:
    number = call_number(last, taken)

    assert 1 <= number <= MAX
    assert number not in taken


def test_the_number_after_the_last_is_the_first() -> None:
    assert call_number(MAX, ()) == 1
    assert call_number(MAX - 1, {MAX}) == 1


@pytest.fixture
def question(master: FakeMaster) -> tuple[Questions, Question]:
    wire = Wire(master.path, hello("client", "test"))
    questions, question = Questions(), Question({"method": "status"})
    assert questions.number(question, wire).value == {"method": "status"}
    questions.asked(question)
    wire.close()
    return questions, question


def test_the_first_answer_counts(question: tuple[Questions, Question]) -> None:
    questions, asked = question
    was_settled = asked.is_settled

    questions.replied(Reply(asked.number, ReplyKind.LAST, {"n": 1}))
    questions.replied(Reply(asked.number, ReplyKind.LAST, {"n": 2}))

    assert (was_settled, asked.is_settled) == (False, True)
    assert asked.waiter.is_set()
    assert asked.answer() == {"n": 1}


def test_an_empty_answer_is_one(question: tuple[Questions, Question]) -> None:
    questions, asked = question

    questions.replied(Reply(asked.number, ReplyKind.LAST, {}))

    assert asked.is_settled
    assert asked.answer() == {}


def test_an_error_is_raised(question: tuple[Questions, Question]) -> None:
    questions, asked = question
    value = {"code": 7, "detail": {"reason": "not you"}}

    questions.replied(Reply(asked.number, ReplyKind.ERROR, value))

    with pytest.raises(NotAllowedError, match="not you"):
        asked.answer()


def test_the_end_of_the_connection_settles(
    question: tuple[Questions, Question],
) -> None:
    questions, asked = question

    questions.lost("gone")

    with pytest.raises(ConnectionLostError, match="gone"):
        asked.answer()


def test_what_is_forgotten_is_not_answered(
    question: tuple[Questions, Question],
) -> None:
    questions, asked = question

    questions.forget(asked)
    questions.replied(Reply(asked.number, ReplyKind.LAST, {}))
    questions.lost("gone")

    assert not asked.is_settled
    with pytest.raises(AssertionError, match="before it came"):
        asked.answer()


@pytest.mark.parametrize("token", [1, 2**62, None])
def test_the_token_of_a_lock_is_a_number_or_none(token: int | None) -> None:
    assert token_of({"token": token}) == token


@pytest.mark.parametrize("answer", [{}, {"token": "1"}], ids=repr)
def test_anything_else_is_no_token(answer: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError, match="to a call for a lock"):
        token_of(answer)
