"""Conversions of the samples, the same on every machine.

``python -m tests.convert.harness`` writes what the converter makes of them now; read
the difference before it is committed.
"""

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pymule.convert.assembly import assemble
from pymule.convert.command_line import read_command_line
from pymule.convert.conversion import Conversion, convert
from pymule.convert.formats import read_file, read_text, split_section
from pymule.convert.magic import Magic
from pymule.convert.surroundings import Surroundings
from pymule.convert.writer import write_toml
from pymule.errors import ConfigError

__all__ = (
    "SAMPLES",
    "converted_sample",
    "converted_text",
    "options_of",
    "refusal",
)

HERE: Final = Path(__file__).parent / "samples"
SAMPLES: Final = {
    "galaxy.yml": "galaxy.toml",
    "django.ini": "django.toml",
    "bot.xml:bot": "bot.toml",
    "flask.json": "flask.toml",
    "command.txt": "command.toml",
    "odd.ini": "odd.toml",
}
"""What is converted, and what that has to come to."""

ENVIRON: Final = {"LANG": "C"}


def convert_file(name: str, surroundings: Surroundings) -> str:
    if name.endswith(".txt"):
        words = shlex.split(surroundings.read(name))
        assembly = assemble(read_command_line(words), surroundings, None)
        return write_toml(convert(assembly, surroundings), "a command line")
    path, section = split_section(name, surroundings)
    magic = Magic.of_file(surroundings.absolute(path), path, section)
    options = read_file(name, surroundings)
    assembly = assemble(options, surroundings, magic, name)
    return write_toml(convert(assembly, surroundings), name)


def converted_sample(name: str, directory: Path) -> str:
    """Return what a sample becomes when it is converted in *directory*."""
    shutil.copytree(HERE, directory, dirs_exist_ok=True)
    text = convert_file(name, Surroundings(ENVIRON, directory))
    return text.replace(str(directory.resolve()), "/here")


def converted_text(text: str, *, form: str = "ini", **environ: str) -> Conversion:
    """Return what the text of a file becomes, in the current directory."""
    surroundings = Surroundings(environ, Path.cwd())
    name = f"uwsgi.{form}"
    magic = Magic.of_file(surroundings.absolute(name), name, "")
    options = read_text(text, name, form=form, magic=magic)
    return convert(assemble(options, surroundings, magic, name), surroundings)


def options_of(*lines: str) -> str:
    """Return the text of an ini file with these *lines*."""
    return "\n".join(["[uwsgi]", *lines, ""])


def refusal(read: Callable[[], object]) -> str:
    """Return what *read* is refused with; empty if it is not."""
    try:
        read()
    except ConfigError as exc:
        return str(exc)
    return ""


def write_goldens() -> None:
    for name, golden in SAMPLES.items():
        with tempfile.TemporaryDirectory() as directory:
            (HERE / golden).write_text(converted_sample(name, Path(directory)))


if __name__ == "__main__":
    os.umask(0o022)
    write_goldens()
