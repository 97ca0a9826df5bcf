from pathlib import Path

import pytest
import typer

from pymule.cli.daemon_options import JsonOption, SocketOption, TimeoutOption
from pymule.cli.entry import run_app


def test_a_command_that_asks_a_daemon_says_where_and_for_how_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    asked: list[object] = []

    @app.command()
    def command(
        *,
        is_json: JsonOption = False,
        socket: SocketOption = None,
        timeout: TimeoutOption = None,
    ) -> None:
        asked.append((is_json, socket, timeout))

    words = ["--json", "--socket", "s", "--timeout", "0.5"]

    assert run_app(app, words, "x") == run_app(app, [], "x") == 0
    assert run_app(app, ["--timeout", "0"], "x") == 64

    assert asked == [(True, Path("s"), 0.5), (False, None, None)]
    assert "0.001" in capsys.readouterr().err
