import sys

import pytest
import typer

from pymule.cli.entry import complain, run_app, show_version, version_line, write
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
