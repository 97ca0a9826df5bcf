import io
import sys

import pytest
import typer

from pymule.cli.consent import check_can_ask, confirm


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def interrupt(_size: int = -1, /) -> str:
    raise KeyboardInterrupt


class Interrupted(Terminal):
    def __init__(self) -> None:
        super().__init__()
        self.readline = interrupt  # type: ignore[method-assign]


def test_without_a_terminal_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(typer.BadParameter, match="--yes purges the queue without"):
        check_can_ask("purges the queue")

    monkeypatch.setattr(sys, "stdin", Terminal())

    check_can_ask("purges the queue")


@pytest.mark.parametrize("answer", ["y\n", "YES\n", " y "])
def test_a_yes_goes_on(
    answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    confirm("purge 3 messages?")

    assert capsys.readouterr() == ("", "purge 3 messages? [y/N] ")


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yeah\n"])
def test_anything_else_does_nothing(
    answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    with pytest.raises(typer.Exit) as caught:
        confirm("purge?")

    assert caught.value.exit_code == 1
    assert capsys.readouterr().err.endswith("pymule: nothing done\n")


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Interrupted())

    with pytest.raises(typer.Exit) as caught:
        confirm("purge?")

    assert caught.value.exit_code == 130
