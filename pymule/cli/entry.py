"""What both commands begin and end with: a parser, and an exit status."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from typing import Final

import typer

from pymule.cli.exits import ExitCode
from pymule.version import VERSION

__all__ = (
    "complain",
    "is_coloured",
    "json_text",
    "run_app",
    "show_version",
    "version_line",
    "write",
    "write_bytes",
    "write_json",
)

# typer's, for bad usage; ours never end with it, so it cannot mean anything else.
_TYPERS_USAGE: Final = 2


def run_app(app: typer.Typer, arguments: Sequence[str], name: str) -> int:
    """Parse *arguments* of the program *name*, run what they ask for.

    Returns:
        The exit status; what went wrong was said on stderr.
    """
    status: object = None
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name=name)
    except SystemExit as exc:
        status = exc.code
    if status == _TYPERS_USAGE:
        return ExitCode.USAGE
    # As the interpreter has it: None is success, a text is a failure.
    return status if isinstance(status, int) else int(status is not None)


def version_line(name: str) -> str:
    """Return what ``--version`` of the program *name* shows."""
    return f"{name} {VERSION} (Python {platform.python_version()})"


def show_version(context: typer.Context, is_asked: bool) -> None:  # noqa: FBT001  (a callback of typer)
    """Show the version and exit, if the option was given."""
    if is_asked:
        write(f"{version_line(str(context.info_name))}\n")
        raise typer.Exit


def write(text: str) -> None:
    """Write *text* to stdout now; end the command if nobody reads any more."""
    try:
        sys.stdout.write(_writable(text))
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(_reader_gone()) from None


def write_bytes(data: bytes) -> None:
    """Write *data* to stdout as it is; end the command if nobody reads any more."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise typer.Exit(_reader_gone()) from None


def _writable(text: str) -> str:
    r"""Return *text* with ``\udc80`` for what stdout cannot encode."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_json(value: object) -> None:
    """Write *value* to stdout as JSON for programs and people."""
    write(json_text(value, indent=2) + "\n")


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return *value* as JSON in ASCII that cannot drive a terminal."""
    # The one control character that json leaves as it is, and only in texts.
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def is_coloured() -> bool:
    """Whether stdout is a terminal that shows colours, and they are wanted."""
    has_colours = os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    return has_colours and sys.stdout.isatty()


def complain(text: str) -> None:
    """Say on stderr what went wrong; nothing in *text* can drive a terminal."""
    from pymule.master.logs import escape_controls  # noqa: PLC0415  (seldom needed)

    lines = map(escape_controls, f"pymule: {text}".split("\n"))
    sys.stderr.write("\n".join(lines) + "\n")


def _reader_gone() -> ExitCode:
    """Let nothing else fail for want of a reader; return the status that says so."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return ExitCode.BROKEN_PIPE
