import asyncio
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pymule.master.hangups import Hangups
from tests.conftest import wait_until

Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    pairs = [socket.socketpair() for _ in range(3)]
    yield pairs
    for pair in pairs:
        for end in pair:
            end.close()


async def test_the_end_is_told_and_nothing_else(pairs: Pairs) -> None:
    gone: list[int] = []
    hangups = Hangups(asyncio.get_running_loop())
    for number, (ours, _) in enumerate(pairs):
        hangups.watch(ours.fileno(), partial(gone.append, number))

    for _, theirs in pairs:
        theirs.send(b"unread")
    pairs[1][1].close()
    await wait_until(lambda: gone)
    pairs[0][1].shutdown(socket.SHUT_WR)
    await wait_until(lambda: len(gone) == 2)

    assert gone == [1, 0]
    hangups.forget(pairs[2][0].fileno())


async def test_what_is_forgotten_is_not_told(pairs: Pairs) -> None:
    gone: list[str] = []
    hangups = Hangups(asyncio.get_running_loop())
    fds = [ours.fileno() for ours, _ in pairs]
    hangups.watch(fds[0], lambda: gone.append("early"))
    hangups.watch(fds[0], lambda: gone.append("late"))
    hangups.watch(fds[1], lambda: gone.append("other"))

    hangups.forget(fds[1])
    hangups.forget(fds[1])
    pairs[1][1].close()
    pairs[0][1].close()
    await wait_until(lambda: gone)

    assert gone == ["late"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_open_when_nobody_is_watched(pairs: Pairs) -> None:
    before = descriptors()
    hangups = Hangups(asyncio.get_running_loop())
    ours = pairs[0][0]
    hangups.watch(ours.fileno(), partial(print, "never"))

    closed = ours.fileno()
    ours.close()
    hangups.forget(closed)
    hangups._heard()

    assert descriptors() == before - 1
