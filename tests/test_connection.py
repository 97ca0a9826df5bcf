"""Two connections at the ends of a socketpair, and owners that note what they hear."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from pymule import connection as connection_module
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, RemoteProtocolError
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session, SessionState
from pymule.sansio.verbs import (
    Call,
    Close,
    Hello,
    JsonObject,
    Ready,
    Reply,
    Submit,
    Verb,
    Welcome,
)
from tests.conftest import MS, wait_until

HELLO = Hello({"protocol": list(PROTOCOL_VERSIONS)})
WELCOME = Welcome({"protocol": PROTOCOL_VERSIONS[1]})
BIG: JsonObject = {"text": "x" * 60_000}


@dataclass(eq=False)
class Ear:
    """An owner; answers a greeting and keeps what it hears."""

    heard: list[Verb] = field(default_factory=list)
    made: list[Connection] = field(default_factory=list)
    reads: int = 0
    pieces: int = 0
    lost: list[Exception | None] = field(default_factory=list)

    def connection_made(self, connection: Connection) -> None:
        self.made.append(connection)

    def data_received(self, connection: Connection) -> None:
        assert connection is self.made[0]
        self.pieces += 1

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        self.reads += 1
        for verb in verbs:
            self.heard.append(verb)
            if isinstance(verb, Hello):
                connection.send(WELCOME)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        assert connection is self.made[0]
        self.lost.append(reason)


@dataclass(eq=False)
class Pair:
    """A client's connection, its master's, and who listens to them."""

    client: Connection
    client_ear: Ear
    master: Connection
    master_ear: Ear


Raw = tuple[socket.socket, Connection, Ear]


def file_of(connection: Connection) -> int:
    """Return the descriptor that *connection* reads from."""
    assert connection._transport is not None
    sock = connection._transport.get_extra_info("socket")
    assert sock is not None
    return int(sock.fileno())


async def connect(sock: socket.socket, session: Session, ear: Ear) -> Connection:
    sock.setblocking(False)  # noqa: FBT003  (the standard library's)
    _, connection = await asyncio.get_running_loop().create_unix_connection(
        lambda: Connection(session, ear), sock=sock
    )
    return connection


@pytest.fixture
async def raw() -> AsyncIterator[Raw]:
    """A plain socket, and the master's connection at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003  (the standard library's)
    ear = Ear()
    connection = await connect(theirs, Session(Role.MASTER, Role.CLIENT), ear)
    yield ours, connection, ear
    connection.abort()
    await connection.wait_closed()
    ours.close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A conversation that is open."""
    ours, theirs = socket.socketpair()
    client_ear, master_ear = Ear(), Ear()
    master = await connect(theirs, Session(Role.MASTER, Role.CLIENT), master_ear)
    client = await connect(ours, Session(Role.CLIENT, Role.MASTER), client_ear)
    client.send(HELLO)
    await wait_until(lambda: client_ear.heard)
    yield Pair(client, client_ear, master, master_ear)
    for connection in (client, master):
        connection.abort()
        await connection.wait_closed()


async def test_what_is_sent_is_heard(pair: Pair) -> None:
    pair.client.send(Call(1, {"method": "status"}))
    pair.client.send(Call(2, {"method": "status"}))
    await wait_until(lambda: len(pair.master_ear.heard) == 3)

    assert pair.master_ear.heard[1:] == [
        Call(1, {"method": "status"}),
        Call(2, {"method": "status"}),
    ]
    assert pair.client.is_between_frames
    assert pair.client_ear.made == [pair.client]


async def test_what_is_sent_in_one_turn_goes_out_together(pair: Pair) -> None:
    reads = pair.master_ear.reads

    for number in range(100):
        pair.client.send(Call(number, {}))
    unsent = pair.client.unsent_bytes
    await wait_until(lambda: len(pair.master_ear.heard) == 101)

    assert unsent > 100
    assert pair.client.unsent_bytes == 0
    assert pair.master_ear.reads == reads + 1


async def test_large_pieces_arrive_in_their_order(pair: Pair) -> None:
    payloads = [bytes([number]) * 300_000 for number in range(8)]
    for number, payload in enumerate(payloads):
        submit = Submit(number, 0, 1, "mule", b"", payload)
        pair.client.send_bytes(submit.head())
        pair.client.send_bytes(submit.payload)
    await wait_until(lambda: len(pair.master_ear.heard) == 9)

    heard = [verb for verb in pair.master_ear.heard if isinstance(verb, Submit)]
    assert [verb.payload for verb in heard] == payloads


async def test_what_is_sent_before_the_transport_is_there_is_kept() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003  (the standard library's)
    session = Session(Role.CLIENT, Role.MASTER)
    connection = Connection(session, ear := Ear())
    assert connection.is_closed
    assert connection.unsent_bytes == 0

    connection.send(HELLO)
    connection.flush()
    connection.close()
    connection.abort()
    await asyncio.get_running_loop().create_unix_connection(
        lambda: connection, sock=theirs
    )

    assert ours.recv(4096) == HELLO.pack()
    assert ear.made == [connection]
    connection.abort()
    await connection.wait_closed()
    ours.close()


async def test_a_goodbye_tells_the_reason(pair: Pair) -> None:
    pair.master.close("the master stops")
    await wait_until(lambda: pair.client_ear.lost and pair.master_ear.lost)

    assert pair.client_ear.heard[-1] == Close({"reason": "the master stops"})
    assert pair.client_ear.lost == [None]
    assert pair.master_ear.lost == [None]
    assert pair.master.is_closed


async def test_nothing_is_said_after_a_goodbye(pair: Pair) -> None:
    pair.client.send(Call(1, {}))
    pair.client.close("enough")

    pair.client.send(Call(2, {}))
    pair.client.close("enough")
    await wait_until(lambda: pair.master_ear.lost)

    assert pair.master_ear.heard[1:] == [Call(1, {}), Close({"reason": "enough"})]


async def test_bytes_sent_while_the_transport_closes_are_dropped(pair: Pair) -> None:
    pair.client.close()

    pair.client.send_bytes(Call(1, {}).pack())
    pair.client.flush()
    await wait_until(lambda: pair.master_ear.lost)

    assert pair.master_ear.heard == [HELLO]


async def test_a_close_sends_what_is_left(pair: Pair) -> None:
    pair.client.send(Call(1, BIG))
    pair.client.close()
    await wait_until(lambda: pair.master_ear.lost)

    assert pair.master_ear.heard[1:] == [Call(1, BIG)]


async def test_a_broken_rule_is_told_to_both_sides(
    raw: Raw,
) -> None:
    sock, connection, ear = raw

    sock.send(HELLO.pack() + Ready().pack())
    await wait_until(lambda: ear.lost)
    await connection.wait_closed()

    assert len(ear.lost) == 1
    assert isinstance(ear.lost[0], RemoteProtocolError)
    assert b"READY from a client" in sock.recv(4096)
    assert connection.session.state is SessionState.CLOSED


async def test_garbage_is_answered_and_ends_the_connection(
    raw: Raw,
) -> None:
    sock, connection, ear = raw

    sock.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await wait_until(lambda: ear.lost)
    await connection.wait_closed()

    assert ear.heard == []
    assert b"reason" in sock.recv(4096)


async def test_a_peer_that_leaves_before_hello_is_an_error(
    raw: Raw,
) -> None:
    sock, _, ear = raw

    sock.shutdown(socket.SHUT_WR)
    await wait_until(lambda: ear.lost)

    assert isinstance(ear.lost[0], ConnectionLostError)


async def test_a_peer_that_leaves_within_a_frame_is_an_error(
    raw: Raw,
) -> None:
    sock, connection, ear = raw
    sock.send(HELLO.pack() + Call(1, {}).pack()[:-1])
    await wait_until(lambda: ear.heard)
    was_between = connection.is_between_frames

    sock.shutdown(socket.SHUT_WR)
    await wait_until(lambda: ear.lost)

    assert not was_between
    assert isinstance(ear.lost[0], ConnectionLostError)


async def test_a_peer_that_does_not_read_is_not_read_from(pair: Pair) -> None:
    stalls: list[bool] = []
    pair.master.on_stall = stalls.append
    # Only what the other connection reads empties the socket.
    transport = pair.client._transport
    assert transport is not None
    transport.pause_reading()
    while not stalls:
        pair.master.send(Reply(1, 0, BIG))
        pair.master.flush()
    sent = len(pair.master_ear.heard)
    pair.client.send(Call(1, {}))
    pair.client.flush()
    assert pair.master.unsent_bytes > 0

    stalled = list(stalls)
    transport.resume_reading()
    await wait_until(lambda: len(pair.master_ear.heard) == sent + 1)

    assert stalled == [True]
    assert stalls[:2] == [True, False]


async def test_a_stall_that_nobody_asked_about_is_survived(pair: Pair) -> None:
    pair.client.pause_writing()
    pair.client.resume_writing()
    pair.client.send(Call(1, {}))

    await wait_until(lambda: len(pair.master_ear.heard) == 2)

    connection = Connection(Session(Role.CLIENT, Role.MASTER), Ear())
    connection.pause_writing()
    connection.resume_writing()
    assert connection.is_closed


async def test_a_peer_that_is_held_is_read_when_every_reason_is_gone(
    pair: Pair,
) -> None:
    pair.master.hold("one")
    pair.master.hold("other")
    pair.master.hold("one")
    pair.client.send(Call(1, {}))
    pair.client.flush()

    pair.master.release("one")
    pair.master.release("never held")
    was_held = pair.master.is_held
    pair.master.release("other")
    await wait_until(lambda: Call(1, {}) in pair.master_ear.heard)

    assert was_held
    assert not pair.master.is_held


async def test_a_peer_that_reads_nothing_does_not_keep_the_connection_open(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_LINGER_S", 20 * MS)
    transport = pair.client._transport
    assert transport is not None
    transport.pause_reading()
    while not pair.master.is_held:
        pair.master.send(Reply(1, 0, BIG))
        pair.master.flush()

    pair.master.close("enough")

    async with asyncio.timeout(5000 * MS):
        await pair.master.wait_closed()
    transport.resume_reading()


async def test_a_closed_connection_is_not_held(pair: Pair) -> None:
    pair.master.hold("early")
    pair.master.close()
    pair.master.hold("late")
    pair.master.release("early")
    await pair.master.wait_closed()
    pair.master.hold("too late")

    assert not pair.master.is_held


async def test_the_rest_of_a_dead_peer_is_read_at_once(raw: Raw) -> None:
    sock, connection, ear = raw
    sock.send(HELLO.pack() + Call(1, BIG).pack() + Call(2, {}).pack())

    connection.read_rest(file_of(connection))

    assert ear.heard == [HELLO, Call(1, BIG), Call(2, {})]


async def test_the_end_of_a_dead_peers_stream_ends_the_reading(raw: Raw) -> None:
    sock, connection, ear = raw
    sock.send(HELLO.pack())
    sock.shutdown(socket.SHUT_WR)

    connection.read_rest(file_of(connection))

    assert ear.heard == [HELLO]


async def test_nothing_is_read_from_a_connection_that_is_closed(raw: Raw) -> None:
    sock, connection, ear = raw
    fd = file_of(connection)
    connection.close()
    sock.send(HELLO.pack())

    connection.read_rest(fd)

    assert ear.heard == []


async def test_what_comes_after_the_end_was_told_is_for_nobody(
    raw: Raw,
) -> None:
    sock, connection, ear = raw
    sock.send(HELLO.pack())
    await wait_until(lambda: ear.heard)

    connection.fail(RemoteProtocolError("enough"))
    connection.data_received(Call(1, {}).pack())
    # An owner, but nobody's.
    connection._owner.connection_made(connection)
    connection._owner.verbs_received(connection, [])

    assert len(ear.lost) == 1
    assert ear.heard == [HELLO]


async def test_waiting_for_the_end_may_be_cancelled(pair: Pair) -> None:
    waiting = asyncio.create_task(pair.client.wait_closed())
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting])
    pair.client.close()
    await pair.client.wait_closed()

    assert waiting.cancelled()
    assert pair.client.is_closed
