"""Questions to the master without a loop, and which thread waits for which answer."""

import threading
from collections.abc import Container
from typing import TYPE_CHECKING, Final

from pymule.errors import ConnectionLostError, RemoteProtocolError, error_of_reply
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind

if TYPE_CHECKING:
    from pymule.client.wire import Wire

__all__ = ("Question", "Questions", "call_number", "token_of")

# The number of a call is a u32.
_MAX_NUMBER: Final = 2**32 - 1


class Question:
    """One call, from the asking to its first answer.

    Args:
        value: The method and its parameters.
        only_on: A connection without which the question makes no sense.
    """

    def __init__(self, value: JsonObject, only_on: "Wire | None" = None) -> None:
        self.value = value
        self.only_on = only_on
        # Set when it is settled.
        self.waiter = threading.Event()
        # Under which number it was asked, and where.
        self.number = 0
        self.wire: Wire | None = None
        self._answer: JsonObject | None = None
        self._error: Exception | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is an answer, or will be none."""
        return self._answer is not None or self._error is not None

    def settle(self, result: JsonObject | Exception) -> None:
        """Let who asked have its answer, or the reason why there is none."""
        if isinstance(result, Exception):
            self._error = result
        else:
            self._answer = result
        self.waiter.set()

    def answer(self) -> JsonObject:
        """Return the answer; raise what came instead."""
        if self._error is not None:
            raise self._error
        if self._answer is None:
            raise AssertionError("asked for before it came")
        return self._answer


class Questions:
    """The calls of one client that have no answer yet."""

    def __init__(self) -> None:
        self._asked: dict[int, Question] = {}
        self._last_number = 0

    def number(self, question: Question, wire: "Wire") -> Call:
        """Return the verb that asks *question* on *wire*."""
        self._last_number = call_number(self._last_number, self._asked)
        question.number, question.wire = self._last_number, wire
        return Call(question.number, question.value)

    def asked(self, question: Question) -> None:
        """*question* is with the master."""
        self._asked[question.number] = question

    def forget(self, question: Question) -> None:
        """Nobody waits for the answer any more."""
        self._asked.pop(question.number, None)

    def replied(self, reply: Reply) -> None:
        """An answer came; nobody may want it."""
        question = self._asked.pop(reply.id, None)
        if question is not None:
            is_error = reply.kind == ReplyKind.ERROR
            question.settle(error_of_reply(reply.value) if is_error else reply.value)

    def lost(self, reason: str) -> None:
        """The connection is gone, and with it the answers."""
        asked, self._asked = self._asked, {}
        for question in asked.values():
            question.settle(ConnectionLostError(reason))


def call_number(last: int, taken: Container[int]) -> int:
    """Return a number for a call: the next after *last* that is not *taken*."""
    number = last % _MAX_NUMBER + 1
    while number in taken:
        number = number % _MAX_NUMBER + 1
    return number


def token_of(answer: JsonObject) -> int | None:
    """Return the token in the *answer* to a call ``lock``; ``None`` if it is taken.

    Raises:
        RemoteProtocolError: There is something else.
    """
    match answer:
        case {"token": int() | None as token}:
            return token
        case _:
            raise RemoteProtocolError(f"answer {answer!r} to a call for a lock")
