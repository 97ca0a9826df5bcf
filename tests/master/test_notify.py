import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.master.notify import Notifier, listen_fds, watchdog_interval


class Manager:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(0)

    def heard(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(socket_dir: Path) -> Iterator[Manager]:
    manager = Manager(f"{socket_dir}/notify")
    yield manager
    manager.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    notifier = Notifier(manager.address)
    yield notifier
    notifier.close()


def test_the_manager_hears_of_each_step(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("2 mules\nREADY=0")
    assert manager.heard() == "READY=1\nSTATUS=2 mules READY=0"

    notifier.status("busy")
    assert manager.heard() == "STATUS=busy"

    notifier.watchdog()
    assert manager.heard() == "WATCHDOG=1"

    notifier.stopping()
    assert manager.heard() == "STOPPING=1"


def test_a_reload_carries_the_monotonic_time(
    manager: Manager, notifier: Notifier
) -> None:
    before = time.monotonic_ns() // 1000

    notifier.reloading()

    first, usec = manager.heard().split("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(usec) <= time.monotonic_ns() // 1000


def test_an_abstract_address_begins_with_an_at_sign() -> None:
    name = f"pymule-{secrets.token_hex(8)}"
    manager = Manager(f"\0{name}")
    notifier = Notifier(f"@{name}")

    notifier.watchdog()

    assert manager.heard() == "WATCHDOG=1"
    notifier.close()
    manager.close()


def test_the_address_is_taken_out_of_the_environment(
    manager: Manager,
) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "HOME": "/"}

    notifier = Notifier.from_environ(environ)
    notifier.status("here")

    assert manager.heard() == "STATUS=here"
    assert environ == {"HOME": "/"}
    notifier.close()


@pytest.mark.parametrize("address", [None, "/nowhere/notify", "x" * 200])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    notifier = Notifier(address)

    notifier.ready("alone")

    notifier.close()


def test_after_close_nothing_is_said(manager: Manager, notifier: Notifier) -> None:
    notifier.close()
    notifier.watchdog()

    with pytest.raises(BlockingIOError):
        manager.heard()


def test_a_manager_that_does_not_listen_does_not_block(
    manager: Manager, notifier: Notifier
) -> None:
    for _ in range(10_000):
        notifier.watchdog()

    assert manager.heard() == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_is_in_seconds_and_for_one_process(
    environ: dict[str, str], interval: float | None
) -> None:
    assert watchdog_interval(environ, 7) == interval


def a_range_of_fds(*fds: int) -> int:
    """Copy *fds* side by side, far up, inheritable; return the first."""
    first = 700
    for offset, fd in enumerate(fds):
        assert fcntl.fcntl(fd, fcntl.F_DUPFD, first + offset) == first + offset
    return first


def test_inherited_sockets_are_ready_for_a_loop() -> None:
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"}
    with socket.socket() as one, socket.socket(socket.AF_UNIX) as two:
        no_socket = os.open(os.devnull, os.O_RDONLY)
        first = a_range_of_fds(one.fileno(), no_socket, two.fileno())
        os.close(no_socket)

    sockets = listen_fds(environ, 7, first_fd=first)

    assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_UNIX]
    assert not any(sock.get_inheritable() or sock.getblocking() for sock in sockets)
    assert environ == {}
    os.close(first + 1)
    for sock in sockets:
        sock.close()


def test_the_sockets_of_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": "8", "LISTEN_FDS": "1"}

    assert listen_fds(environ, 7) == []
    assert environ == {}


def test_a_count_beyond_what_is_open_ends_there() -> None:
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "1000000000"}

    assert listen_fds(environ, 7, first_fd=900) == []


def test_without_activation_there_are_no_sockets() -> None:
    assert listen_fds({}, 7) == []
