"""uWSGI's words for mules, made fit for an option parser.

``--mule`` takes a value or none, and it is the order of ``--mule`` and ``--mules``
together that numbers the mules. Parsers know neither, so both become one option that
always has a value, before any parser sees them.
"""

from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ("MAX_MULES", "program_of", "with_values")

MAX_MULES: Final = 10_000
"""Most mules that one ``--mules`` may ask for."""

# No argument of a process can hold it, so nobody can have meant it.
_NO_PROGRAM: Final = "\0"
_MAX_DIGITS: Final = len(str(MAX_MULES))


def with_values(arguments: Sequence[str]) -> list[str]:
    """Return *arguments* with a value in each ``--mule``, and no ``--mules``.

    ``--mule`` alone, and each of the N in ``--mules N``, ask for a signal-only mule.
    An N that is no number from 1 to :data:`MAX_MULES` is left for the parser to
    complain about, and everything after ``--`` as it is.
    """
    return list(_rewritten(iter(arguments)))


def program_of(value: str) -> str | None:
    """Return the program that the value of a ``--mule`` means; ``None`` for none."""
    return None if value == _NO_PROGRAM else value


def _rewritten(arguments: Iterator[str]) -> Iterator[str]:
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument == "--mule":
            yield f"--mule={_NO_PROGRAM}"
        elif name == "--mules":
            number = value if equals else next(arguments, "")
            count = _count(number)
            yield from [f"--mule={_NO_PROGRAM}"] * count or [f"--mules={number}"]
        elif argument == "--":
            yield argument
            yield from arguments
        else:
            yield argument


def _count(text: str) -> int:
    """Return the number of mules in *text*, or 0 if that will not do."""
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        return 0
    return int(text) if int(text) <= MAX_MULES else 0
