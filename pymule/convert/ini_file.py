"""uWSGI's ini form: ``key = value`` below ``[uwsgi]``; a key may come many times."""

from collections.abc import Iterator

from pymule.convert.option import Option, Origin, new_option

__all__ = ("read_ini", "sections_of")


def read_ini(text: str, source: str, section: str) -> list[Option]:
    """Return the options of *section*, in order; none if there is no such section."""
    return [
        new_option(key, value, Origin(source, line))
        for name, line, key, value in _pairs(text)
        if name == section and key
    ]


def sections_of(text: str) -> list[str]:
    """Return the names of all sections, each once."""
    return list(dict.fromkeys(name for name, _, _, _ in _pairs(text) if name))


def _pairs(text: str) -> Iterator[tuple[str, int, str, str]]:
    """Yield section, line, key and value; a section's header comes with an empty key.

    Only a line feed ends a line, and only a whole line is a comment, as in uWSGI.
    """
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if line.startswith("["):
            section = line[1:-1]
            yield section, number, "", ""
        elif line and not line.startswith((";", "#")):
            key, _, value = line.partition("=")
            yield section, number, key.rstrip(" \t\r"), value.lstrip(" \t\r")
