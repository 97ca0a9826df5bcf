"""Locks for threads: waiting, giving up, losing."""

import signal
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from pymule import sync as names
from pymule.client import sync
from pymule.client.sync import Client
from pymule.errors import (
    ConnectionLostError,
    MasterUnavailableError,
    NotHolderError,
    RemoteProtocolError,
)
from pymule.sansio.verbs import Reply
from tests.client.fake_master import FakeMaster
from tests.client.lock_master import LockMaster
from tests.client.test_sync import Running, run, until
from tests.conftest import MS


@pytest.fixture
def locks(master: FakeMaster) -> LockMaster:
    return LockMaster(master)


@pytest.fixture
def client(master: FakeMaster, locks: LockMaster) -> Iterator[Client]:
    del locks
    client = Client(master.path)
    yield client
    client.close()


def holding(client: Client, entered: list[int], leave: threading.Event) -> None:
    """Hold the lock until *leave*."""
    with client.lock("a") as held:
        entered.append(held.token)
        leave.wait()


def test_a_block_holds_the_lock(client: Client, locks: LockMaster) -> None:
    with client.lock("a", ttl=5, timeout=10_000 * MS) as held:
        inside = client.is_locked("a")
    outside = client.is_locked("a")

    assert (held.name, held.token) == ("a", 100)
    assert (inside, outside) == (True, False)
    assert locks.calls[0] == {"method": "lock", "name": "a", "ttl": 5.0, "wait": True}


def test_a_name_or_a_ttl_that_cannot_be_is_told_at_once(
    client: Client, locks: LockMaster
) -> None:
    with pytest.raises(ValueError, match="lock ''; allowed"):
        client.lock_acquire("")
    with pytest.raises(ValueError, match="ttl -1; allowed"):
        client.try_lock("a", -1)

    assert locks.calls == []


def test_threads_have_it_one_after_the_other(client: Client, locks: LockMaster) -> None:
    entered: list[int] = []
    leave = threading.Event()
    threads = [Running(partial(holding, client, entered, leave)) for _ in range(5)]
    until(lambda: entered and len(locks.calls) == 5)
    alone = list(entered)

    leave.set()
    for thread in threads:
        thread.finish()

    assert len(alone) == 1
    assert entered == [100, 101, 102, 103, 104]


def test_a_lock_that_is_taken_can_be_tried(client: Client) -> None:
    first, second = client.try_lock(3, ttl=1), client.try_lock("3")
    assert first is not None
    first.release()

    third = client.try_lock("3")
    assert third is not None
    with third:
        assert client.is_locked(3)

    assert second is None
    assert not client.is_locked(3)


def test_a_lock_can_be_had_and_released_without_a_block(
    client: Client, locks: LockMaster
) -> None:
    token = client.lock_acquire("a", ttl=60, timeout=10_000 * MS)

    client.lock_release("a", token)

    assert not locks.table.is_locked("a")
    with pytest.raises(NotHolderError):
        client.lock_release("a", token)


def test_a_wait_that_times_out_leaves_the_line(
    client: Client, locks: LockMaster
) -> None:
    token = locks.take("a")

    with pytest.raises(TimeoutError, match=r"'a' was not to be had within 0\."):
        client.lock_acquire("a", timeout=10 * MS)

    until(lambda: "lock_withdraw" in locks.methods())
    locks.give("a", token)
    assert not client.is_locked("a")


def test_an_exception_of_a_signal_handler_leaves_the_line(
    client: Client, locks: LockMaster
) -> None:
    class AlarmError(Exception):
        pass

    def alarm(_signum: int, _frame: object) -> None:
        raise AlarmError

    token = locks.take("a")
    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(AlarmError):
            client.lock_acquire("a")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    until(lambda: "lock_withdraw" in locks.methods())
    locks.give("a", token)
    assert not client.is_locked("a")


def test_an_interrupted_release_releases(
    client: Client, locks: LockMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = client.lock_acquire("a")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client._exchange, "settle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.lock_release("a", token)

    until(lambda: not locks.table.is_locked("a"))


def test_a_lock_that_was_taken_away_is_told_at_the_end(
    client: Client, locks: LockMaster
) -> None:
    def lose() -> None:
        with client.lock("a"):
            locks.lose()

    with pytest.raises(NotHolderError, match="'a'"):
        lose()


def test_a_lost_lock_does_not_hide_what_the_block_raised(
    client: Client, locks: LockMaster
) -> None:
    def fail() -> None:
        with client.lock("a"):
            locks.lose()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()


def test_an_exception_in_the_block_releases(client: Client) -> None:
    def fail() -> None:
        with client.lock("a"):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()

    assert not client.is_locked("a")


def test_a_lock_ends_with_its_connection(client: Client, master: FakeMaster) -> None:
    token = client.lock_acquire("a")
    master.cut()

    with pytest.raises(NotHolderError):
        client.lock_release("a", token)


def test_who_waits_asks_the_next_master(
    client: Client, master: FakeMaster, locks: LockMaster
) -> None:
    token = locks.take("a")
    entered: list[int] = []
    leave = threading.Event()
    thread = Running(partial(holding, client, entered, leave))
    until(lambda: locks.calls)

    master.cut()
    until(lambda: len(locks.calls) == 2)
    # The real master sees the end of the connection; this one is told.
    locks.lose_all_but_last()
    locks.give("a", token)
    until(lambda: entered)
    leave.set()
    thread.finish()

    assert locks.methods()[:2] == ["lock", "lock"]


def test_a_question_finds_the_next_master(
    client: Client, master: FakeMaster, locks: LockMaster
) -> None:
    answer = master.on_call

    def cut_once(*_: object) -> None:
        master.on_call = answer
        master.cut()

    master.on_call = cut_once

    assert not client.is_locked("a")
    assert locks.methods() == ["is_locked"]


def test_a_closed_client_waits_for_no_lock(client: Client, locks: LockMaster) -> None:
    locks.take("a")
    thread = Running(partial(client.lock_acquire, "a"))
    until(lambda: locks.calls)

    client.close()

    with pytest.raises(ConnectionLostError, match="closed"):
        thread.finish()


def test_no_master_is_told_at_once(client: Client, master: FakeMaster) -> None:
    master.stop()

    with pytest.raises(MasterUnavailableError):
        client.lock_acquire("a")


def test_an_answer_that_makes_no_sense_is_the_fault_of_the_master(
    client: Client, master: FakeMaster
) -> None:
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 0, {"token": None}))

    with pytest.raises(RemoteProtocolError, match="was waited for"):
        client.lock_acquire("a")


def test_a_forked_child_does_not_hold_what_its_parent_does(
    master: FakeMaster, locks: LockMaster
) -> None:
    done = run(
        """
        import os
        from pymule.errors import NotHolderError
        from pymule.sync import Client, is_locked, lock, try_lock

        client = Client()
        token = client.lock_acquire("a")
        pid = os.fork()
        if pid == 0:
            try:
                client.lock_release("a", token)
            except NotHolderError:
                assert client.is_locked("a")
                with client.lock("b"):
                    assert try_lock("b") is None
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert client.is_locked("a")
        client.lock_release("a", token)
        """,
        master,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert not locks.table.is_locked("a")


@pytest.mark.usefixtures("locks")
def test_the_functions_use_the_client_of_the_process(
    master: FakeMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_client", None)
    with names.lock("a", ttl=60, timeout=10_000 * MS):
        is_locked, again = names.is_locked("a"), names.try_lock("a")
    sync.default_client().close()

    assert (is_locked, again) == (True, None)
    assert len(master.clients) == 1
