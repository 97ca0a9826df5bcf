import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from pymule.cli.exporting import export_letters, line_of, opened
from pymule.cli.letters import Filter
from pymule.client.aio import Client
from tests.master.queue_desk import DeskMaster, QueueDesk


def test_a_line_has_the_body_in_base64_and_no_other() -> None:
    row: dict[str, object] = {
        "id": 1,
        "errors": [{"text": "a\x1b\x7f\nb"}],
        "body": "é",
        "body_bytes": 2,
        "body_offset": 0,
        "truncated": False,
    }

    line = line_of(row)

    assert json.loads(line) == {
        "id": 1,
        "errors": [{"text": "a\x1b\x7f\nb"}],
        "body_base64": "w6k=",
    }
    assert line.endswith("}\n")
    assert line[:-1].isprintable()


async def test_dead_letters_are_exported_whole(socket_dir: Path) -> None:
    desk = QueueDesk("mule")
    bodies = [b"a", b"\xff" * 300_000, b""]
    ids = desk.bury("mule", *bodies, headers={"a": "b"})
    lines: list[str] = []
    with DeskMaster(socket_dir / "s", desk) as master:
        async with Client(master.path) as client:
            count = await export_letters(client, Filter(), lines.append)

    found = [json.loads(line) for line in lines]
    assert count == 3
    assert [row["id"] for row in found] == ids
    assert [base64.b64decode(row["body_base64"]) for row in found] == bodies
    assert set(found[0]) == {
        "id",
        "queue",
        "reason",
        "attempts",
        "crashes",
        "accepted_at",
        "died_at",
        "options",
        "errors",
        "body_base64",
    }


def test_without_a_file_it_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with opened(None) as put:
        put("line\n")

    assert capsys.readouterr().out == "line\n"


def test_a_file_is_there_when_it_is_whole_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "out"

    with opened(path) as put:
        put("line\n")
        assert not path.exists()

    assert path.read_text() == "line\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208  (names are enough)


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def fail(put: Callable[[str], object]) -> None:
        put("line\n")
        raise typer.Exit(69)

    with pytest.raises(typer.Exit), opened(tmp_path / "out") as put:
        fail(put)

    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.symlink_to("nowhere")

    with pytest.raises(typer.BadParameter, match="out exists"), opened(path):
        raise AssertionError("not reached")


def test_a_file_that_cannot_be_made_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none" / "out"

    with pytest.raises(typer.Exit) as caught, opened(path):
        raise AssertionError("not reached")

    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == (
        f"pymule: {path}: cannot be written: No such file or directory\n"
    )
