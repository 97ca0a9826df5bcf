"""Questions, their numbers, and what settles them."""

import pytest

from pymule.client.questions import Question, Questions, call_number, refusal
from pymule.client.wire import Wire
from pymule.errors import ConnectionLostError, NotAllowedError, RemoteProtocolError
from pymule.sansio.verbs import Hello, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster


@pytest.fixture
def wire(master: FakeMaster) -> Wire:
    wire = Wire(master.path, Hello({}))
    wire.close()
    return wire


def asked(questions: Questions, wire: Wire) -> Question:
    question = Question({"method": "status"})
    questions.number(question, wire)
    questions.asked(question)
    return question


def test_each_answer_settles_its_question(wire: Wire) -> None:
    questions = Questions()
    first, second = asked(questions, wire), asked(questions, wire)

    questions.replied(Reply(second.number, ReplyKind.LAST, {"n": 2}))

    assert second.answer() == {"n": 2}
    assert (second.is_settled, second.waiter.is_set()) == (True, True)
    assert (first.is_settled, first.waiter.is_set()) == (False, False)


def test_the_first_of_several_answers_counts(wire: Wire) -> None:
    questions = Questions()
    question = asked(questions, wire)

    questions.replied(Reply(question.number, ReplyKind.MORE, {"n": 1}))
    questions.replied(Reply(question.number, ReplyKind.LAST, {"n": 2}))

    assert question.answer() == {"n": 1}


def test_the_end_of_a_connection_settles_what_was_asked_there(wire: Wire) -> None:
    questions = Questions()
    question = asked(questions, wire)

    questions.lost("gone")

    with pytest.raises(ConnectionLostError, match="gone"):
        question.answer()


def test_what_nobody_waits_for_is_dropped(wire: Wire) -> None:
    questions = Questions()
    question = asked(questions, wire)
    questions.forget(question)

    questions.replied(Reply(question.number, ReplyKind.LAST, {}))

    assert not question.is_settled
    with pytest.raises(AssertionError, match="before it came"):
        question.answer()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"code": 7, "detail": {"reason": "not you"}}, NotAllowedError),
        ({"code": 7, "detail": {"nonsense": 1}}, RemoteProtocolError),
        ({"code": 999, "detail": {}}, RemoteProtocolError),
        ({"code": 7}, RemoteProtocolError),
    ],
)
def test_an_error_is_an_answer_too(
    wire: Wire, value: JsonObject, error: type[Exception]
) -> None:
    questions = Questions()
    question = asked(questions, wire)

    questions.replied(Reply(question.number, ReplyKind.ERROR, value))

    with pytest.raises(error):
        question.answer()
    assert isinstance(refusal(value), error)


def test_numbers_begin_anew_and_pass_over_those_in_use() -> None:
    assert call_number(0, ()) == 1
    assert call_number(1, {2, 3}) == 4
    assert call_number(2**32 - 2, {2**32 - 1, 1}) == 2
