import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.master.output import MuleOutput, _LineCutter
from tests.conftest import MS, wait_until


class Lines(list[str]):
    """What was emitted; can be waited for."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()

    def emit(self, line: str) -> None:
        self.append(line)
        self._arrived.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(5000 * MS):
            while len(self) < count:
                self._arrived.clear()
                await self._arrived.wait()


class Pipe:
    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.write_fd, False)
        self._is_ended = False

    def write(self, data: bytes) -> int:
        return os.write(self.write_fd, data)

    def fill(self) -> int:
        """Write until there is no room; return how much there was."""
        written = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                written += self.write(b"x" * 4096)
        return written

    def end(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            os.close(self.write_fd)

    def close(self) -> None:
        self.end()
        os.close(self.read_fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def an_output(
    pipe: Pipe,
    emit: Callable[[str], None],
    *,
    max_line_bytes: int = 8192,
    bytes_per_s: int = 1 << 30,
    is_congested: Callable[[], bool] = lambda: False,
) -> MuleOutput:
    return MuleOutput(
        asyncio.get_running_loop(),
        pipe.read_fd,
        emit,
        max_line_bytes=max_line_bytes,
        bytes_per_s=bytes_per_s,
        is_congested=is_congested,
    )


async def test_lines_arrive_and_the_last_needs_no_newline(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit)

    pipe.write(b"one\ntwo\r\n\nlast")
    pipe.end()

    await lines.wait_for(4)
    assert lines == ["one", "two", "", "last"]
    output.close()


async def test_binary_and_terminal_controls_are_shown_not_obeyed(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit)

    pipe.write(b"\xff\xfe\x00 \x1b[2J \xe2\x80\xae gr\xc3\xbc\xc3\x9f\n")

    await lines.wait_for(1)
    assert lines == ["\\xff\\xfe\\x00 \\x1b[2J \\u202e grüß"]
    output.close()


async def test_a_long_line_is_cut_with_a_mark(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit, max_line_bytes=10)

    pipe.write(b"a" * 10 + b"\n" + b"b" * 30000 + b"\nshort\n")

    await lines.wait_for(3)
    assert lines == ["a" * 10, "b" * 10 + " [29990 bytes more]", "short"]
    output.close()


async def test_a_flood_of_lines_makes_the_mule_wait_and_loses_nothing(
    pipe: Pipe,
) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit, bytes_per_s=1 << 18)

    count = pipe.write(b"\n" * 500)
    await wait_until(lambda: output.is_paused)
    before = len(lines)

    assert 0 < before < count
    await lines.wait_for(count)
    assert lines == [""] * count
    output.close()


async def test_a_flood_without_lines_makes_the_mule_wait_too(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit, bytes_per_s=1000)

    pipe.write(b"x" * 65536)
    await wait_until(lambda: output.is_paused)

    assert pipe.fill() <= 65536
    assert pipe.fill() == 0
    assert lines == []
    output.close()


async def test_a_congested_log_makes_the_mule_wait(pipe: Pipe) -> None:
    lines = Lines()
    is_congested = True
    output = an_output(pipe, lines.emit, is_congested=lambda: is_congested)

    pipe.write(b"one\n")
    await wait_until(lambda: output.is_paused)
    assert lines == []
    is_congested = False

    await lines.wait_for(1)
    pipe.write(b"two\n")
    await lines.wait_for(2)
    assert lines == ["one", "two"]
    output.close()


async def test_the_end_waits_for_a_congested_log(pipe: Pipe) -> None:
    lines = Lines()
    is_congested = True
    output = an_output(pipe, lines.emit, is_congested=lambda: is_congested)

    pipe.write(b"one\nlast")
    pipe.end()
    await wait_until(lambda: output.is_paused)
    is_congested = False

    await lines.wait_for(2)
    assert lines == ["one", "last"]
    assert not output.is_paused


async def test_a_congestion_that_begins_after_the_last_line_stops_the_reading(
    pipe: Pipe,
) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit, is_congested=lambda: len(lines) > 0)

    pipe.write(b"one\n")
    await wait_until(lambda: output.is_paused)

    assert lines == ["one"]
    output.close()


async def test_what_an_ended_mule_left_is_emitted_at_once(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit, bytes_per_s=1, is_congested=lambda: True)
    pipe.write(b"Traceback\n" + b"y" * 40000 + b"\nValueError: bad")
    pipe.end()

    output.drain_now()

    assert lines[0] == "Traceback"
    assert lines[1].endswith(" [31808 bytes more]")
    assert lines[2] == "ValueError: bad"


async def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_drain(
    pipe: Pipe,
) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit)
    pipe.write(b"left")

    output.drain_now()
    output.drain_now()

    assert lines == ["left"]


async def test_of_too_many_lines_left_the_last_are_emitted(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit)
    pipe.write(b"noise\n" * 1500 + b"the reason\n")

    output.drain_now()

    assert lines[0] == "[501 lines not shown]"
    assert lines[-1] == "the reason"
    assert len(lines) == 1001


async def test_nothing_is_emitted_after_close(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit)
    pipe.write(b"one\ntwo\n")

    def close_at_once(line: str) -> None:
        lines.emit(line)
        output.close()

    output._emit = close_at_once
    await lines.wait_for(1)
    output.close()

    assert lines == ["one"]


async def test_a_wakeup_without_bytes_is_harmless(pipe: Pipe) -> None:
    lines = Lines()
    output = an_output(pipe, lines.emit)

    output._readable()

    assert lines == []
    assert not output.is_paused
    output.close()


@given(
    lines=st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)),
    cuts=st.lists(st.integers(0, 400)),
)
def test_any_chopping_of_the_stream_gives_the_same_lines(
    lines: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    whole, chopped = _LineCutter(8), _LineCutter(8)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    whole.feed(stream)
    for start, end in itertools.pairwise(edges):
        chopped.feed(stream[start:end])

    assert list(chopped._whole) == list(whole._whole)
    assert len(whole._whole) == len(lines)
