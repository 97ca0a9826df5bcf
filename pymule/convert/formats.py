"""From the text of a file, in any form that uWSGI reads, to its options."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Final

from pymule.convert.conditions import CLOSING, OPENING
from pymule.convert.ini_file import read_ini, sections_of
from pymule.convert.json_file import read_json
from pymule.convert.magic import Magic
from pymule.convert.option import Option
from pymule.convert.options import INCLUDES, SETTING
from pymule.convert.surroundings import Surroundings
from pymule.convert.xml_file import read_xml
from pymule.convert.yaml_file import read_yaml
from pymule.errors import ConfigError

__all__ = ("FORMS", "form_of", "read_file", "read_text", "split_section")

FORMS: Final = ("ini", "xml", "yaml", "json")
"""The names of the forms."""

_SECTION: Final = "uwsgi"
_LISTING: Final = ";uWSGI instance configuration\n"
_END_OF_LISTING: Final = ";end of configuration"
_BY_SUFFIX: Final = {".yml": "yaml", ".js": "json"} | {
    f".{form}": form for form in FORMS
}
_READERS: Final[dict[str, Callable[[str, str, str], list[Option] | None]]] = {
    "ini": read_ini,
    "xml": read_xml,
    "yaml": read_yaml,
    "json": read_json,
}


def form_of(name: str, text: str) -> str:
    """Return the form of a file by its name, or else by how its text looks."""
    if form := _BY_SUFFIX.get(PurePath(name).suffix.lower()):
        return form
    start = text.lstrip()
    if start.startswith("<"):
        return "xml"
    if start.startswith("{"):
        return "json"
    has_section = re.search(r"^[ \t]*\[.*\][ \t\r]*$", text, re.MULTILINE)
    has_mapping = re.search(rf"^{_SECTION}[ \t]*:", text, re.MULTILINE)
    return "yaml" if has_mapping and not has_section else "ini"


def split_section(name: str, surroundings: Surroundings) -> tuple[str, str]:
    """Split ``FILE:SECTION``; the section is empty if there is none."""
    path, colon, section = name.rpartition(":")
    if not colon or surroundings.is_there(name):
        return name, ""
    return path, section


def read_file(
    name: str, surroundings: Surroundings, *, form: str = "", first: Magic | None = None
) -> list[Option]:
    """Return the options of the file *name*, which may end in ``:SECTION``.

    Args:
        name: As uWSGI takes it, relative to the current directory.
        surroundings: Where the file is.
        form: One of :data:`FORMS`; empty to find out.
        first: The magic of the file that included this one.

    Raises:
        ConfigError: It cannot be read, or is no configuration of uWSGI.
    """
    path, section = split_section(name, surroundings)
    text = surroundings.read(path)
    magic = Magic.of_file(surroundings.absolute(path), path, section, first)
    return read_text(text, path, form=form, section=section, magic=magic)


def read_text(
    text: str, source: str, *, form: str = "", section: str = "", magic: Magic
) -> list[Option]:
    """Return the options of *text*, with its magic variables put in.

    Raises:
        ConfigError: It is no configuration of uWSGI.
    """
    form = form or form_of(source, text)
    if form == "ini" and _LISTING in text:
        return _listed(text, source)
    asked = section or ("" if form == "xml" else _SECTION)
    options = _READERS[form](text, source, asked)
    if not options:
        raise ConfigError(_nothing(text, source, form, section))
    return [_with_magic(option, magic) for option in options]


def _listed(text: str, source: str) -> list[Option]:
    """Return the options of what ``uwsgi --show-config`` prints.

    Everything is put in there already: included files, too, so that what included them
    must not do so again.
    """
    before, _, rest = text.partition(_LISTING)
    above = "\n" * (before.count("\n") + 1)
    lines = above + rest.partition(_END_OF_LISTING)[0]
    done = INCLUDES.keys() | OPENING | CLOSING | SETTING | {"else"}
    options = read_ini(lines, source, _SECTION)
    return [option for option in options if option.name not in done]


def _with_magic(option: Option, magic: Magic) -> Option:
    value, doubt = magic.put_into(option.value)
    return replace(option, value=value, doubt=option.doubt or doubt)


def _nothing(text: str, source: str, form: str, section: str) -> str:
    wanted = {
        "ini": f"section [{section or _SECTION}]",
        "xml": f"element <{_SECTION}>",
    }.get(form, f"key {section or _SECTION!r}")
    line = f"{source}:1: not a configuration of uWSGI: found no {wanted} with options"
    if form == "ini" and (others := sections_of(text)):
        line += f"; there are: {', '.join(f'[{name}]' for name in others[:10])}"
    return f"{line}; another form is --format, another section FILE:SECTION"
