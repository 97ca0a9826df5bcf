import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.cli.stdin import read_all, read_lines, split_lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


# The commands run on asyncio's own loop and read where it would block, once they know
# that it will not; so these tests start a loop of their own.


def test_everything_is_read_up_to_the_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"a\0b\n")
    os.close(writer)

    assert asyncio.run(read_all(reader)) == b"a\0b\n"


def test_a_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 200_000)

    with (tmp_path / "file").open("rb") as file:
        assert asyncio.run(read_all(file.fileno())) == b"x" * 200_000


def test_a_line_comes_as_soon_as_it_is_whole(pipe: tuple[int, int]) -> None:
    async def main() -> list[list[bytes]]:
        lines = read_lines(reader)
        os.write(writer, b"one\ntw")
        found = [await anext(lines)]
        os.write(writer, b"o\n\nlast")
        found.append(await anext(lines))
        os.close(writer)
        return [*found, *[some async for some in lines]]

    reader, writer = pipe

    assert asyncio.run(main()) == [[b"one"], [b"two", b""], [b"last"]]


def test_waiting_for_input_can_be_cancelled(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        task = asyncio.create_task(read_all(pipe[0]))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line)))
def test_lines_come_out_as_they_went_in(lines: list[bytes]) -> None:
    text = b"".join(line + b"\n" for line in lines)

    assert split_lines(text) == lines


def test_the_last_line_may_lack_its_newline() -> None:
    assert split_lines(b"a\n\nb") == [b"a", b"", b"b"]
