"""uWSGI's XML form: ``<uwsgi><mule>x.py</mule><master/></uwsgi>``.

A document type could define entities that grow without end, and needs none here: it is
refused.
"""

from typing import Final
from xml.parsers import expat

from pymule.convert.option import Option, Origin, new_option
from pymule.errors import ConfigError

__all__ = ("read_xml",)

_TAG: Final = "uwsgi"


def read_xml(text: str, source: str, section: str) -> list[Option] | None:
    """Return the options of the element ``uwsgi``, in order; ``None`` without one.

    Args:
        text: The document; what it says about its encoding does not count.
        source: What people call the file.
        section: The ``id`` of the element, if it is not the outermost and has one;
            empty for the first.

    Raises:
        ConfigError: It is not XML, or more than options needs.
    """
    reader = _Reader(source, section)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.on_doctype
    parser.StartElementHandler = reader.on_start
    parser.EndElementHandler = reader.on_end
    parser.CharacterDataHandler = reader.on_text
    reader.parser = parser
    try:
        parser.Parse(text, True)  # noqa: FBT003  (the standard library's signature)
    except expat.ExpatError as exc:
        reason = expat.ErrorString(exc.code)
        raise ConfigError(f"{source}:{exc.lineno}: not XML: {reason}") from None
    except UnicodeEncodeError:
        raise ConfigError(f"{source}: not XML: found half a character") from None
    return reader.options if reader.was_found else None


class _Reader:
    """What has been found so far."""

    parser: expat.XMLParserType

    def __init__(self, source: str, section: str) -> None:
        self._source = source
        self._section = section
        self._depth = 0
        # How deep the element that was asked for is; 0 when outside of it.
        self._root = 0
        # The option being read: where it begins, and its text.
        self._start = Origin(source)
        self._text = ""
        self.options: list[Option] = []
        self.was_found = False

    def on_doctype(self, *_: object) -> None:
        raise ConfigError(
            f"{self._here()}: found a document type; allowed: a file without one"
        )

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._root:
            self._begin_option()
        elif not self.was_found and self._is_wanted(name, attributes):
            self._root = self._depth
            self.was_found = True

    def on_end(self, name: str) -> None:
        if self._root and self._depth == self._root + 1:
            self.options.append(new_option(name, self._text.strip(), self._start))
        elif self._depth == self._root:
            self._root = 0
        self._depth -= 1

    def on_text(self, text: str) -> None:
        if self._root and self._depth > self._root:
            self._text += text

    def _begin_option(self) -> None:
        # The old <app> has elements in it; their text is its value.
        if self._depth == self._root + 1:
            self._start = self._here()
            self._text = ""

    def _is_wanted(self, name: str, attributes: dict[str, str]) -> bool:
        asked, given = self._section, attributes.get("id", "")
        return name == _TAG and (
            self._depth == 1 or not asked or not given or asked == given
        )

    def _here(self) -> Origin:
        return Origin(self._source, self.parser.CurrentLineNumber)
