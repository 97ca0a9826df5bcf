"""``pymule journal``: the files of durable queues, while no daemon has them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pymule.cli.daemon_options import JsonOption
from pymule.cli.entry import complain, write, write_json
from pymule.cli.exits import ExitCode, exit_code_of
from pymule.errors import ConfigError, JournalDamagedError, PymuleError

if TYPE_CHECKING:
    from pymule.master.journal_file import JournalFile
    from pymule.master.journal_lock import JournalLock
    from pymule.master.journal_survey import Survey

__all__ = ("app",)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Check, export, import or repair the journal of a daemon that is stopped.",
)

StateDirOption = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", help="Where the journal is."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration that says where.  [default: pymule.toml]",
    ),
]


@app.command()
def check(
    *,
    state_dir: StateDirOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Read all of it, and tell what is in it.

    The exit status is 65 if something is not what was written.
    """
    from pymule.master.journal_survey import survey  # noqa: PLC0415  (not for --help)

    with _opened(_place(state_dir, config)) as (_, file):
        found = survey(file, is_thorough=True)
        if is_json:
            told = {"path": str(file.path), "bytes": file.path.stat().st_size}
            write_json({**told, **asdict(found)})
        else:
            write(f"{file.path}: ok\n{_counts(found)}")
            if found.lost_commits:
                complain(
                    f"it ends early: {found.lost_commits} transactions that follow"
                    " cannot be read"
                )


@app.command()
def export(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Write to PATH, a new file."
        ),
    ] = None,
    state_dir: StateDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Write everything in it as JSON lines, bodies in base64."""
    from pymule.cli.entry import json_text  # noqa: PLC0415  (not for --help)
    from pymule.cli.exporting import opened  # noqa: PLC0415  (as above)
    from pymule.master.journal_export import export_lines  # noqa: PLC0415  (as above)

    with _opened(_place(state_dir, config)) as (_, file), opened(output) as put:
        for line in export_lines(file):
            put(json_text(line) + "\n")


@app.command(name="import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="What export wrote.", exists=True, dir_okay=False
        ),
    ],
    *,
    state_dir: StateDirOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Add what was exported to a journal, or to a new one.

    Ids that this journal may have given already are replaced by new ones.
    """
    from pymule.master.journal_import import (  # noqa: PLC0415  (not for --help)
        BadLineError,
        import_lines,
    )

    def lines() -> Iterator[str]:
        with file.open(encoding="utf-8") as stream:
            yield from stream

    with _opened(_place(state_dir, config), is_new=True) as (_, journal):
        try:
            done = import_lines(journal, lines)
        except (BadLineError, UnicodeDecodeError, OSError) as exc:
            complain(f"{file}: {exc}; nothing was imported")
            raise typer.Exit(ExitCode.BAD_DATA) from None
    if is_json:
        write_json(asdict(done))
    else:
        write(
            f"imported {done.messages} messages and {done.dead} dead letters,"
            f" {done.renumbered} of them with a new id\n"
        )


@app.command()
def vacuum(
    *,
    state_dir: StateDirOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Check it, and write it anew without its unused space."""
    from pymule.master.journal_start import rebuild  # noqa: PLC0415  (not for --help)

    with _opened(_place(state_dir, config)) as (lock, file):
        file.close()
        before = file.path.stat().st_size
        rebuild(lock)
        after = file.path.stat().st_size
    if is_json:
        write_json({"bytes_before": before, "bytes_after": after})
    else:
        write(f"{before} bytes before, {after} bytes after\n")


@app.command()
def salvage(
    *,
    state_dir: StateDirOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Save what can be read of a damaged journal.

    It goes into a new one; the damaged file is kept under another name. A journal
    without damage stays as it is.
    """
    from pymule.master.journal_salvage import salvage  # noqa: PLC0415  (not for --help)
    from pymule.master.journal_survey import open_whole  # noqa: PLC0415  (as above)

    with _locked(_place(state_dir, config)) as lock:
        try:
            open_whole(lock).close()
        except JournalDamagedError as exc:
            report = salvage(lock, exc.what)
        else:
            write_json({}) if is_json else write("no damage found\n")
            return
    if is_json:
        write_json(asdict(report))
        return
    messages = sum(report.messages.values())
    write(f"damage: {report.damage}\nkept as: {report.kept_as}\n")
    write(f"saved: {messages} messages, {report.dead} dead letters\n")
    for lost in report.lost:
        write(f"lost: {lost}\n")


def _place(state_dir: Path | None, config: Path | None) -> Path:
    if state_dir is not None:
        if config is not None:
            raise typer.BadParameter("--state-dir and --config exclude each other")
        return state_dir
    from pymule.config import load_settings  # noqa: PLC0415  (not for --help)

    path = config or Path("pymule.toml")
    try:
        found = load_settings(path).state_dir
    except ConfigError as exc:
        complain(str(exc))
        raise typer.Exit(ExitCode.BAD_CONFIG) from None
    if found is None:
        complain(f"{path} has no state_dir, so there is no journal")
        raise typer.Exit(ExitCode.BAD_CONFIG)
    return found


@contextmanager
def _locked(state_dir: Path, *, is_new: bool = False) -> Iterator["JournalLock"]:
    """Have the directory for ourselves; end the command with what goes wrong."""
    from pymule.master.journal_file import NAME  # noqa: PLC0415  (not for --help)
    from pymule.master.journal_lock import JournalLock  # noqa: PLC0415  (as above)
    from pymule.master.journal_start import translated  # noqa: PLC0415  (as above)

    if not is_new and not any(state_dir.glob(f"{NAME}*")):
        complain(f"there is no journal in {state_dir}")
        raise typer.Exit(ExitCode.NO_SOCKET)
    try:
        lock = JournalLock.take(state_dir)
        with closing(lock), translated(lock):
            yield lock
    except PymuleError as exc:
        complain(str(exc))
        raise typer.Exit(exit_code_of(exc)) from None


@contextmanager
def _opened(
    state_dir: Path, *, is_new: bool = False
) -> Iterator[tuple["JournalLock", "JournalFile"]]:
    from pymule.master.journal_start import open_file  # noqa: PLC0415  (as above)

    with _locked(state_dir, is_new=is_new) as lock, closing(open_file(lock)) as file:
        yield lock, file


def _counts(found: "Survey") -> str:
    from pymule.cli.table import Column, plain, render_table, size_of  # noqa: PLC0415  (as above)

    columns = (
        Column("QUEUE", plain("name")),
        Column("MESSAGES", plain("messages"), is_number=True),
        Column("DEAD", plain("dead"), is_number=True),
        Column("BYTES", lambda row: size_of(row.get("bytes")), is_number=True),
        Column("STATE", lambda row: "paused" if row.get("is_paused") else "open"),
    )
    rows = [{"name": name, **asdict(one)} for name, one in found.queues.items()]
    return render_table(columns, rows) + "\n" if rows else "it is empty\n"
