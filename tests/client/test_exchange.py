"""What threads share: who leads, who follows, and who reconnects."""

import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from pymule.client.exchange import Exchange, Waiter
from pymule.client.questions import Question
from pymule.errors import ConnectionLostError, MasterUnavailableError
from pymule.sansio.outbox import Pile, Ticket
from pymule.sansio.verbs import Call, Reply
from tests.client.fake_master import FakeMaster, Peer
from tests.conftest import MS

LONG = 10_000 * MS


@pytest.fixture
def exchange(master: FakeMaster) -> Iterator[Exchange]:
    exchange = Exchange(master.path, "test")
    exchange.meet()
    yield exchange
    exchange.close()


def submit(exchange: Exchange, body: bytes, target: str = "mule") -> Ticket[Waiter]:
    pile: Pile[Waiter] = Pile(target, b"")
    ticket = Ticket(1, Waiter())
    pile.add(body, ticket)
    exchange.submit(pile)
    return ticket


def waiting(exchange: Exchange, ticket: Ticket[Waiter]) -> threading.Thread:
    thread = threading.Thread(target=exchange.wait_for, args=(ticket,))
    thread.start()
    return thread


def test_one_thread_reads_for_all(master: FakeMaster, exchange: Exchange) -> None:
    master.held |= {"mule1", "mule2"}
    first, second = submit(exchange, b"a", "mule1"), submit(exchange, b"b", "mule2")
    leader = waiting(exchange, first)
    leader.join(20 * MS)
    follower = waiting(exchange, second)

    master.release("mule2")
    follower.join(LONG)
    is_leading = leader.is_alive()
    master.release("mule1")
    leader.join(LONG)

    assert is_leading
    assert (first.wanted, second.wanted) == (0, 0)


def test_what_a_client_has_no_use_for_is_passed_over(
    master: FakeMaster, exchange: Exchange
) -> None:
    exchange.wait_for(submit(exchange, b"a"))
    master.peers[0].send(Reply(9, 0, {}))

    exchange.wait_for(submit(exchange, b"b"))

    assert master.bodies() == [b"a", b"b"]


def test_a_flush_ends_at_its_deadline(master: FakeMaster, exchange: Exchange) -> None:
    master.held.add("mule")
    submit(exchange, b"a")

    with pytest.raises(TimeoutError):
        exchange.flush(monotonic() + 10 * MS)

    assert exchange.unanswered == 1


def test_a_flush_without_a_master_ends_at_its_deadline(
    master: FakeMaster, exchange: Exchange
) -> None:
    master.held.add("mule")
    submit(exchange, b"a")
    master.stop()

    with pytest.raises(TimeoutError):
        exchange.flush(monotonic() + 200 * MS)


def test_two_that_meet_a_master_that_is_not_there_are_both_told(
    master: FakeMaster,
) -> None:
    master.greeting = lambda _peer: None
    exchange = Exchange(master.path, "test")
    errors: list[Exception] = []

    def meet() -> None:
        try:
            exchange.meet()
        except MasterUnavailableError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=meet) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join(20 * MS)
    master.stop()
    for thread in threads:
        thread.join(LONG)

    assert len(errors) == 2


def test_a_closed_exchange_takes_nothing(exchange: Exchange) -> None:
    exchange.close()

    with pytest.raises(ConnectionLostError, match="closed"):
        submit(exchange, b"a")


def test_a_failure_of_the_system_is_no_master(
    exchange: Exchange, master: FakeMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("pymule.client.exchange.Wire", no_descriptor)
    other = Exchange(master.path, "other")

    with pytest.raises(MasterUnavailableError, match="Too many open files"):
        other.meet()

    exchange.wait_for(submit(exchange, b"the first is not concerned"))


def test_the_child_of_a_fork_starts_with_nothing_sent(
    master: FakeMaster, exchange: Exchange
) -> None:
    master.held.add("mule1")
    submit(exchange, b"parent's", "mule1")

    exchange.start_in_child()
    exchange.wait_for(submit(exchange, b"child's"))

    assert exchange.unanswered == 0
    assert len(set(master.clients)) == 2


# Questions


def test_a_question_that_takes_too_long_ends_at_its_deadline(
    master: FakeMaster, exchange: Exchange
) -> None:
    master.on_call = lambda _peer, _call: None

    with pytest.raises(TimeoutError):
        exchange.ask({"method": "lock"}, monotonic() + 10 * MS)

    assert not exchange._questions._asked


def test_a_question_on_an_old_connection_is_not_asked(
    master: FakeMaster, exchange: Exchange
) -> None:
    heard: list[Call] = []

    def answer(peer: Peer, call: Call) -> None:
        heard.append(call)
        peer.send(Reply(call.id, 0, {}))

    master.on_call = answer
    question = Question({"method": "lock"})
    exchange.settle(question)
    assert question.wire is not None
    exchange._lose(question.wire, ConnectionLostError("test"))

    again = Question({"method": "unlock"}, only_on=question.wire)
    exchange.settle(again)
    exchange.tell({"method": "unlock"}, question.wire)

    with pytest.raises(ConnectionLostError, match="another one"):
        again.answer()
    assert [call.value for call in heard] == [{"method": "lock"}]


def test_what_is_told_arrives_and_nobody_waits(
    master: FakeMaster, exchange: Exchange
) -> None:
    heard: list[object] = []
    told = threading.Event()

    def hear(_peer: Peer, call: Call) -> None:
        heard.append(call.value)
        told.set()

    master.on_call = hear
    assert exchange._wire is not None

    exchange.tell({"method": "unlock"}, exchange._wire)

    assert told.wait(LONG)
    assert heard == [{"method": "unlock"}]
