"""Where each key of a TOML text stands, so that an error can point at it.

``tomllib`` says what the values are but not where. This scanner says where and
nothing else: it walks a text that ``tomllib`` has accepted, so it need not recognise
what is wrong with any other.

A path names a key from the top: ``("mule", 0, "env", "A")`` is ``A`` in the table
``env`` of the first ``[[mule]]``. Tables that are only mentioned (``a`` in ``[a.b]``)
have a place too, the first mention, so the paths are exactly those of the values.
"""

import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

__all__ = ("KeyPath", "Mark", "Place", "index_toml")

KeyPath = tuple[str | int, ...]
"""Keys and positions in arrays, from the top of the document."""

_SPACE: Final = re.compile(r"[ \t]*")
_GAP: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY: Final = re.compile(r'"(?:\\.|[^"\\])*"|' r"'[^']*'|[A-Za-z0-9_-]+")
# Up to two quotes may stand just before the three that close a multi-line string.
_STRING: Final = re.compile(
    r'"""(?:\\.|[^"\\]|"{1,2}(?!"))*"{3,5}|'
    r"'''(?:[^']|'{1,2}(?!'))*'{3,5}|"
    r'"(?:\\.|[^"\\])*"|'
    r"'[^']*'",
    re.DOTALL,
)
# A number, a boolean or a date; a date may have a space in it.
_BARE: Final = re.compile(r"[^,\]}#\n]+")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position as editors count it: both from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value begin.

    The value of a table is its header's bracket or its brace; an element of an array
    has no key, so there both are the same.
    """

    key: Mark
    value: Mark


def index_toml(text: str) -> dict[KeyPath, Place]:
    """Map every key path of *text* to its place, in the order of first mention.

    Args:
        text: A document that ``tomllib.loads`` accepts; lines may end in CR LF.

    Raises:
        ValueError: The text is not TOML (not every fault is noticed).
        RecursionError: Arrays are nested about as deep as ``tomllib`` refuses too.
    """
    try:
        return _Scanner(text.replace("\r\n", "\n")).scan()
    except IndexError:
        raise ValueError("not TOML: the text ends too early") from None


class _Scanner:
    """Recursive descent over the text; ``_at`` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        # Offsets of the key and of the value.
        self._offsets: dict[KeyPath, tuple[int, int]] = {}
        # How many [[headers]] an array of tables has had so far.
        self._counts: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, Place]:
        table: KeyPath = ()
        self._take(_GAP)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._take(_GAP)
        ends = [match.start() for match in re.finditer("\n", self._text)]
        return {
            path: Place(_mark(key, ends), _mark(value, ends))
            for path, (key, value) in self._offsets.items()
        }

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"not TOML at offset {self._at}")
        self._at = match.end()
        return match[0]

    def _key(self) -> list[tuple[str, int]]:
        """Read a key, dotted or not, as its parts and their offsets."""
        parts = []
        while True:
            self._take(_SPACE)
            start = self._at
            raw = self._take(_KEY)
            parts.append((_unquoted(raw), start))
            self._take(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _header(self) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]``; return the path of the keys that follow."""
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        *parents, (name, offset) = self._key()
        self._at += brackets
        path: KeyPath = ()
        for parent, at in parents:
            path = (*path, parent)
            self._offsets.setdefault(path, (at, start))
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        path = (*path, name)
        if brackets == 1:
            self._offsets[path] = (offset, start)
            return path
        self._offsets.setdefault(path, (offset, start))
        position = self._counts.get(path, 0)
        self._counts[path] = position + 1
        path = (*path, position)
        self._offsets[path] = (offset, start)
        return path

    def _pair(self, table: KeyPath) -> None:
        path, offset = table, self._at
        for name, offset in self._key():
            path = (*path, name)
            self._offsets.setdefault(path, (offset, offset))
        self._at += len("=")
        self._take(_SPACE)
        self._offsets[path] = (offset, self._at)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_BARE)

    def _array(self, path: KeyPath) -> None:
        position = 0
        while self._next_item("]"):
            item = (*path, position)
            self._offsets[item] = (self._at, self._at)
            self._value(item)
            position += 1

    def _inline_table(self, path: KeyPath) -> None:
        while self._next_item("}"):
            self._pair(path)

    def _next_item(self, closing: str) -> bool:
        """Go past a bracket or comma; tell whether an item follows, else close."""
        self._take(_GAP)
        # At the end of the text this raises IndexError rather than looping for ever.
        if self._text[self._at] in "[{,":
            self._at += 1
            self._take(_GAP)
        if self._text[self._at] != closing:
            return True
        self._at += 1
        return False


def _unquoted(key: str) -> str:
    if key[0] not in "\"'":
        return key
    return str(tomllib.loads(f"key = {key}")["key"])


def _mark(offset: int, ends: list[int]) -> Mark:
    line = bisect_left(ends, offset)
    start = ends[line - 1] + 1 if line else 0
    return Mark(line + 1, offset - start + 1)
