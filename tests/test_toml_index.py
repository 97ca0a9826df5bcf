import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pymule.toml_index import KeyPath, Mark, Place, index_toml

SCALARS: Final = [
    "0",
    "-17",
    "0o660",
    "1_000",
    "6.5e-3",
    "inf",
    "true",
    "1979-05-27T07:32:00Z",
    "1979-05-27 07:32:00",
    "07:32:00",
    '""',
    "''",
    '"# no comment ] } , = [x]"',
    "'C:\\'",
    r'"\"quoted\\"',
    r'"\u00e9"',
    '"""one"""',
    '"""""two quotes, then text"""',
    '"""a quote"" at the end"""""',
    '"""lines\n[no.table]\nkey = 1\n\\"""\\\n  joined"""',
    "'''lines\n# no comment\n''quoted'' ''''",
    "'''\n[[no.array]]\n'''''",
]
BARE_KEYS: Final = ["a", "b", "c-d", "1", "true", "_"]
QUOTED_KEYS: Final = ['""', '"a.b"', r'"\""', "'#'", "'\"'", '"="', '"[x]"', "'é'"]


@dataclass(frozen=True)
class Scalar:
    text: str


@dataclass(frozen=True)
class Array:
    items: list["Value"]


@dataclass(frozen=True)
class Inline:
    items: dict[str, "Value"]


@dataclass(frozen=True)
class Dotted:
    """A table written as ``name.key = value``, a key a line."""

    items: dict[str, Scalar]


@dataclass(frozen=True)
class Table:
    """A table under a header, which may be left out if it has only tables."""

    items: dict[str, "Node"]
    implicit: bool

    def needs_no_header(self) -> bool:
        nodes = self.items.values()
        return (
            self.implicit
            and len(nodes) > 0
            and all(isinstance(node, Table | Tables) for node in nodes)
        )


@dataclass(frozen=True)
class Tables:
    """An array of tables."""

    items: list[Table]


Value = Scalar | Array | Inline
Node = Value | Dotted | Table | Tables

T = TypeVar("T")

# Drawing a document takes most of the time, more on a loaded machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

keys = st.sampled_from(BARE_KEYS + QUOTED_KEYS)
gaps = st.sampled_from(["", " ", "\t ", "\n", " # ] } ' \"\n", "\n\n  # = [a]\n "])
spaces = st.sampled_from(["", " ", "\t "])
scalars = st.sampled_from(SCALARS).map(Scalar)


def keyed(
    nodes: st.SearchStrategy[T], least: int = 0
) -> st.SearchStrategy[dict[str, T]]:
    """Tables without two spellings of one key."""
    return st.dictionaries(keys, nodes, min_size=least, max_size=4).filter(
        lambda items: len({spelled(key) for key in items}) == len(items)
    )


def spelled(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 1")))


values = st.recursive(
    scalars,
    lambda inner: (
        st.builds(Array, st.lists(inner, max_size=3)) | st.builds(Inline, keyed(inner))
    ),
    max_leaves=6,
)


def tables(depth: int) -> st.SearchStrategy[Table]:
    nodes: st.SearchStrategy[Node] = values | st.builds(Dotted, keyed(scalars, least=1))
    if depth:
        inner = tables(depth - 1)
        many = st.builds(Tables, st.lists(inner, min_size=1, max_size=3))
        nodes = nodes | inner | many
    return st.builds(Table, keyed(nodes), st.booleans())


class Writer:
    """Spells a table as TOML; where there is a choice, hypothesis makes it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []

    def gap(self) -> str:
        return self.draw(gaps)

    def space(self) -> str:
        return self.draw(spaces)

    def key(self, path: list[str]) -> str:
        return f"{self.space()}.{self.space()}".join(path)

    def value(self, value: Value) -> str:
        match value:
            case Scalar(text):
                return text
            case Array(items):
                return f"[{self.gap()}{self.listed(items)}{self.gap()}]"
            case Inline(pairs):
                inside = f"{self.space()},{self.space()}".join(
                    self.pair([key], item) for key, item in pairs.items()
                )
                return f"{{{self.space()}{inside}{self.space()}}}"

    def listed(self, items: list[Value]) -> str:
        text = f"{self.gap()},{self.gap()}".join(map(self.value, items))
        has_last_comma = self.draw(st.booleans())
        return f"{text}{self.gap()}," if items and has_last_comma else text

    def pair(self, path: list[str], value: Value) -> str:
        return f"{self.key(path)}{self.space()}={self.space()}{self.value(value)}"

    def line(self, text: str) -> None:
        comment = self.draw(st.sampled_from(["", "# x = 1"]))
        self.lines.append(f"{self.space()}{text}{self.space()}{comment}")

    def header(self, path: list[str], brackets: int) -> None:
        inside = f"{self.space()}{self.key(path)}{self.space()}"
        self.line(f"{'[' * brackets}{inside}{']' * brackets}")

    def table(self, table: Table, path: list[str]) -> None:
        for key, node in table.items.items():
            if isinstance(node, Dotted):
                for part, scalar in node.items.items():
                    self.line(self.pair([key, part], scalar))
            elif isinstance(node, Scalar | Array | Inline):
                self.line(self.pair([key], node))
        for key, node in table.items.items():
            if isinstance(node, Table):
                if not node.needs_no_header():
                    self.header([*path, key], 1)
                self.table(node, [*path, key])
            elif isinstance(node, Tables):
                for item in node.items:
                    self.header([*path, key], 2)
                    self.table(item, [*path, key])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw a document in which every construct of TOML may stand anywhere."""
    writer = Writer(draw)
    writer.table(draw(tables(depth=3)), [])
    newline = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    return newline.join([writer.gap(), *writer.lines, ""])


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from paths(item, (*path, position))


def value_at(document: object, path: KeyPath) -> object:
    for part in path:
        assert isinstance(document, dict | list)
        document = document[part]  # type: ignore[index]  # a key or a position
    return document


def text_from(text: str, mark: Mark) -> str:
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join([lines[mark.line - 1][mark.column - 1 :], *lines[mark.line :]])


@patient
@given(documents())
def test_the_paths_are_exactly_those_of_tomllib(text: str) -> None:
    document = tomllib.loads(text)

    index = index_toml(text)

    assert sorted(index, key=repr) == sorted(paths(document), key=repr)


@patient
@given(documents())
def test_each_place_is_where_the_key_and_the_value_begin(text: str) -> None:
    document = tomllib.loads(text)

    for path, place in index_toml(text).items():
        if isinstance(path[-1], str):
            found = re.match(
                r'"(?:\\.|[^"\\])*"|' r"'[^']*'|[\w-]+", text_from(text, place.key)
            )
            assert found
            assert spelled(found[0]) == path[-1]
        value = value_at(document, path)
        rest = text_from(text, place.value)
        if isinstance(value, dict | list):
            continue
        # The first end that gives a whole value gives this one, or a shorter number.
        assert any(
            reads_as(rest[:end], value) for end in range(1, min(len(rest), 80) + 1)
        )


def reads_as(text: str, value: object) -> bool:
    try:
        return tomllib.loads(f"k = {text}") == {"k": value}
    except tomllib.TOMLDecodeError:
        return False


def at(line: int, column: int, value_line: int, value_column: int) -> Place:
    return Place(Mark(line, column), Mark(value_line, value_column))


def test_a_key_and_its_value_have_their_own_places() -> None:
    index = index_toml("# top\n  count =   2 # two\n")

    assert index == {("count",): at(2, 3, 2, 13)}


def test_a_header_places_its_table_and_its_first_mention_the_tables_around() -> None:
    index = index_toml("[a.b]\nx = 1\n\n[a]\n")

    assert index == {
        ("a",): at(4, 2, 4, 1),
        ("a", "b"): at(1, 4, 1, 1),
        ("a", "b", "x"): at(2, 1, 2, 5),
    }


def test_each_table_of_an_array_has_its_own_header() -> None:
    index = index_toml("[[mule]]\n[mule.env]\nA = 'x'\n[[mule]]\nenv.B = 'y'\n")

    assert index == {
        ("mule",): at(1, 3, 1, 1),
        ("mule", 0): at(1, 3, 1, 1),
        ("mule", 0, "env"): at(2, 7, 2, 1),
        ("mule", 0, "env", "A"): at(3, 1, 3, 5),
        ("mule", 1): at(4, 3, 4, 1),
        ("mule", 1, "env"): at(5, 1, 5, 1),
        ("mule", 1, "env", "B"): at(5, 5, 5, 9),
    }


def test_arrays_of_tables_nest() -> None:
    index = index_toml("[[a]]\n[[a.b]]\n[[a.b]]\n[[a]]\n[[a.b]]\n")

    assert set(index) == {
        ("a",),
        ("a", 0),
        ("a", 0, "b"),
        ("a", 0, "b", 0),
        ("a", 0, "b", 1),
        ("a", 1),
        ("a", 1, "b"),
        ("a", 1, "b", 0),
    }


def test_items_of_arrays_and_inline_tables_are_placed_over_many_lines() -> None:
    index = index_toml("a = [ # one\n  1,\n  { b = 2, 'c d'.e = 3 },\n]\n")

    assert index == {
        ("a",): at(1, 1, 1, 5),
        ("a", 0): at(2, 3, 2, 3),
        ("a", 1): at(3, 3, 3, 3),
        ("a", 1, "b"): at(3, 5, 3, 9),
        ("a", 1, "c d"): at(3, 12, 3, 12),
        ("a", 1, "c d", "e"): at(3, 18, 3, 22),
    }


def test_columns_count_characters_and_lines_may_end_in_cr_lf() -> None:
    index = index_toml("'é' = 'ü'\r\n'ö' = 1\r\n")

    assert index == {("é",): at(1, 1, 1, 7), ("ö",): at(2, 1, 2, 7)}


def test_an_empty_text_has_no_keys() -> None:
    assert index_toml("") == {}
    assert index_toml("# nothing\n\n") == {}


@pytest.mark.parametrize("text", ["a", "a =", "a = [1", "a = {", "[a", "= 1", "a = ,"])
def test_a_text_that_is_not_toml_ends_in_an_error_and_not_in_a_loop(text: str) -> None:
    with pytest.raises(ValueError, match="not TOML"):
        index_toml(text)


def test_text_that_would_exhaust_the_stack_says_so() -> None:
    with pytest.raises(RecursionError):
        index_toml(f"a = {'[' * 100_000}")
