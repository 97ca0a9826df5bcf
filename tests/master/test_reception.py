import asyncio
import socket
from pathlib import Path
from typing import Self

import pytest
from blockbuster import BlockBuster

from pymule.master.listener import Credentials, SocketClaim
from pymule.master.reception import Reception
from tests.conftest import wait_until
from tests.master.conftest import Logged


class Guests:
    """Who came in."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def __call__(self, connection: socket.socket, credentials: Credentials) -> bool:
        del credentials
        self.sockets.append(connection)
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for connection in self.sockets:
            connection.close()


@pytest.fixture
def path(socket_dir: Path) -> Path:
    return socket_dir / "s"


@pytest.fixture
def patient(blockbuster: BlockBuster) -> None:
    """Let a socket be made on the loop: it takes less than a millisecond."""
    blockbuster.deactivate()


def remove(path: Path) -> None:
    path.unlink()


async def comes_in(path: Path, guests: Guests) -> None:
    count = len(guests.sockets)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        await wait_until(lambda: len(guests.sockets) > count)


@pytest.mark.usefixtures("patient")
async def test_guests_come_in_until_it_stops(
    claim: SocketClaim, path: Path, logged: Logged
) -> None:
    async with Guests() as guests:
        reception = Reception(asyncio.get_running_loop(), claim, guests)
        reception.open()
        await comes_in(path, guests)

        reception.look()
        reception.stop()
        reception.stop()
        remove(path)
        reception.look()

    assert reception.path == str(path)
    assert not logged("socket was removed; made anew")
    reception.close()


@pytest.mark.usefixtures("patient")
async def test_a_socket_that_is_removed_is_made_again(
    claim: SocketClaim, path: Path, logged: Logged
) -> None:
    async with Guests() as guests:
        reception = Reception(asyncio.get_running_loop(), claim, guests)
        reception.open()
        for count in (1, 2):
            remove(path)
            await wait_until(path.exists)
            await comes_in(path, guests)
            assert len(logged("socket was removed; made anew")) == count

        reception.close()

    with pytest.raises(FileNotFoundError):
        remove(path)


@pytest.mark.usefixtures("patient")
async def test_what_cannot_be_made_is_told_and_tried_when_asked(
    claim: SocketClaim, path: Path, logged: Logged
) -> None:
    async with Guests() as guests:
        reception = Reception(asyncio.get_running_loop(), claim, guests)
        reception.open()
        path.parent.chmod(0o777)
        remove(path)
        await wait_until(lambda: logged("socket lost"))
        reception.look()
        assert len(logged("socket lost")) == 2
        path.parent.chmod(0o700)

        reception.look()
        await comes_in(path, guests)

        reception.close()
