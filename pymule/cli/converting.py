"""From the words of ``pymule convert`` to the text that it writes."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from pymule.cli.entry import complain, write
from pymule.cli.exits import ExitCode
from pymule.convert.assembly import assemble
from pymule.convert.command_line import read_command_line
from pymule.convert.conversion import Conversion, convert
from pymule.convert.formats import read_file, read_text, split_section
from pymule.convert.magic import Magic
from pymule.convert.option import Option
from pymule.convert.options import Reason
from pymule.convert.surroundings import MAX_BYTES, Surroundings, decoded
from pymule.convert.writer import write_toml
from pymule.errors import ConfigError

__all__ = ("convert_words",)

_STDIN: Final = "-"
# What there is to call when it is no file.
_COMMAND_LINE: Final = "a command line"
_PIPE: Final = "stdin"


def convert_words(
    words: Sequence[str],
    *,
    form: str,
    output: Path | None,
    force: bool,
    with_uwsgi: bool,
) -> None:
    """Convert the file, or the command line, that *words* are.

    Args:
        words: One is a file; more, or one that begins with a dash, a command line.
        form: Of the file; empty to find out.
        output: Where to write; ``None`` is stdout.
        force: Write there even if there is something.
        with_uwsgi: Let the programs ``import uwsgi``.

    Raises:
        typer.Exit: It failed; the reason was said, and the status tells its kind.
    """
    surroundings = Surroundings(os.environ, Path.cwd())
    try:
        name, options, magic = _read(words, form, surroundings)
        is_file = name not in (_COMMAND_LINE, _PIPE)
        assembly = assemble(options, surroundings, magic, name if is_file else "")
        conversion = convert(assembly, surroundings, with_uwsgi=with_uwsgi)
    except ConfigError as exc:
        complain(str(exc))
        raise typer.Exit(ExitCode.BAD_CONFIG) from None
    text = write_toml(conversion, name)
    if output is None:
        _to_stdout(text)
    else:
        _to_file(text, output, force=force)
    _report(conversion, name)


def _read(
    words: Sequence[str], form: str, surroundings: Surroundings
) -> tuple[str, list[Option], Magic | None]:
    first, *more = words
    if first == _STDIN and not more:
        text = decoded(sys.stdin.buffer.read(MAX_BYTES + 1), _PIPE)
        magic = Magic(None)
        return _PIPE, read_text(text, _PIPE, form=form, magic=magic), magic
    if more or first.startswith("-"):
        return _COMMAND_LINE, read_command_line(words), None
    path, section = split_section(first, surroundings)
    options = read_file(first, surroundings, form=form)
    magic = Magic.of_file(surroundings.absolute(path), path, section)
    return first, options, magic


def _to_stdout(text: str) -> None:
    # TOML is UTF-8 wherever it is written.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    write(text)


def _to_file(text: str, path: Path, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise typer.BadParameter(f"{path} exists; --force overwrites it") from None
    except OSError as exc:
        complain(f"{path}: cannot be written: {exc.strerror}")
        is_refused = isinstance(exc, PermissionError)
        code = ExitCode.NOT_ALLOWED if is_refused else ExitCode.UNCLEAN
        raise typer.Exit(code) from None


def _report(conversion: Conversion, name: str) -> None:
    for hint in conversion.hints:
        complain(f"{name}: {hint}")
    doubts = sum(note.reason is Reason.DOUBT for note in conversion.notes)
    if doubts:
        complain(f"{name}: {doubts} to look at first, named at the top of the file")
