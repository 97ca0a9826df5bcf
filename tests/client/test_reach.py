"""The way to the master: which socket, whose, and on which terms."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.client.reach import (
    Terms,
    check_server,
    connect,
    find_socket,
    hello,
    join_ids,
    message_limit,
    new_client_id,
    pause,
    target_of,
    to_bytes,
)
from pymule.errors import MasterUnavailableError, RemoteProtocolError


@pytest.fixture
def listener(socket_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(socket_dir / "x.sock"))
        sock.listen(0)
        yield sock


def test_the_socket_is_the_given_one_then_the_environments_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", "/somewhere/env.sock")

    given, from_environment = find_socket("given.sock"), find_socket()
    monkeypatch.delenv("PYMULE_SOCKET")

    assert (given, from_environment) == ("given.sock", "/somewhere/env.sock")
    assert find_socket(Path("given.sock")) == "given.sock"
    assert find_socket().endswith("/pymule.sock")


def test_a_connected_socket_never_blocks(
    socket_dir: Path, listener: socket.socket
) -> None:
    with connect(socket_dir / "x.sock") as sock:
        listener.accept()[0].close()

        assert sock.gettimeout() == 0


def test_a_full_backlog_is_told_apart(
    socket_dir: Path, listener: socket.socket
) -> None:
    assert listener.fileno() > 0
    path = socket_dir / "x.sock"

    with connect(path), pytest.raises(BlockingIOError):
        connect(path)


@pytest.mark.parametrize("name", ["none.sock", "x" * 200])
def test_nobody_there_says_where(socket_dir: Path, name: str) -> None:
    with pytest.raises(MasterUnavailableError, match=f"no pymuled at .*{name}: "):
        connect(socket_dir / name)


def test_an_abstract_socket_is_no_master() -> None:
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(f"\0pymule-test-{os.getpid()}")
        squatter.listen()

        with pytest.raises(MasterUnavailableError, match="its path has a NUL"):
            connect(Path(f"\0pymule-test-{os.getpid()}"))


def test_a_stranger_may_not_be_the_master(
    socket_dir: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = socket_dir / "x.sock"
    owner = path.parent.stat().st_uid
    with connect(path) as sock:
        monkeypatch.setattr(
            socket.socket, "getsockopt", lambda *_: _credentials(owner + 12345)
        )

        with pytest.raises(MasterUnavailableError, match=f"user {owner + 12345} "):
            check_server(sock, path)
        with pytest.raises(MasterUnavailableError):
            connect_again(listener, path)


def connect_again(listener: socket.socket, path: Path) -> None:
    listener.accept()[0].close()
    connect(path)


def test_the_owner_of_the_directory_may_be_the_master(
    socket_dir: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listener.fileno() > 0
    path = socket_dir / "x.sock"
    with connect(path) as sock:
        monkeypatch.setattr(os, "getuid", lambda: 4711)
        monkeypatch.setattr(
            socket.socket,
            "getsockopt",
            lambda *_: _credentials(path.parent.stat().st_uid),
        )

        check_server(sock, path)


def _credentials(uid: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in (1, uid, 1))


def test_hello_tells_id_name_and_versions() -> None:
    value = hello("me", "shop").value

    assert value == {"protocol": [1, 1], "client": "me", "name": "shop"}
    assert hello("me", "").value["name"] == f"pid {os.getpid()}"
    assert new_client_id() != new_client_id()


def test_the_terms_are_read_from_welcome() -> None:
    welcome = {"max_frame_bytes": 1, "window_count": 2, "window_bytes": 3, "x": 4}

    assert Terms.read(dict(welcome)) == Terms(1, 2, 3)
    assert Terms.read({**welcome, "allow_pickle": True}).allow_pickle
    assert not Terms.read({**welcome, "allow_pickle": "yes"}).allow_pickle
    assert Terms.read({**welcome, "epoch": 5}).epoch == 5
    with pytest.raises(RemoteProtocolError, match="without limits"):
        Terms.read({"max_frame_bytes": "1"})


def test_a_message_leaves_room_for_what_is_around_it() -> None:
    assert message_limit(65_536) == 61_440


@pytest.mark.parametrize(
    ("failures", "longest"), [(0, 0.05), (1, 0.1), (3, 0.4), (6, 2.0), (10_000, 2.0)]
)
def test_the_pause_doubles_up_to_its_limit_with_jitter(
    failures: int, longest: float
) -> None:
    pauses = {pause(failures) for _ in range(100)}

    assert all(longest / 2 <= seconds < longest for seconds in pauses)
    assert len(pauses) > 1


@pytest.mark.parametrize(
    ("where", "target"),
    [(None, "mule"), (0, "mule"), (3, "mule3"), ("busy", "farm:busy")],
)
def test_a_number_is_a_mule_and_a_name_a_farm(
    where: str | int | None, target: str
) -> None:
    assert target_of(where) == target


def test_a_function_is_meant_by_its_whole_target() -> None:
    assert target_of("func:app:Own.method") == "func:app:Own.method"


@pytest.mark.parametrize("where", [-1, "", "two words", "func:no_module"])
def test_what_is_neither_is_refused(where: str | int) -> None:
    with pytest.raises(ValueError, match="allowed"):
        target_of(where)


def test_a_message_is_bytes_or_text() -> None:
    assert to_bytes("ü") == b"\xc3\xbc"
    assert to_bytes(memoryview(b"ab")) == to_bytes(bytearray(b"ab")) == b"ab"
    with pytest.raises(TypeError, match="message is int"):
        to_bytes(3)  # type: ignore[arg-type]  # what is tested


def test_ids_are_a_range_where_they_can_be() -> None:
    assert join_ids([range(1, 3), range(3, 9)]) == range(1, 9)
    assert join_ids([range(1, 3), range(5, 6)]) == [1, 2, 5]
