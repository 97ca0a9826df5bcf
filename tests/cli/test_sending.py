import asyncio
import os
from pathlib import Path

import pytest

from pymule.cli.sending import batches_of
from tests.cli.conftest import Daemon, run_pymule


def batches(message: str | None, *, is_lines: bool, stdin: bytes) -> list[list[bytes]]:
    async def main() -> list[list[bytes]]:
        found = batches_of(message, reader, is_lines=is_lines)
        return [batch async for batch in found]

    reader, writer = os.pipe()
    try:
        os.write(writer, stdin)
        os.close(writer)
        return asyncio.run(main())
    finally:
        os.close(reader)


def test_a_message_is_what_the_shell_gave() -> None:
    word = os.fsdecode(b"a\xff\nb")

    assert batches(word, is_lines=False, stdin=b"unread") == [[b"a\xff\nb"]]
    assert batches(word, is_lines=True, stdin=b"unread") == [[b"a\xff", b"b"]]
    assert batches("", is_lines=False, stdin=b"unread") == [[b""]]


def test_a_dash_is_stdin_whole_or_in_lines() -> None:
    assert batches("-", is_lines=False, stdin=b"a\nb\n") == [[b"a\nb\n"]]
    assert batches("-", is_lines=True, stdin=b"a\nb\n") == [[b"a", b"b"]]


def test_lines_without_a_message_are_those_of_stdin() -> None:
    assert batches(None, is_lines=True, stdin=b"a\nb") == [[b"a"], [b"b"]]


@pytest.mark.slow
def test_a_refusal_tells_how_many_messages_were_taken_before(
    ready: Daemon, socket_dir: Path
) -> None:
    with (socket_dir / "pymule.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write("max_frame_bytes = 1_048_576\n" + text)
    lines = b"ok\n" + b"x" * 2_000_000

    run_pymule(socket_dir, "reload")
    done = run_pymule(socket_dir, "send", "--lines", stdin=lines)

    assert done.returncode == 65
    assert b"message of 2000000 bytes" in done.stderr
    assert done.stderr.endswith(b"; messages taken before: 1\n")
    assert ready.wait_for("<ok>")
