"""Numbered locks, each a thread's."""

import itertools
import threading

import pytest

from pymule.compat.locks import is_locked, lock, unlock
from pymule.errors import NotHolderError
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer


@pytest.fixture
def asked(master: FakeMaster) -> list[JsonObject]:
    """What a master with one free lock is asked."""
    calls: list[JsonObject] = []
    tokens = itertools.count(1)

    def on_call(peer: Peer, call: Call) -> None:
        calls.append(call.value)
        answer: JsonObject = {"token": next(tokens), "locked": True}
        peer.send(Reply(call.id, ReplyKind.LAST, answer))

    master.on_call = on_call
    return calls


def methods(asked: list[JsonObject]) -> list[tuple[object, object]]:
    return [(call["method"], call["name"]) for call in asked]


@pytest.mark.parametrize("function", [lock, unlock, is_locked])
def test_a_lock_is_a_number_from_0(function: object) -> None:
    assert callable(function)
    for wrong in ("name", True, 1.5):
        with pytest.raises(TypeError, match="allowed: an integer from 0"):
            function(wrong)
    with pytest.raises(ValueError, match="Invalid lock number"):
        function(-1)


def test_a_lock_is_asked_for_and_given_back(asked: list[JsonObject]) -> None:
    lock()
    assert is_locked() is True
    unlock()
    unlock()

    assert methods(asked) == [("lock", "0"), ("is_locked", "0"), ("unlock", "0")]
    assert asked[-1]["token"] == 1


def test_another_thread_does_not_unlock(asked: list[JsonObject]) -> None:
    lock(2)
    other = threading.Thread(target=unlock, args=(2,))
    other.start()
    other.join()
    assert methods(asked) == [("lock", "2")]

    unlock(2)

    assert methods(asked) == [("lock", "2"), ("unlock", "2")]


def test_a_lock_that_was_lost_is_told_in_the_log(
    master: FakeMaster, asked: list[JsonObject], capsys: pytest.CaptureFixture[str]
) -> None:
    lock()
    error = NotHolderError("0")

    def refuse(peer: Peer, call: Call) -> None:
        value: JsonObject = {"code": error.code, "detail": error.to_detail()}
        peer.send(Reply(call.id, ReplyKind.ERROR, value))

    master.on_call = refuse
    unlock()

    assert methods(asked) == [("lock", "0")]
    assert "uwsgi: unlock(0): " in capsys.readouterr().err
