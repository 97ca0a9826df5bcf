"""``pymuled``: the daemon's command line."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from pymule.cli.entry import run_app, show_version
from pymule.cli.exits import ExitCode
from pymule.cli.words import MAX_MULES, program_of, with_values
from pymule.config import (
    Settings,
    check_privileges,
    load_settings,
    settings_from_options,
)
from pymule.errors import ConfigError

__all__ = ("main",)

_DEFAULT_FILE: Final = Path("pymule.toml")

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


class LogFormat(StrEnum):
    """The words of ``--log-format``."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The words of ``--log-level``."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Loop(StrEnum):
    """The words of ``--loop``."""

    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from, so that a reload asks the same place.

    Args:
        file: ``None`` when the mules are on the command line.
        is_named: Somebody gave the file's name.
        mules: The values of ``--mule``, in order.
    """

    file: Path | None
    mules: tuple[str | None, ...] = ()
    farms: tuple[str, ...] = ()
    app: str | None = None
    socket: Path | None = None
    log_format: str | None = None
    log_level: str | None = None
    is_named: bool = True

    @property
    def name(self) -> str:
        """What people call it."""
        return "command line" if self.file is None else str(self.file)

    def load(self) -> Settings:
        """Read and check.

        Raises:
            ConfigError: Something is wrong.
        """
        if self.file is None:
            settings = settings_from_options(
                mules=self.mules,
                farms=self.farms,
                app=self.app,
                socket=self.socket,
                log_format=self.log_format,
                log_level=self.log_level,
            )
        else:
            logs = {"log_format": self.log_format, "log_level": self.log_level}
            given = {key: value for key, value in logs.items() if value is not None}
            settings = load_settings(self.file, is_named=self.is_named)
            settings = settings.model_copy(update=given)
        check_privileges(settings, os.geteuid())
        return settings


def main() -> NoReturn:
    """Run ``pymuled`` with the arguments of this process, and exit."""
    _open_standard_descriptors()
    sys.exit(run_app(app, with_values(sys.argv[1:]), "pymuled"))


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file.  [default: pymule.toml]"),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Check the configuration, then exit.")
]
MuleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mule",
        metavar="[=PROGRAM]",
        help="A mule that runs PROGRAM, x.py or pkg.mod:callable;"
        " without one, a mule for signals only. May be repeated.",
    ),
]
MulesOption = Annotated[
    int | None,
    typer.Option(
        "--mules", metavar="N", min=1, max=MAX_MULES, help="N mules for signals only."
    ),
]
FarmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--farm", metavar="NAME:1,2", help="A named set of mules. May be repeated."
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option("--app", metavar="MODULE", help="What mules for signals only import."),
]
SocketOption = Annotated[
    Path | None, typer.Option("--socket", help="Where clients connect.")
]
LogFormatOption = Annotated[
    LogFormat | None, typer.Option("--log-format", help="How to log, on stderr.")
]
LogLevelOption = Annotated[
    LogLevel | None, typer.Option("--log-level", help="What to log at least.")
]
LoopOption = Annotated[
    Loop, typer.Option("--loop", help="The event loop of the master.")
]
VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", callback=show_version, is_eager=True, help="Show the version."
    ),
]


@app.command()
def pymuled(
    *,
    config: ConfigOption = None,
    check: CheckOption = False,
    mule: MuleOption = None,
    mules: MulesOption = None,
    farm: FarmOption = None,
    app_module: AppOption = None,
    socket: SocketOption = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
    loop: LoopOption = Loop.UVLOOP,
    version: VersionOption = False,
) -> None:
    """Start mules and hand them messages, in the foreground.

    The mules are those of a file, pymule.toml unless -c names another, or those of
    the command line, numbered from 1 in their order:

    pymuled --mule --mule=work.py --mule=pkg.mod:run --farm=busy:2,3

    TERM and INT finish what is in hand and stop; HUP reloads; QUIT stops at once.
    """
    # One became --mule before the parser, the other ended the command.
    del mules, version
    words = {"--farm": farm, "--app": app_module, "--socket": socket}
    is_named = config is not None
    if config is not None:
        _refuse_words({"--mule": mule, **words}, "is for a command line without a file")
    elif not mule:
        _refuse_words(words, "is for a command line with mules; add --mule")
        config = _DEFAULT_FILE
    source = Source(
        config,
        tuple(map(program_of, mule or ())),
        tuple(farm or ()),
        app_module,
        socket,
        None if log_format is None else log_format.value,
        None if log_level is None else log_level.value,
        is_named,
    )
    raise typer.Exit(_run(source, loop, is_check=check))


def _refuse_words(words: Mapping[str, object], reason: str) -> None:
    for word, value in words.items():
        if value:
            raise typer.BadParameter(f"{word} {reason}")


def _run(source: Source, loop: Loop, *, is_check: bool) -> ExitCode:
    try:
        settings = source.load()
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        return ExitCode.BAD_CONFIG
    if is_check:
        mules, farms = len(settings.mules()), len(settings.farm)
        sys.stdout.write(f"{source.name}: ok, {mules} mules, {farms} farms\n")
        return ExitCode.OK
    # A --check is for scripts and editors; it must not wait for the master's modules.
    from pymule.cli.startup import serve  # noqa: PLC0415

    title = f"pymuled: master [{source.name}]"
    return serve(settings, source.load, title=title, is_uvloop=loop is Loop.UVLOOP)


def _open_standard_descriptors() -> None:
    """Open what is closed of 0, 1 and 2.

    Else a socket or a log of ours would get their numbers, and whatever prints would
    write into it.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:  # noqa: PLR2004  (stderr)
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
