"""Ask before something is gone for good."""

import sys

import typer

from pymule.cli.exits import ExitCode

__all__ = ("check_can_ask", "confirm")


def check_can_ask(act: str) -> None:
    """See that there is somebody to ask.

    Args:
        act: What would be asked about, as in "``--yes`` *purges the queue*".

    Raises:
        typer.BadParameter: stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"stdin is no terminal, so nobody can be asked; --yes {act} without asking"
        )


def confirm(question: str) -> None:
    """Go on if the person says yes.

    Raises:
        typer.Exit: The answer was something else, or a Ctrl-C.
    """
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if answer.strip().lower() not in ("y", "yes"):
        sys.stderr.write("pymule: nothing done\n")
        raise typer.Exit(ExitCode.UNCLEAN)
