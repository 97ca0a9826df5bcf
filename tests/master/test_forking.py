"""The master's side of the conversation with a forkserver, which the test plays."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pymule.errors import RemoteProtocolError
from pymule.master.ends import open_ends
from pymule.master.forking import Birth, Forking, News
from pymule.master.spawner import MuleProcess, Spawner, SpawnSpec
from pymule.sansio.forkserver import (
    DESCRIPTORS,
    Broken,
    Fork,
    Forked,
    Loaded,
    NotForked,
    Preload,
    Unfit,
    Word,
    read_word,
    write_word,
)
from pymule.sansio.target import MuleId
from tests.conftest import wait_until

SPEC = SpawnSpec(
    mule=MuleId(3),
    name="busy",
    title="pymule: mule 3 busy",
    cwd=Path("/"),
    env={},
    nice=None,
    umask=None,
    limits={},
    uid=None,
    gid=None,
    board_bytes=4096,
)


@dataclass(eq=False)
class Wish:
    """A birth, and what became of it."""

    forked: list[MuleProcess] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.birth = Birth(
            SPEC, lambda process, _at: self.forked.append(process), self.failed.append
        )


class Play:
    """A forkserver by hand, and what the master made of it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.news: list[News] = []
        self.ends: list[RemoteProtocolError | None] = []
        self.exits: list[int] = []
        self._undo = ExitStack()
        kind = socket.SOCK_SEQPACKET
        ours, theirs = open_ends(kind, 4096, ExitStack(), self._undo)
        self.link = theirs.link
        self.link.settimeout(0)
        # It stands for the process at the other end.
        pidfd = os.pidfd_open(os.getpid())
        process = MuleProcess(MuleId(0), os.getpid(), pidfd, ours, lambda: 0)
        spawner = Spawner(loop, lambda _process, status: self.exits.append(status))
        self.forking = Forking(
            loop,
            process,
            spawner.adopt,
            on_news=self.news.append,
            on_end=self.ends.append,
        )

    def say(self, *words: Word) -> None:
        for word in words:
            self.link.send(write_word(word))

    def hear(self) -> tuple[Word, list[int]]:
        data, fds, _, _ = socket.recv_fds(self.link, 65_536, len(DESCRIPTORS))
        return read_word(data), fds

    def asked(self) -> int:
        """Take an order to fork; return its number."""
        word, fds = self.hear()
        assert isinstance(word, Fork)
        assert word.mule == SPEC.description()
        assert len(fds) == len(DESCRIPTORS)
        for fd in fds:
            os.close(fd)
        return word.number

    def close(self) -> None:
        for birth in self.forking.close():
            birth.on_failed("closed")
        self.forking.process.close()
        self._undo.close()


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    play = Play()
    yield play
    play.close()


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_what_it_says_of_itself_is_passed_on(play: Play) -> None:
    play.forking.preload(Preload(["/srv"], ["app"], uwsgi=False))
    said: list[News] = [Broken({"text": "x"}), Unfit(["thread"]), Loaded()]

    play.say(*said)

    await wait_until(lambda: play.news == said)
    assert play.hear() == (Preload(["/srv"], ["app"], uwsgi=False), [])
    assert play.ends == []


async def test_a_child_that_was_forked_is_a_mule_and_its_end_is_told(
    play: Play,
) -> None:
    wish = Wish()
    child = subprocess.Popen(["sleep", "1000"])  # noqa: ASYNC220, S607  (at once)
    play.forking.fork(wish.birth)
    was_busy = play.forking.is_busy

    play.say(Forked(play.asked(), child.pid))

    await wait_until(lambda: wish.forked)
    (process,) = wish.forked
    assert (process.mule, process.pid, process.returncode) == (3, child.pid, None)
    assert (was_busy, play.forking.is_busy) == (True, False)
    process.kill(signal.SIGTERM)
    await wait_until(lambda: play.exits == [-signal.SIGTERM])
    child.returncode = process.returncode
    process.close()


async def test_a_mule_that_has_ended_already_is_told_with_its_status(
    play: Play,
) -> None:
    wish = Wish()
    child = subprocess.Popen(["sh", "-c", "exit 7"])  # noqa: ASYNC220, S607  (at once)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    play.forking.fork(wish.birth)

    play.say(Forked(play.asked(), child.pid))

    await wait_until(lambda: play.exits == [7])
    child.returncode = 7
    wish.forked[0].close()


async def test_it_is_asked_for_a_few_at_a_time(play: Play) -> None:
    wishes = [Wish() for _ in range(6)]
    for wish in wishes:
        play.forking.fork(wish.birth)
    numbers = [play.asked() for _ in range(4)]
    with pytest.raises(BlockingIOError):
        play.hear()

    play.say(NotForked(numbers[0], "no memory"))

    await wait_until(lambda: wishes[0].failed == ["no memory"])
    numbers.append(play.asked())
    assert numbers == [1, 2, 3, 4, 5]
    assert [wish.failed for wish in wishes[1:]] == [[]] * 5


async def test_who_is_wanted_no_more_is_told_nothing_and_finds_no_master(
    play: Play,
) -> None:
    asked, *others = wishes = [Wish() for _ in range(5)]
    for wish in wishes:
        play.forking.fork(wish.birth)
    number = play.asked()
    before = open_fds()

    play.forking.cancel(asked.birth)
    play.forking.cancel(others[-1].birth)
    # It may have been forked meanwhile. No answer, no new order.
    play.say(Forked(number, 1), Loaded())

    await wait_until(lambda: play.news)
    assert asked.forked == []
    assert asked.failed == others[-1].failed == []
    assert open_fds() < before
    for _ in range(3):
        play.say(NotForked(play.asked(), "x"))
    await wait_until(lambda: others[2].failed)
    assert not play.forking.is_busy


async def test_births_without_an_answer_are_known_at_the_end(play: Play) -> None:
    wishes = [Wish() for _ in range(6)]
    for wish in wishes:
        play.forking.fork(wish.birth)
    play.forking.cancel(wishes[0].birth)
    play.forking.cancel(wishes[5].birth)

    births = play.forking.close()

    assert {id(birth) for birth in births} == {id(w.birth) for w in wishes[1:5]}
    assert not play.forking.is_busy


async def test_hanging_up_is_heard(play: Play) -> None:
    play.forking.hang_up()
    assert play.link.recv(10) == b""
    play.link.close()

    await wait_until(lambda: play.ends == [None])
    play.forking.hang_up()


async def test_a_birth_that_cannot_be_asked_for_fails(play: Play) -> None:
    play.link.close()
    wish = Wish()

    play.forking.fork(wish.birth)

    assert len(wish.failed) == 1
    assert not play.forking.is_busy


@pytest.mark.parametrize(
    "word", [Forked(9, 1), NotForked(9, "x"), Fork(1, {}), Preload([], [], uwsgi=False)]
)
async def test_what_it_must_not_say_ends_the_conversation(
    play: Play, word: Word
) -> None:
    play.say(word)

    await wait_until(lambda: play.ends)
    assert isinstance(play.ends[0], RemoteProtocolError)


async def test_garbage_ends_the_conversation(play: Play) -> None:
    play.link.send(b"\xff")

    await wait_until(lambda: play.ends)
    assert isinstance(play.ends[0], RemoteProtocolError)


async def test_a_process_that_is_no_child_is_not_believed(play: Play) -> None:
    wish = Wish()
    play.forking.fork(wish.birth)

    play.say(Forked(play.asked(), os.getppid()))

    await wait_until(lambda: play.ends)
    assert "is no new child" in str(play.ends[0])
    assert len(wish.failed) == 1
    assert wish.forked == []
