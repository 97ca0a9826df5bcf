"""Notes that outlive their writers: one write(2) for each thing that happened.

A line is the name of an entry and its fields. The file is opened for appending, so
that many processes may share it and a SIGKILL leaves whole lines.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final, NamedTuple

from tests.chaos.history import Attempt, Confirm, Entry, Kind, Refuse, Settle, Take

__all__ = ("Body", "Notes", "parse", "read", "to_line")

_KINDS: Final[dict[str, type[Entry]]] = {
    kind.__name__: kind for kind in (Attempt, Confirm, Refuse, Take, Settle)
}
_READ: Final[dict[object, Callable[[str], object]]] = {
    str: str,
    int: int,
    bool: lambda word: word == "1",
    Kind: Kind,
}
_READERS: Final = {
    name: [_READ[field.type] for field in fields(kind)] for name, kind in _KINDS.items()
}


def to_line(entry: Entry) -> str:
    """Return *entry* as a line; texts have no spaces."""
    values = (getattr(entry, field.name) for field in fields(entry))
    words = (int(value) if isinstance(value, bool) else value for value in values)
    return " ".join((type(entry).__name__, *map(str, words)))


def parse(line: str) -> Entry:
    """Return the entry that became *line*."""
    name, *words = line.split(" ")
    readers = _READERS[name]
    make: Callable[..., Entry] = _KINDS[name]
    return make(*(reader(word) for reader, word in zip(readers, words, strict=True)))


class Notes:
    """A file to append entries to; open for the life of the process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, entry: Entry) -> None:
        """Append *entry*; it is in the file when this returns."""
        os.write(self._fd, f"{to_line(entry)}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read(paths: Iterable[Path]) -> Iterator[Entry]:
    """Yield the entries of all files that exist."""
    for path in paths:
        if path.exists():
            with path.open() as lines:
                yield from (parse(line.rstrip("\n")) for line in lines)


class Body(NamedTuple):
    """What a message says: who sent it, its number, where to, and a sum over that."""

    sender: str
    counter: int
    queue: str

    def pack(self) -> bytes:
        """Return the bytes of the message."""
        text = f"{self.sender} {self.counter} {self.queue}"
        return f"{text} {_sum(text)}".encode()

    @classmethod
    def unpack(cls, data: bytes) -> "Body | None":
        """Return what was packed, or ``None`` if that is not it."""
        text, _, digest = data.decode(errors="replace").rpartition(" ")
        if digest != _sum(text):
            return None
        sender, counter, queue = text.split(" ")
        return cls(sender, int(counter), queue)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
