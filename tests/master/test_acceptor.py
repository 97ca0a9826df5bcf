import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymule.master.listener import Acceptor, Credentials, SocketClaim
from tests.conftest import MS


@pytest.fixture
def path(socket_dir: Path) -> Path:
    return socket_dir / "pymule.sock"


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


class Accepted(list[socket.socket]):
    """The connections handed over; can be waited for."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self.last: Credentials | None = None
        self.lets_in = True

    def on_accept(self, connection: socket.socket, credentials: Credentials) -> bool:
        self.append(connection)
        self.last = credentials
        self._arrived.set()
        return self.lets_in

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(5000 * MS):
            while len(self) < count:
                self._arrived.clear()
                await self._arrived.wait()

    def close(self) -> None:
        for connection in self:
            connection.close()


@pytest.fixture
def claim(path: Path) -> Iterator[SocketClaim]:
    claim = SocketClaim.open(path, 0o600, None)
    yield claim
    claim.close()


@pytest.fixture
def clients(path: Path) -> Iterator[Callable[[int], list[socket.socket]]]:
    opened: list[socket.socket] = []

    def connect_many(count: int) -> list[socket.socket]:
        new = [connect(path) for _ in range(count)]
        opened.extend(new)
        return new

    yield connect_many
    for client in opened:
        client.close()


async def test_all_newcomers_are_accepted_in_bursts(
    claim: SocketClaim, clients: Callable[[int], list[socket.socket]]
) -> None:
    accepted = Accepted()
    acceptor = Acceptor(asyncio.get_running_loop(), claim.socket, accepted.on_accept)

    clients(200)
    await accepted.wait_for(200)

    assert accepted.last == Credentials(os.getpid(), os.getuid(), os.getgid())
    assert not any(connection.getblocking() for connection in accepted)
    acceptor.close()
    accepted.close()


async def test_after_a_burst_of_which_all_are_refused_the_others_have_a_turn(
    claim: SocketClaim, clients: Callable[[int], list[socket.socket]]
) -> None:
    accepted = Accepted()
    accepted.lets_in = False
    acceptor = Acceptor(asyncio.get_running_loop(), claim.socket, accepted.on_accept)

    clients(100)
    acceptor._accept_burst()
    at_once = len(accepted)
    await accepted.wait_for(100)

    assert at_once == 64
    acceptor.close()
    accepted.close()


async def test_a_closed_acceptor_accepts_no_more(
    claim: SocketClaim, clients: Callable[[int], list[socket.socket]]
) -> None:
    accepted = Accepted()
    loop = asyncio.get_running_loop()

    def on_accept(connection: socket.socket, credentials: Credentials) -> bool:
        acceptor.close()
        acceptor.close()
        return accepted.on_accept(connection, credentials)

    acceptor = Acceptor(loop, claim.socket, on_accept)
    clients(2)
    await accepted.wait_for(1)
    await asyncio.sleep(0)

    assert len(accepted) == 1
    accepted.close()


async def test_without_descriptors_newcomers_are_told_and_service_resumes(
    claim: SocketClaim,
    clients: Callable[[int], list[socket.socket]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    accepted = Accepted()
    acceptor = Acceptor(asyncio.get_running_loop(), claim.socket, accepted.on_accept)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = clients(3)
    later = socket.socket(socket.AF_UNIX)
    later.settimeout(0)

    resource.setrlimit(resource.RLIMIT_NOFILE, (later.fileno() + 1, hard))
    try:
        for client in refused:
            assert b"no descriptors left" in await _received(client)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    later.connect(claim.path)
    await accepted.wait_for(1)

    (record,) = caplog.records
    assert record.message == "cannot accept connections"
    assert record.__dict__["fields"]["refused"] == 3
    later.close()
    acceptor.close()
    accepted.close()


async def _received(client: socket.socket) -> bytes:
    client.settimeout(0)
    async with asyncio.timeout(5000 * MS):
        return await asyncio.get_running_loop().sock_recv(client, 4096)


class BrokenSocket(socket.socket):
    """A listening socket whose first accepts fail as the kernel's can."""

    errors: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            raise OSError(self.errors.pop(), "")
        return super().accept()


async def test_other_failures_pause_and_a_lost_newcomer_is_passed_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accepted = Accepted()
    with BrokenSocket(socket.AF_UNIX) as sock:
        sock.errors = [errno.ENOBUFS, errno.ECONNABORTED]
        sock.bind(str(path))
        sock.listen()
        sock.settimeout(0)
        acceptor = Acceptor(asyncio.get_running_loop(), sock, accepted.on_accept)

        with connect(path):
            await accepted.wait_for(1)

        assert len(caplog.records) == 1
        acceptor.close()
        accepted.close()


async def test_an_acceptor_closed_in_its_pause_stays_closed(
    path: Path, clients: Callable[[int], list[socket.socket]]
) -> None:
    accepted = Accepted()
    with BrokenSocket(socket.AF_UNIX) as sock:
        sock.errors = [errno.ENOMEM]
        sock.bind(str(path))
        sock.listen()
        sock.settimeout(0)
        acceptor = Acceptor(asyncio.get_running_loop(), sock, accepted.on_accept)
        clients(1)
        acceptor._accept_burst()

        acceptor.close()

        assert acceptor._timer is not None
        assert acceptor._timer.cancelled()
        assert accepted == []


async def test_a_lack_of_descriptors_that_took_the_reserve_too_is_survived(
    claim: SocketClaim, clients: Callable[[int], list[socket.socket]]
) -> None:
    accepted = Accepted()
    acceptor = Acceptor(asyncio.get_running_loop(), claim.socket, accepted.on_accept)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients(1)

    # Less than is open, so that not even a descriptor just closed comes back.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        acceptor._accept_burst()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    without = acceptor._reserve
    await accepted.wait_for(1)

    assert without is None
    assert acceptor._reserve is not None
    acceptor.close()
    accepted.close()
