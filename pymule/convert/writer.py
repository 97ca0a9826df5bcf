"""The text of a converted file: TOML, with a comment for all that is not in it."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from pymule.convert.conversion import Conversion, FarmTable, MuleTable, Note
from pymule.convert.keys import Value
from pymule.convert.options import Reason

__all__ = ("write_toml",)

_HEAD: Final = """\
# Made by pymule convert from {source}.
#
# Try it with: pymuled --check -c FILE
# A relative path begins at the directory of this file. In uWSGI it began where that
# was started, or in its chdir.
"""
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH: Final = 88
_MAX_SHOWN: Final = 200


def write_toml(conversion: Conversion, source: str) -> str:
    """Return the file that says what *conversion* found in *source*."""
    parts = [_HEAD.format(source=_shown(source))]
    parts += [_first(conversion)]
    parts += [
        "".join(f"{_pair(key, value)}\n" for key, value in conversion.top.items())
    ]
    parts += [_mule(table, conversion.each) for table in conversion.mules]
    if not conversion.mules:
        parts += ['#[[mule]]\n#program = "pkg.mod:callable"\n']
    parts += [_farm(table) for table in conversion.farms]
    parts += [
        _group(reason.value, _notes(conversion, reason))
        for reason in Reason
        if reason is not Reason.DOUBT
    ]
    return "\n".join(filter(None, parts))


def _first(conversion: Conversion) -> str:
    lines = [f"#   {_shown(hint)}\n" for hint in conversion.hints]
    return _group(
        Reason.DOUBT.value, [*lines, *_notes(conversion, Reason.DOUBT, is_long=True)]
    )


def _group(heading: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return "".join(_comment(heading)) + "".join(lines)


def _notes(
    conversion: Conversion, reason: Reason, *, is_long: bool = False
) -> list[str]:
    notes = (note for note in conversion.notes if note.reason is reason)
    return [_note(note, is_long=is_long) for note in notes]


def _note(note: Note, *, is_long: bool) -> str:
    line = f"#   {_shown(str(note.option.origin))}: {_shown(note.option.text)}"
    if not note.detail:
        return f"{line}\n"
    between = "\n#     " if is_long else "  -> "
    return f"{line}{between}{_shown(note.detail)}\n"


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH:
            yield f"{line}\n"
            line = "#"
        line += f" {word}"
    yield f"{line}\n"


def _mule(table: MuleTable, each: dict[str, Value]) -> str:
    last = table.first + table.count - 1
    numbers = f"Mule {last}"
    if table.count > 1:
        between = "and" if table.count == 2 else "to"  # noqa: PLR2004  (of two)
        numbers = f"Mules {table.first} {between} {last}"
    origins = ", ".join(dict.fromkeys(map(str, table.origins)))
    keys: dict[str, Value] = {}
    if table.program:
        keys["program"] = table.program
    if table.count > 1:
        keys["count"] = table.count
    lines = [f"# {_shown(f'{numbers}: {origins}')}\n[[mule]]\n"]
    lines += [f"{_pair(key, value)}\n" for key, value in (keys | each).items()]
    return "".join(lines)


def _farm(table: FarmTable) -> str:
    mules = ", ".join(map(str, table.farm.mules))
    return (
        f"# {_shown(str(table.origin))}\n[[farm]]\n"
        f"name = {_string(table.farm.name)}\nmules = [{mules}]\n"
    )


def _pair(key: str, value: Value) -> str:
    line = f"{key} = {_value(value)}"
    if len(line) <= _WIDTH or not isinstance(value, list | dict):
        return line
    if isinstance(value, list):
        return "\n".join(
            [f"{key} = [", *(f"    {_value(item)}," for item in value), "]"]
        )
    # A table in braces has to be one line. Its keys come last in those of a mule.
    pairs = (f"{_key(name)} = {_value(item)}" for name, item in value.items())
    return "\n".join([f"[mule.{key}]", *pairs])


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _string(value)
        case list():
            return f"[{', '.join(map(_string, value))}]"
        case dict():
            return f"{{ {', '.join(_inline(value.items()))} }}"


def _inline(items: Iterable[tuple[str, str | int]]) -> Iterator[str]:
    for name, item in items:
        yield f"{_key(name)} = {_value(item)}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    # What JSON escapes TOML does too, but for this one, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(text: str) -> str:
    """Return *text* for a comment: one line, not long, without what has no shape."""
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}..."
