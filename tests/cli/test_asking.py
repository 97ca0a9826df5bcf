import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import typer

from pymule.cli.asking import ask
from pymule.client.aio import Client
from tests.conftest import MS


async def name_of(client: Client) -> str:
    return client.name


@pytest.fixture
def listener(socket_dir: Path) -> Iterator[socket.socket]:
    """A socket that nobody serves yet."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_dir / "s.sock"))
        listener.listen()
        yield listener


def path_of(listener: socket.socket) -> Path:
    return Path(listener.getsockname())


def test_without_a_daemon_the_status_is_69(
    socket_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = socket_dir / "none.sock"

    with pytest.raises(typer.Exit) as caught:
        ask(name_of, socket=path, timeout=None)

    assert caught.value.exit_code == 69
    assert capsys.readouterr().err == (
        f"pymule: no pymuled at {path}: No such file or directory\n"
    )


def test_a_daemon_that_says_nothing_costs_no_more_than_the_timeout(
    listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught:
        ask(name_of, socket=path_of(listener), timeout=0.05)

    assert caught.value.exit_code == 124
    assert capsys.readouterr().err == (
        "pymule: no answer from pymuled within 0.05 seconds\n"
    )


def test_a_daemon_that_hangs_up_is_none(
    listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    def hang_up() -> None:
        listener.accept()[0].close()

    thread = Thread(target=hang_up)
    thread.start()

    with pytest.raises(typer.Exit) as caught:
        ask(name_of, socket=path_of(listener), timeout=5_000 * MS)
    thread.join()

    assert caught.value.exit_code == 69
    assert "no pymuled at" in capsys.readouterr().err
