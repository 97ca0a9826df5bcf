"""Getting through to the master, and being greeted."""

import socket
from pathlib import Path

import pytest

from pymule.client import dial as dial_module
from pymule.client.dial import Greeting, dial
from pymule.client.reach import Terms
from pymule.errors import MasterUnavailableError, RemoteProtocolError
from pymule.sansio.verbs import Welcome
from tests.client.fake_master import FakeMaster

PATH = Path("x.sock")
WELCOME = Welcome({"max_frame_bytes": 1, "window_count": 2, "window_bytes": 3})


class Backlog:
    """Full so many times."""

    def __init__(self, full_count: int) -> None:
        self.full_count = full_count
        self.tries = 0

    def connect(self, _path: Path) -> socket.socket:
        self.tries += 1
        if self.tries <= self.full_count:
            raise BlockingIOError
        return socket.socket(socket.AF_UNIX)


def fill(monkeypatch: pytest.MonkeyPatch, full_count: int) -> Backlog:
    backlog = Backlog(full_count)
    monkeypatch.setattr(dial_module, "connect", backlog.connect)
    monkeypatch.setattr(dial_module, "pause", lambda _failures: 0.0)
    return backlog


async def test_a_master_that_listens_is_reached(master: FakeMaster) -> None:
    (await dial(master.path)).close()


async def test_a_full_backlog_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backlog = fill(monkeypatch, 3)

    (await dial(PATH)).close()

    assert backlog.tries == 4


async def test_a_backlog_that_stays_full_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backlog = fill(monkeypatch, 100)

    with pytest.raises(MasterUnavailableError, match="backlog is full"):
        await dial(PATH)

    assert backlog.tries == 8


async def test_the_terms_are_those_of_the_welcome() -> None:
    greeting = Greeting(PATH)

    greeting.welcomed(WELCOME)
    greeting.welcomed(WELCOME)
    greeting.failed("too late to matter")

    assert await greeting.terms() == Terms(1, 2, 3)


async def test_the_end_of_the_connection_ends_the_wait() -> None:
    greeting = Greeting(PATH)

    greeting.failed("gone")

    with pytest.raises(MasterUnavailableError, match=r"x\.sock: gone"):
        await greeting.terms()


async def test_a_welcome_without_terms_breaks_the_protocol() -> None:
    with pytest.raises(RemoteProtocolError):
        Greeting(PATH).welcomed(Welcome({}))


async def test_silence_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_module, "HELLO_TIMEOUT_S", 0.001)

    with pytest.raises(MasterUnavailableError, match="no WELCOME within"):
        await Greeting(PATH).terms()
