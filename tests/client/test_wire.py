"""A socket that never blocks, and the conversation on it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.client.reach import hello
from pymule.client.wire import Wire
from pymule.errors import ConnectionLostError, MasterUnavailableError
from pymule.sansio.batch import pack_bodies
from pymule.sansio.verbs import (
    Call,
    Close,
    Confirm,
    Reply,
    Submit,
    Verb,
    Welcome,
)
from tests.client.fake_master import FakeMaster
from tests.conftest import MS

LONG = 10_000 * MS


@pytest.fixture
def wire(master: FakeMaster) -> Iterator[Wire]:
    wire = Wire(master.path, hello("me", "test"))
    yield wire
    wire.close()


@pytest.fixture
def lock() -> threading.Lock:
    return threading.Lock()


def verbs(wire: Wire, lock: threading.Lock) -> list[Verb]:
    """Send what is left and wait for what comes."""
    wire.transmit()
    wire.wait(lock, LONG)
    return wire.receive()


def test_it_is_open_from_welcome_to_close(
    master: FakeMaster, wire: Wire, lock: threading.Lock
) -> None:
    states = [wire.is_open]
    states += [wire.is_open for verb in verbs(wire, lock) if isinstance(verb, Welcome)]
    master.peers[0].send(Close({"reason": "bye"}))
    last = verbs(wire, lock)

    assert last == [Close({"reason": "bye"})]
    assert [*states, wire.is_open] == [False, True, False]


def test_nothing_to_receive_is_no_reason_to_wait(wire: Wire) -> None:
    assert wire.receive() == []


def test_what_the_kernel_does_not_take_is_kept(
    master: FakeMaster, wire: Wire, lock: threading.Lock
) -> None:
    verbs(wire, lock)
    master.pause()
    submit = Submit(1, 1, 1, "mule", b"", pack_bodies([b"x" * 3_000_000]))

    wire.send(wire.session.pack(submit))
    has_unsent = wire.has_unsent
    master.resume()
    while wire.has_unsent:
        wire.wait(lock, LONG)
        wire.transmit()

    answers: list[Verb] = []
    while not answers:
        answers = verbs(wire, lock)

    assert has_unsent
    assert isinstance(answers[0], Confirm)
    assert master.submits == [submit]


def test_the_end_of_the_stream_is_a_lost_connection(
    master: FakeMaster, wire: Wire, lock: threading.Lock
) -> None:
    verbs(wire, lock)
    master.cut()
    wire.wait(lock, LONG)

    with pytest.raises(ConnectionLostError, match="closed the connection"):
        wire.receive()


@pytest.mark.parametrize("how", ["nudge", "close"])
def test_another_thread_can_end_the_wait(
    wire: Wire, lock: threading.Lock, how: str
) -> None:
    verbs(wire, lock)
    waiting = threading.Thread(target=wire.wait, args=(lock, None))
    waiting.start()
    waiting.join(20 * MS)
    was_waiting = waiting.is_alive()

    with lock:
        getattr(wire, how)()
    waiting.join(LONG)

    assert was_waiting
    assert not waiting.is_alive()


def test_a_closed_wire_can_be_closed_nudged_and_waited_for(
    wire: Wire, lock: threading.Lock
) -> None:
    wire.close("enough")
    wire.close()
    wire.nudge()
    wire.wait(lock, None)

    assert not wire.is_open


def test_the_copy_of_a_child_is_closed_without_a_word(
    master: FakeMaster, wire: Wire, lock: threading.Lock
) -> None:
    verbs(wire, lock)
    child = os.fork()
    if not child:
        wire.leave_to_parent()
        os._exit(0)
    os.waitpid(child, 0)

    wire.send(wire.session.pack(Call(1, {"method": "alive"})))

    assert verbs(wire, lock) == [Reply(1, 0, {"method": "alive"})]
    assert not master.closes


def test_a_wire_that_cannot_be_made_leaves_no_socket_open(
    master: FakeMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "eventfd", full)

    # A socket left open would warn when it is collected, and warnings are errors.
    with pytest.raises(OSError, match="Too many"):
        Wire(master.path, hello("me", "test"))


def test_nobody_there_is_told(socket_dir: Path) -> None:
    with pytest.raises(MasterUnavailableError):
        Wire(socket_dir / "none.sock", hello("me", "test"))
