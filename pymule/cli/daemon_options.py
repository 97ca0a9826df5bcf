"""The options that every command has which asks the daemon."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ("AllOption", "JsonOption", "SocketOption", "TimeoutOption")

SocketOption = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        help="The daemon's socket.  [default: $PYMULE_SOCKET, or where pymuled"
        " puts it by default]",
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="S", min=0.001, help="Give up after so many seconds."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
AllOption = Annotated[
    bool, typer.Option("--all", help="Each line, also of more than 100.")
]
