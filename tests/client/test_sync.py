"""The blocking client: many threads, one connection, no loop."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from pymule.client import sync
from pymule.client.sync import Client
from pymule.errors import (
    ConnectionLostError,
    MasterUnavailableError,
    MessageTooBigError,
    NoHandlerError,
    QueueFullError,
    UnknownTargetError,
    UnsupportedError,
)
from pymule.sansio.verbs import Call, Close, Confirm, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer
from tests.conftest import MS

LONG = 10_000 * MS
ROOT = Path(__file__).parents[2]
ResultT = TypeVar("ResultT")


@pytest.fixture
def client(master: FakeMaster) -> Iterator[Client]:
    client = Client(master.path)
    yield client
    client.close()


class Running(threading.Thread):
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as exc:  # noqa: BLE001  (the test looks at it)
            self.error = exc

    def finish(self) -> object:
        self.join(LONG)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "not true in time"
        threading.Event().wait(2 * MS)


def has_received(master: FakeMaster, count: int) -> bool:
    return len(master.received) > count


def are_alive(threads: list[Running], count: int) -> bool:
    return sum(thread.is_alive() for thread in threads) == count


def run(script: str, master: FakeMaster) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "PYMULE_SOCKET": str(master.path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=LONG,
    )


def test_a_message_is_confirmed_with_its_id(master: FakeMaster, client: Client) -> None:
    first = client.mule_msg(b"a")
    second = client.mule_msg("ü", 3)
    third = client.farm_msg("busy", b"", headers={"x": "y"})

    assert (first, second, third) == (1, 2, 3)
    assert master.received == [
        ("mule", b"a"),
        ("mule3", "ü".encode()),
        ("farm:busy", b""),
    ]
    assert master.submits[-1].options == b'{"headers":{"x":"y"}}'


def test_a_batch_call_returns_a_range_of_ids(
    master: FakeMaster, client: Client
) -> None:
    bodies = [b"%05d" % number for number in range(5_000)]

    ids = client.farm_msgs("busy", bodies)
    more = client.mule_msgs(["a", "b"], 2)

    assert ids == range(1, 5_001)
    assert more == range(5_001, 5_003)
    assert master.bodies("farm:busy") == bodies
    assert len(master.submits) > 2, "one frame does not hold so many"


def test_no_messages_are_no_submit(master: FakeMaster, client: Client) -> None:
    assert client.mule_msgs([]) == range(0)
    assert not master.submits


def test_ids_of_a_batch_with_gaps_come_as_a_list(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    call = Running(lambda: client.mule_msgs([b"a", b"b"]))
    until(lambda: master.submits)

    master.peers[0].send(Confirm([(1, 1, 7), (2, 1, 9)]))

    assert call.finish() == [7, 9]


def test_without_confirm_nothing_is_awaited(master: FakeMaster, client: Client) -> None:
    master.held.add("mule")

    assert client.mule_msg(b"a", confirm=False) == 0
    assert client.mule_msgs([b"b", b"c"], confirm=False) == range(0)

    until(lambda: master.submitted == 3)
    master.release("mule")
    client.flush()
    assert master.bodies() == [b"a", b"b", b"c"]


def test_answers_are_picked_up_along_the_way(
    master: FakeMaster, client: Client
) -> None:
    for number in range(100):
        client.mule_msg(b"%d" % number, confirm=False)
    until(lambda: len(master.bodies()) == 100)

    for number in range(70):
        client.mule_msg(b"%d" % number, confirm=False)

    until(lambda: master.submitted == 170)
    assert master.submits[-1].floor > 1
    client.flush()


def test_a_full_window_makes_the_sender_wait(
    master: FakeMaster, client: Client
) -> None:
    master.welcome["window_count"] = 2
    master.held.add("mule")
    client.mule_msg(b"a", confirm=False)
    client.mule_msg(b"b", confirm=False)
    third = Running(lambda: client.mule_msg(b"c", confirm=False))
    third.join(20 * MS)

    was_waiting = third.is_alive()
    master.release("mule")

    assert was_waiting
    third.finish()
    client.flush()
    assert master.bodies() == [b"a", b"b", b"c"]


def test_a_full_target_does_not_hold_up_another(
    master: FakeMaster, client: Client
) -> None:
    master.welcome["window_count"] = 1
    master.held.add("mule1")
    client.mule_msg(b"a", 1, confirm=False)
    stuck = Running(lambda: client.mule_msg(b"b", 1))

    sent = [client.mule_msg(b"c", 2) for _ in range(10)]

    assert len(sent) == 10
    assert stuck.is_alive()
    master.release("mule1")
    stuck.finish()


def test_a_refusal_is_raised_in_the_caller(master: FakeMaster, client: Client) -> None:
    master.refusals["farm:nope"] = UnknownTargetError("farm:nope", ["mule", "mule1"])

    with pytest.raises(UnknownTargetError, match="there are: mule, mule1"):
        client.farm_msg("nope", b"x")

    client.flush()


def test_refusals_for_which_nobody_waits_are_raised_at_flush(
    master: FakeMaster, client: Client
) -> None:
    master.refusals["mule"] = QueueFullError("mule", 10)
    client.mule_msg(b"a", confirm=False)
    client.mule_msgs([b"b", b"c"], confirm=False)

    with pytest.raises(QueueFullError, match="full at 10") as caught:
        client.flush()

    assert caught.value.__notes__ == ["and 2 more messages were refused"]
    client.flush()


def test_options_that_are_not_offered_are_refused(
    master: FakeMaster, client: Client
) -> None:
    master.refusals["mule"] = UnsupportedError("the message option 'delay'")

    with pytest.raises(UnsupportedError, match="delay"):
        client.mule_msg(b"x", delay=3, priority=1, ttl=2.0, key="k")

    assert b'"delay":3' in master.submits[0].options


def test_a_message_that_is_too_big_is_never_sent(
    master: FakeMaster, client: Client
) -> None:
    master.welcome["max_frame_bytes"] = 65_536

    with pytest.raises(MessageTooBigError, match="61441 bytes; at most 61440"):
        client.mule_msgs([b"ok", bytes(61_441)])
    client.mule_msgs([bytes(61_440)] * 3)

    assert [submit.count for submit in master.submits] == [1, 1, 1]


def test_what_is_no_message_and_no_target_is_refused_here(
    master: FakeMaster, client: Client
) -> None:
    with pytest.raises(TypeError, match="allowed: bytes or str"):
        client.mule_msg(17)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="allowed: 'mule'"):
        client.farm_msg("no farm", b"x")

    assert not master.submits


def test_a_message_of_many_megabytes_passes(master: FakeMaster, client: Client) -> None:
    body = os.urandom(8 * 1024 * 1024)

    client.mule_msg(body)

    assert master.bodies() == [body]


def test_nobody_listens_is_told_at_once(socket_dir: Path) -> None:
    client = Client(socket_dir / "none.sock")

    for _ in range(2):
        with pytest.raises(MasterUnavailableError, match="No such file"):
            client.mule_msg(b"x")


def test_a_full_backlog_is_tried_again_and_then_told(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def full(path: Path) -> None:
        calls.append(path)
        raise BlockingIOError

    monkeypatch.setattr("pymule.client.wire.connect", full)
    monkeypatch.setattr("pymule.client.exchange.pause", lambda _failures: 0.001)

    with pytest.raises(MasterUnavailableError, match="backlog is full"):
        Client(socket_dir / "x.sock").mule_msg(b"x")

    assert len(calls) == 8


def test_a_first_connection_that_is_refused_says_why(
    master: FakeMaster, client: Client
) -> None:
    master.greeting = lambda peer: peer.send(Close({"reason": "too old"}))

    with pytest.raises(MasterUnavailableError, match="too old"):
        client.mule_msg(b"x")

    master.greeting = None
    assert client.mule_msg(b"x") == 1


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x02\0\0\0\x02\0\0\0{}"])
def test_a_server_that_talks_something_else_is_told(
    master: FakeMaster, client: Client, data: bytes
) -> None:
    master.greeting = lambda peer: peer.send_raw(data)

    with pytest.raises(MasterUnavailableError, match=r"no pymuled at"):
        client.mule_msg(b"x")

    until(lambda: master.closes)


def test_a_server_that_says_nothing_is_given_up(
    master: FakeMaster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymule.client.exchange.HELLO_TIMEOUT_S", 0.01)
    master.greeting = lambda _peer: None

    with pytest.raises(MasterUnavailableError, match=r"no WELCOME within 0\.01"):
        client.mule_msg(b"x")


def test_what_was_not_confirmed_is_sent_again_and_taken_once(
    master: FakeMaster, client: Client
) -> None:
    client.mule_msg(b"a")
    master.cuts = 2

    number = client.mule_msg(b"b")

    assert number == 2
    assert master.bodies() == [b"a", b"b"]
    assert len(set(master.clients)) == 1
    assert len(master.clients) == 3


def test_the_client_outlives_a_restart_of_the_master(
    master: FakeMaster, client: Client
) -> None:
    client.mule_msg(b"a")
    master.stop()

    assert client.mule_msg(b"b", confirm=False) == 0
    waiting = Running(lambda: client.mule_msg(b"c"))
    master.start()

    waiting.finish()
    client.flush()
    assert master.bodies() == [b"a", b"b", b"c"]


def test_what_another_master_refuses_may_be_with_the_last_one(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    waiting = Running(lambda: client.mule_msg(b"a"))
    until(lambda: master.submits)
    master.stop()
    master.welcome["epoch"] = 2
    master.held.clear()
    master.refusals["mule"] = QueueFullError("mule", 1)

    master.start()

    with pytest.raises(ConnectionLostError, match="another master"):
        waiting.finish()


def test_a_good_connection_that_is_lost_is_replaced_at_once(
    master: FakeMaster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymule.client.exchange._GOOD_S", 0.0)
    client.mule_msg(b"a")
    master.stop()
    master.start()

    client.mule_msg(b"b", confirm=False)

    until(lambda: master.bodies() == [b"a", b"b"])


def test_garbage_ends_the_connection_and_loses_nothing(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    waiting = Running(lambda: client.mule_msg(b"a"))
    until(lambda: master.submits)
    master.held.clear()

    master.peers[0].send(Confirm([(100, 1, 1)]))

    assert waiting.finish() == 1
    assert master.bodies() == [b"a"]
    until(lambda: master.closes)
    assert "100" in master.closes[0]


def test_a_partial_answer_is_not_the_whole_one(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    call = Running(lambda: client.mule_msgs([b"a", b"b", b"c"]))
    until(lambda: master.submits)

    master.peers[0].send(Confirm([(1, 2, 10)]))
    call.join(20 * MS)
    was_waiting = call.is_alive()
    master.peers[0].send(Confirm([(3, 1, 12)]))

    assert was_waiting
    assert call.finish() == range(10, 13)


def test_eight_threads_share_a_client(master: FakeMaster, client: Client) -> None:
    def send(name: int) -> list[int]:
        return [client.mule_msg(b"%d %d" % (name, number)) for number in range(1_000)]

    threads = [Running(partial(send, name)) for name in range(8)]
    results = [thread.finish() for thread in threads]

    ids = [
        number for result in results if isinstance(result, list) for number in result
    ]
    assert sorted(ids) == list(range(1, 8_001))
    assert sorted(master.bodies()) == sorted(
        b"%d %d" % (name, number) for name in range(8) for number in range(1_000)
    )


def test_threads_of_every_kind_share_a_client_that_loses_its_connections(
    master: FakeMaster, client: Client
) -> None:
    master.welcome["window_count"] = 20

    def send(name: int) -> None:
        for number in range(200):
            body = b"%d %d" % (name, number)
            client.mule_msg(body, confirm=name % 2 == 0)
        client.flush()

    threads = [Running(partial(send, name)) for name in range(6)]
    for goal in (100, 400, 700):
        until(partial(has_received, master, goal))
        master.cut()
    for thread in threads:
        thread.finish()

    assert sorted(master.bodies()) == sorted(
        b"%d %d" % (name, number) for name in range(6) for number in range(200)
    )


def test_a_master_that_does_not_read_holds_up_and_deadlocks_nobody(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule1")
    client.mule_msg(b"x", 1, confirm=False)
    # One leads; another leaves more than the kernel takes to the leader.
    leader = Running(lambda: client.mule_msg(b"y", 1))
    until(lambda: master.submitted == 2)
    master.pause()
    sender = Running(lambda: client.mule_msg(bytes(2_000_000), confirm=False))
    second = Running(lambda: client.mule_msg(bytes(1_000_000)))
    sender.join(20 * MS)
    was_waiting = sender.is_alive()

    master.resume()

    assert was_waiting
    sender.finish()
    second.finish()
    master.release("mule1")
    leader.finish()
    assert sorted(map(len, master.bodies())) == [1_000_000, 2_000_000]


def test_an_interrupted_wait_leaves_the_client_usable(
    master: FakeMaster, client: Client
) -> None:
    class AlarmError(Exception):
        pass

    def alarm(_signum: int, _frame: object) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, alarm)
    master.held.add("mule")
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(AlarmError):
            client.mule_msg(b"a")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # A follower of the one that was interrupted would lead now.
    follower = Running(lambda: client.mule_msg(b"b"))
    until(lambda: master.submitted == 2)
    master.release("mule")

    assert follower.finish() == 2
    assert client.mule_msg(b"c") == 3
    client.flush()
    assert master.bodies() == [b"a", b"b", b"c"]


def test_an_interruption_in_the_middle_of_a_frame_ends_only_the_connection(
    master: FakeMaster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.mule_msg(b"a")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pymule.client.wire.Wire.send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.mule_msg(b"b")
    client.flush()

    assert client.mule_msg(b"c") == 3
    assert master.bodies() == [b"a", b"b", b"c"]


def test_a_leader_that_has_its_answer_hands_over_to_a_follower(
    master: FakeMaster, client: Client
) -> None:
    master.held.add("mule")
    calls = [Running(lambda: client.mule_msg(b"x")) for _ in range(4)]
    until(lambda: master.submitted == 4)

    # Each answer ends one call, whoever leads by then.
    for left in (3, 2, 1, 0):
        master.release("mule", limit=1)
        until(partial(are_alive, calls, left))

    assert sorted(str(call.finish()) for call in calls) == ["1", "2", "3", "4"]


# Asking


def test_a_call_is_answered(client: Client) -> None:
    assert client.call("status", depth=1) == {"method": "status"}


def test_many_threads_wait_for_answers_at_once(
    master: FakeMaster, client: Client
) -> None:
    asked: list[tuple[Peer, Call]] = []
    master.on_call = lambda peer, call: asked.append((peer, call))
    calls = [Running(partial(client.call, f"n{number}")) for number in range(8)]
    until(lambda: len(asked) == 8)

    for peer, call in reversed(asked):
        peer.send(Reply(call.id, ReplyKind.LAST, {"to": call.value["method"]}))

    assert [call.finish() for call in calls] == [{"to": f"n{n}"} for n in range(8)]


def test_many_calls_and_messages_cross_one_connection(
    master: FakeMaster, client: Client
) -> None:
    def talk(name: int) -> list[object]:
        client.mule_msg(b"%d" % name, confirm=False)
        return [client.call(f"{name}.{n}") for n in range(100)]

    talks = [Running(partial(talk, name)) for name in range(8)]

    for name, talking in enumerate(talks):
        answers = [{"method": f"{name}.{n}"} for n in range(100)]
        assert talking.finish() == answers
    client.flush()
    assert len(master.bodies()) == 8


def test_a_refused_call_is_raised(master: FakeMaster, client: Client) -> None:
    value: JsonObject = {"code": 6, "detail": {"feature": "the call 'x'"}}
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 2, value))

    with pytest.raises(UnsupportedError, match="the call 'x'"):
        client.call("x")


def test_a_call_ends_with_its_connection_and_the_next_finds_another(
    master: FakeMaster, client: Client
) -> None:
    asked: list[Call] = []
    master.on_call = lambda _peer, call: asked.append(call)
    calls = [Running(partial(client.call, "status")) for _ in range(3)]
    until(lambda: len(asked) == 3)
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 0, {"ok": True}))

    master.cut()

    for call in calls:
        with pytest.raises(ConnectionLostError):
            call.finish()
    assert client.call("status") == {"ok": True}
    assert len(master.clients) == 2


def test_a_master_that_was_replaced_unnoticed_is_asked(
    master: FakeMaster, client: Client
) -> None:
    client.call("status")
    master.stop()
    master.start()

    assert client.call("status") == {"method": "status"}


def test_an_interrupted_call_leaves_the_client_usable(
    master: FakeMaster, client: Client
) -> None:
    class AlarmError(Exception):
        pass

    def alarm(_signum: int, _frame: object) -> None:
        raise AlarmError

    answer = master.on_call
    master.on_call = lambda _peer, _call: None
    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(AlarmError):
            client.call("status")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    master.on_call = answer

    assert client.call("ping") == {"method": "ping"}


def test_close_ends_every_wait(master: FakeMaster) -> None:
    client = Client(master.path)
    master.held.add("mule")
    calls = [Running(lambda: client.mule_msg(b"x")) for _ in range(3)]
    until(lambda: master.submitted == 3)

    client.close()

    for call in calls:
        with pytest.raises(ConnectionLostError, match="closed") as caught:
            call.finish()
        assert caught.value.unacked == 3
    with pytest.raises(ConnectionLostError, match="closed"):
        client.mule_msg(b"y")


def test_close_ends_the_search_for_a_master(master: FakeMaster) -> None:
    client = Client(master.path)
    client.mule_msg(b"a")
    master.stop()
    call = Running(lambda: client.mule_msg(b"b"))
    call.join(20 * MS)

    client.close()

    with pytest.raises(ConnectionLostError, match="closed"):
        call.finish()


def test_the_end_of_the_block_flushes_and_closes(master: FakeMaster) -> None:
    with Client(master.path, name="shop") as client:
        for _ in range(10):
            client.mule_msg(b"x", confirm=False)

    assert len(master.bodies()) == 10
    assert master.names == ["shop"]
    until(lambda: not master.peers)


def test_an_exception_in_the_block_is_not_held_up_by_a_flush(
    master: FakeMaster,
) -> None:
    master.held.add("mule")

    def fail() -> None:
        with Client(master.path) as client:
            client.mule_msg(b"x", confirm=False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_a_flush_that_takes_too_long_says_what_is_in_doubt(
    master: FakeMaster,
) -> None:
    master.held.add("mule")
    client = Client(master.path)
    client.mule_msgs([b"x", b"y"], confirm=False)

    with pytest.raises(ConnectionLostError, match="2 messages") as caught:
        client.close(flush_s=0.01)

    assert caught.value.unacked == 2


# The functions, and the life of a process


@pytest.fixture
def _fresh_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sync, "_client", None)
    yield
    if sync._client is not None:
        sync._client.close()


@pytest.mark.usefixtures("_fresh_default")
def test_the_functions_use_one_client_for_the_process(master: FakeMaster) -> None:
    sync.flush()

    ids = [
        sync.mule_msg(b"a", 1),
        sync.farm_msg("busy", b"b"),
        *sync.mule_msgs([b"c"]),
        *sync.farm_msgs("busy", [b"d"]),
    ]
    sync.flush()
    sync.default_client().call("ping")

    assert ids == [1, 2, 3, 4]
    assert len(master.clients) == 1


@pytest.mark.usefixtures("_fresh_default")
def test_a_signal_is_raised_when_the_master_has_it(master: FakeMaster) -> None:
    sync.raise_signal(7)

    assert master.calls == [{"method": "raise", "signal": 7}]


@pytest.mark.usefixtures("_fresh_default")
def test_a_refused_raise_is_told(master: FakeMaster) -> None:
    error = NoHandlerError(7, "", [3])
    value: JsonObject = {"code": error.code, "detail": error.to_detail()}
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 2, value))

    with pytest.raises(NoHandlerError, match="no handler for signal 7; there are"):
        sync.raise_signal(7)


@pytest.mark.usefixtures("_fresh_default")
def test_a_timer_is_set_and_cancelled(master: FakeMaster) -> None:
    value: JsonObject = {"timer": 12, "cancelled": True}
    master.on_call = lambda peer, call: peer.send(Reply(call.id, 0, value))

    timer = sync.add_timer(7, 0.5, iterations=3)
    was_armed = sync.cancel_timer(timer)

    assert (timer, was_armed) == (12, True)
    assert master.calls == [
        {"method": "timer_add", "signal": 7, "every": 0.5, "iterations": 3},
        {"method": "timer_cancel", "timer": 12},
    ]


@pytest.mark.usefixtures("_fresh_default")
def test_what_no_signal_and_no_timer_can_have_is_refused_without_asking(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", str(socket_dir / "nobody.sock"))

    with pytest.raises(ValueError, match="signal 256; allowed: 0 to 255"):
        sync.raise_signal(256)
    with pytest.raises(ValueError, match="signal -1; allowed: 0 to 255"):
        sync.add_timer(-1, 1)
    with pytest.raises(ValueError, match="a timer of 0 seconds; allowed: from 0"):
        sync.add_timer(7, 0)
    with pytest.raises(ValueError, match="-1 iterations; allowed: from 0"):
        sync.add_timer(7, 1, iterations=-1)


def test_the_blocking_client_needs_no_asyncio(master: FakeMaster) -> None:
    done = run(
        """
        import sys
        from pymule.sync import mule_msg
        mule_msg(b"x")
        print(sorted(sys.modules.keys() & {"asyncio", "uvloop", "pymule.mule"}))
        """,
        master,
    )

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_exit_waits_for_what_was_sent(master: FakeMaster) -> None:
    done = run(
        """
        from pymule.sync import mule_msg
        for _ in range(1000):
            mule_msg(b"x", confirm=False)
        """,
        master,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(master.bodies()) == 1_000


def test_the_exit_says_what_was_refused(master: FakeMaster) -> None:
    master.refusals["mule"] = QueueFullError("mule", 10)

    done = run(
        """
        from pymule.sync import mule_msg
        mule_msg(b"x", confirm=False)
        """,
        master,
    )

    assert "QueueFullError: queue of 'mule' is full" in done.stderr


def test_a_forked_child_has_a_connection_of_its_own(master: FakeMaster) -> None:
    done = run(
        """
        import os
        from pymule.sync import Client, flush, mule_msg

        mule_msg(b"parent 1")
        with Client() as other:
            mule_msg(b"parent 2", confirm=False)
            pid = os.fork()
            if pid == 0:
                mule_msg(b"child 1")
                other.mule_msg(b"child 2", confirm=False)
                other.flush()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            other.mule_msg(b"parent 3")
        mule_msg(b"parent 4")
        flush()
        """,
        master,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(master.bodies()) == [
        b"child 1",
        b"child 2",
        b"parent 1",
        b"parent 2",
        b"parent 3",
        b"parent 4",
    ]
    assert len(master.clients) == len(set(master.clients)) == 4


def test_a_child_of_a_busy_parent_is_not_stuck(master: FakeMaster) -> None:
    done = run(
        """
        import os, threading, warnings
        from pymule.sync import mule_msg

        # From Python 3.12 on, os.fork warns of threads; they are what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)

        def send():
            for _ in range(300):
                mule_msg(b"parent")

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                mule_msg(b"child")
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        for thread in threads:
            thread.join()
        """,
        master,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert master.bodies().count(b"child") == 5
    assert master.bodies().count(b"parent") == 1_200


def test_a_client_has_the_name_of_its_process(
    master: FakeMaster, client: Client
) -> None:
    client.mule_msg(b"x")

    assert master.names == [f"pid {os.getpid()}"]
