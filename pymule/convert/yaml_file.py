"""uWSGI's YAML form: a flat mapping under ``uwsgi:``, in which keys come again.

uWSGI itself reads no more of YAML than lines ``key: value``, and lists where it was
built with a library for them. The rest of the file belongs to others and may be any
YAML: a line that begins at the margin ends the section.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from pymule.convert.option import Option, Origin, new_option
from pymule.errors import ConfigError

__all__ = ("read_yaml",)

_QUOTED: Final = r'"(?:\\.|[^"\\])*"|' r"'(?:[^']|'')*'"
_PAIR: Final = re.compile(rf"({_QUOTED}|[^\s'\"\[\]{{}}#:-][^:]*):(.*)")
# A comment begins with a space before it, or is the line.
_PLAIN: Final = re.compile(r"(?:(?!\s#).)*")
_ITEM: Final = re.compile(rf"\s*({_QUOTED}|[^,\[\]{{}}'\"]*)\s*(?:,|$)")
_BLOCK_TEXT: Final = re.compile(r"[|>][-+0-9]*")
_MARGIN: Final = ("---", "...", "%")


def read_yaml(text: str, source: str, section: str) -> list[Option] | None:
    """Return the options under *section*, in order; ``None`` if it is not there.

    Raises:
        ConfigError: A line of the section is more than uWSGI's form of YAML.
    """
    lines = list(_section_lines(text, section))
    if not lines:
        return None
    return list(_Section(source).options_of(lines[1:]))


def _section_lines(text: str, section: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of the section with their numbers, its head first."""
    is_inside = False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        body = line.lstrip()
        if not body or body.startswith("#"):
            continue
        if body == line and not line.startswith(_MARGIN):
            if is_inside:
                return
            found = _PAIR.fullmatch(line)
            is_inside = found is not None and _scalar(found[1].strip()) == section
        if is_inside:
            yield number, line


class _Section:
    """The lines of one section, read from the first to the last."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._indent = -1
        # The last key if it had no value: that may follow as a list. It stands alone
        # as long as it has a place.
        self._key = ""
        self._alone: Origin | None = None

    def options_of(self, lines: list[tuple[int, str]]) -> Iterator[Option]:
        """Yield the options of *lines*."""
        for number, line in lines:
            origin = Origin(self._source, number)
            body = line.lstrip(" ")
            indent = len(line) - len(body)
            if self._indent < 0:
                self._indent = indent
            if body == "-" or body.startswith("- "):
                yield self._item(body[1:].strip(), indent, origin)
                continue
            yield from self._standing_alone()
            found = _PAIR.fullmatch(body)
            if indent != self._indent or found is None:
                raise _refusal(body, origin)
            yield from self._pair(_scalar(found[1].strip()), found[2].strip(), origin)
        yield from self._standing_alone()

    def _standing_alone(self) -> Iterator[Option]:
        if self._alone is not None:
            yield new_option(self._key, "", self._alone)
            self._alone = None

    def _item(self, value: str, indent: int, origin: Origin) -> Option:
        if not self._key or indent < self._indent or _is_more(value):
            raise _refusal(f"- {value}", origin)
        self._alone = None
        return new_option(self._key, _scalar(value), origin)

    def _pair(self, key: str, value: str, origin: Origin) -> Iterator[Option]:
        self._key = ""
        if not value or value.startswith("#"):
            self._key, self._alone = key, origin
            return
        items = _flow_items(value) if value.startswith("[") else None
        if items is None and _is_more(value):
            raise _refusal(value, origin)
        for item in [_scalar(value)] if items is None else items:
            yield new_option(key, item, origin)


def _refusal(found: str, origin: Origin) -> ConfigError:
    return ConfigError(
        f"{origin}: found {found!r}; allowed in this section: 'key: value',"
        " 'key: [value, value]', or 'key:' and below it '- value'"
    )


def _is_more(value: str) -> bool:
    """Tell whether *value* is of YAML, but more than a text on one line."""
    plain = _PLAIN.match(value)
    return value.startswith(("{", "[")) or (
        plain is not None and _BLOCK_TEXT.fullmatch(plain[0].strip()) is not None
    )


def _scalar(text: str) -> str:
    """Return the value of a scalar, without its quotes and the comment after it."""
    quoted = re.match(_QUOTED, text)
    if quoted is None:
        plain = _PLAIN.match(text)
        return plain[0].rstrip() if plain else ""
    if text[0] == "'":
        return quoted[0][1:-1].replace("''", "'")
    try:
        return str(json.loads(quoted[0]))
    except ValueError:
        # An escape that only YAML has.
        return quoted[0][1:-1]


def _flow_items(text: str) -> list[str] | None:
    """Return the items of ``[a, b]``; ``None`` if it is not closed or not flat."""
    plain = text.rstrip()
    if not plain.endswith("]"):
        plain = _scalar(plain)
    if not plain.endswith("]"):
        return None
    inside, items = plain[1:-1].strip(), []
    while inside:
        found = _ITEM.match(inside)
        if found is None:
            return None
        items.append(_scalar(found[1].strip()))
        inside = inside[found.end() :]
    return items
