"""An option of uWSGI and where it was written, whatever form it was written in."""

from dataclasses import dataclass
from typing import Final

from pymule.errors import ConfigError

__all__ = ("Option", "Origin", "is_on", "new_option")

_OFF: Final = frozenset({"false", "off", "no", "0"})


@dataclass(frozen=True, slots=True)
class Origin:
    """A place that a person can look at; a source without lines has line 0."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Option:
    """One option, in the order of the file.

    Args:
        name: Without dashes in front.
        value: Empty when the option stood alone.
        origin: Where it was written.
        text: It and its value as they were written, on one line.
        doubt: Why its value cannot be known here; else empty.
        condition: Why it does not count for certain; else empty.
        is_placeholder: It is there for ``%(name)`` in other values.
    """

    name: str
    value: str
    origin: Origin
    text: str
    doubt: str = ""
    condition: str = ""
    is_placeholder: bool = False


def new_option(name: str, value: str, origin: Origin) -> Option:
    """Return the option *name* as it was read.

    Raises:
        ConfigError: It has a character that no text has.
    """
    for char in name + value:
        # A surrogate stands for a byte that is not UTF-8.
        if char == "\0" or "\ud800" <= char <= "\udfff":
            raise ConfigError(f"{origin}: found {char!r} in {name!r}; allowed: text")
    return Option(name, value, origin, f"{name} = {value}" if value else name)


def is_on(value: str) -> bool:
    """Tell whether a flag with *value* is switched on; alone it is."""
    return value.lower() not in _OFF
