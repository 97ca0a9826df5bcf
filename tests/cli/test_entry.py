import io
import json
import sys

import pytest
import typer

from pymule.cli.entry import (
    complain,
    is_coloured,
    json_text,
    run_app,
    show_version,
    version_line,
    write,
    write_bytes,
    write_json,
)
from pymule.version import VERSION


def an_app() -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    def command(status: int = 0, text: str | None = None) -> None:
        if text is not None:
            sys.exit(text)
        raise typer.Exit(status)

    return app


@pytest.mark.parametrize("status", [0, 1, 75, 141])
def test_a_command_ends_as_it_says(status: int) -> None:
    assert run_app(an_app(), [f"--status={status}"], "x") == status


def test_a_text_in_place_of_a_status_is_a_failure() -> None:
    assert run_app(an_app(), ["--text=x"], "x") == 1


def test_bad_usage_is_64_and_says_how_it_is_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_app(an_app(), ["--nonsense"], "prog") == 64

    assert capsys.readouterr().err.startswith("Usage: prog ")


def test_the_version_tells_ours_and_pythons(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(
        *, version: bool = typer.Option(default=False, callback=show_version)
    ) -> None:
        del version

    assert run_app(app, ["--version"], "prog") == 0
    assert run_app(app, [], "prog") == 0
    assert capsys.readouterr().out == f"{version_line('prog')}\n"
    assert version_line("prog").startswith(f"prog {VERSION} (Python 3.")


def test_data_and_complaints_go_different_ways(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("data\n")
    complain("trouble")

    assert capsys.readouterr() == ("data\n", "pymule: trouble\n")


def test_a_complaint_has_lines_and_cannot_drive_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    complain("one\ntwo\x1b[2J")

    assert capsys.readouterr().err == "pymule: one\ntwo\\x1b[2J\n"


def test_what_stdout_cannot_encode_is_written_as_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "latin-1"))

    write("é \udc80 \u20ac")

    assert raw.getvalue() == b"\xe9 \\udc80 \\u20ac"


def test_json_is_ascii_that_cannot_drive_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = {"text": "a\x1b\x7f\x9b\u202e\n"}

    write_json(value)

    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert shown.isascii()
    assert shown.replace("\n", "").isprintable()
    assert json.loads(json_text(value)) == value
    assert "\n" not in json_text(value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("TERM", "dumb", False), ("NO_COLOR", "1", False), ("TERM", "xterm", True)],
)
def test_colours_are_for_terminals_that_have_them(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, expected: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    assert not is_coloured()

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert is_coloured() is expected


def test_bytes_are_written_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))

    write_bytes(b"\xff\x1b\0\r\n")

    assert raw.getvalue() == b"\xff\x1b\0\r\n"
