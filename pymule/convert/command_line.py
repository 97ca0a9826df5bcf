"""uWSGI's command line: the options of a file with two dashes in front.

Which options take a value is told by their names, because ``--master --mule`` and
``--socket :3031`` look alike otherwise. A name that is not known takes the next word,
if that is no option.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final

from pymule.convert.names import FLAGS, LETTERS, OPTIONAL
from pymule.convert.option import Option, Origin, new_option

__all__ = ("read_command_line",)

_HERE: Final = Origin("command line")
# What uWSGI does with a word that is no option, by how it ends.
_BY_SUFFIX: Final = {
    ".ini": "ini",
    ".xml": "xml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".js": "json",
    ".py": "wsgi-file",
    ".wsgi": "wsgi-file",
}


def read_command_line(words: Sequence[str]) -> list[Option]:
    """Return the options of *words*, whether or not the program comes first.

    Raises:
        ConfigError: A word is not text.
    """
    program = words[:1] if words and _is_program(words[0]) else ()
    return list(_options(iter(words[len(program) :])))


def _is_program(word: str) -> bool:
    return not word.startswith("-") and _meaning(word) is None


def _options(words: Iterator[str]) -> Iterator[Option]:
    pending = list(words)[::-1]
    while pending:
        word = pending.pop()
        if word == "--":
            yield from map(_other_word, pending[::-1])
            return
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals and _takes_next(name, pending):
                value = pending.pop()
            yield new_option(name, value, _HERE)
        elif word.startswith("-") and word != "-":
            yield from _letters(word[1:], pending)
        else:
            yield _other_word(word)


def _letters(letters: str, pending: list[str]) -> Iterator[Option]:
    """Read ``-M``, ``-p4``, ``-p 4`` and any number of flags before those."""
    for index, letter in enumerate(letters):
        name = LETTERS.get(letter, letter)
        if name in FLAGS:
            yield new_option(name, "", _HERE)
            continue
        value = letters[index + 1 :]
        if not value and _takes_next(name, pending):
            value = pending.pop()
        yield new_option(name, value, _HERE)
        return


def _takes_next(name: str, pending: Sequence[str]) -> bool:
    if name in FLAGS or name in OPTIONAL or not pending:
        return False
    return not pending[-1].startswith("--")


def _other_word(word: str) -> Option:
    name = _meaning(word)
    return (
        new_option(word, "", _HERE) if name is None else new_option(name, word, _HERE)
    )


def _meaning(word: str) -> str | None:
    path, _, rest = word.rpartition(":")
    for text in (word, path):
        if name := _BY_SUFFIX.get(PurePath(text).suffix):
            return name
    return "module" if path and "." in path and rest else None
