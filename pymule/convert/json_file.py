"""uWSGI's JSON form: ``{"uwsgi": {"mule": ["a.py", "b.py"], "master": true}}``.

The standard reader says whether a text is JSON but not where things stand, and keeps
only the last of several equal keys. So it is asked first, and then the pieces of the
text are walked.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from pymule.convert.option import Option, Origin, new_option
from pymule.errors import ConfigError

__all__ = ("read_json",)

_PIECE: Final = re.compile(r'\n|"(?:\\.|[^"\\])*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_WORDS: Final = {"true": "true", "false": "false", "null": "0"}
# An object in an object: the keys of the section are in the second.
_INSIDE: Final = 2


def read_json(text: str, source: str, section: str) -> list[Option] | None:
    """Return the options of the object *section*, in order; ``None`` without one.

    Raises:
        ConfigError: It is not JSON, or an option is neither a scalar nor a list.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        reason = exc.msg[:1].lower() + exc.msg[1:]
        raise ConfigError(f"{source}:{exc.lineno}: not JSON: {reason}") from None
    except RecursionError:
        raise ConfigError(f"{source}: not JSON: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{source}: not JSON: a number is too long") from None
    return _Walk(source, section).options_of(text)


class _Walk:
    """Where in a text that is known to be JSON the walk has come to."""

    def __init__(self, source: str, section: str) -> None:
        self._source = source
        self._section = section
        self._open: list[str] = []
        self._is_in_section = False
        self._key = ""

    def options_of(self, text: str) -> list[Option] | None:
        """Return what :func:`read_json` does."""
        options: list[Option] = []
        was_found = False
        pieces = list(_pieces(text))
        for index, (piece, line) in enumerate(pieces):
            self._follow(piece, line)
            was_found |= self._is_in_section
            is_key = pieces[index + 1 : index + 2] and pieces[index + 1][0] == ":"
            if is_key:
                if len(self._open) <= _INSIDE:
                    self._key = json.loads(piece)
                    self._enter(pieces[index + 2][0])
            elif self._is_in_section and piece not in "{}[]:,":
                options.append(self._option(piece, line))
        return options if was_found else None

    def _follow(self, piece: str, line: int) -> None:
        if piece in "{[":
            self._open.append(piece)
            inside = self._open[_INSIDE:]
            if self._is_in_section and inside not in ([], ["["]):
                raise ConfigError(
                    f"{self._source}:{line}: found {piece!r} in {self._key!r};"
                    " allowed: a text, a number, true, false or a list of those"
                )
        elif piece in "}]":
            self._open.pop()
            self._is_in_section &= len(self._open) >= _INSIDE

    def _enter(self, following: str) -> None:
        if len(self._open) == 1:
            self._is_in_section = self._key == self._section and following == "{"

    def _option(self, piece: str, line: int) -> Option:
        value = json.loads(piece) if piece[0] == '"' else _WORDS.get(piece, piece)
        return new_option(self._key, value, Origin(self._source, line))


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for piece in _PIECE.findall(text):
        if piece == "\n":
            line += 1
        else:
            yield piece, line
