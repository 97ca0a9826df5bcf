"""What uWSGI puts into values at its start: ``$(VARIABLE)``, ``@(file)``, ``%(name)``.

In this order, each over all options before the next begins. A placeholder is the first
option of its name, wherever it stands, and may have placeholders in it. What cannot be
put in stays, and the option is in doubt.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pymule.convert.option import Option
from pymule.convert.surroundings import Surroundings
from pymule.errors import ConfigError

__all__ = ("Placeholders",)

# As uWSGI, no empty name, and brackets inside a name in pairs (here: one pair deep).
_REFERENCE: Final = r"\(((?:[^()]|\([^()]*\))+)\)"
_VARIABLE: Final = re.compile(rf"\${_REFERENCE}")
_FILE: Final = re.compile(rf"@{_REFERENCE}")
_PLACEHOLDER: Final = re.compile(rf"%{_REFERENCE}")
_NUMBER: Final = re.compile(r"-?[0-9]+")
# A word that begins with a sign is a name.
_DIGITS: Final = re.compile(r"[0-9]+")
# A value that refers to itself, or doubles at each step, would never end.
_MAX_STEPS: Final = 100
_MAX_CHARS: Final = 16_384
_MAX_DIGITS: Final = 18


class Placeholders:
    """Puts values into the options of one configuration, which are *options*."""

    def __init__(self, options: Sequence[Option], surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._first: dict[str, Option] = {}
        self._used: set[str] = set()
        for option in options:
            self._first.setdefault(option.name, option)
            for name in _PLACEHOLDER.findall(option.value):
                self._used.update(name.split())

    def is_used(self, name: str) -> bool:
        """Tell whether an option *name* is there for others to refer to."""
        return name in self._used

    def put_into(self, option: Option) -> tuple[Option, list[str]]:
        """Return *option* with its value complete or in doubt, and what to say of it.

        Each sentence tells of something that another machine may have differently.
        """
        if option.doubt or option.condition:
            return option, []
        filling = _Filling(self._first, self._surroundings)
        value = filling.fill(option.value)
        doubt = filling.doubts[0] if filling.doubts else ""
        return replace(option, value=value, doubt=doubt), filling.sentences


class _Filling:
    """One value being filled."""

    def __init__(self, first: dict[str, Option], surroundings: Surroundings) -> None:
        self._first = first
        self._surroundings = surroundings
        self._steps = 0
        self.doubts: list[str] = []
        self.sentences: list[str] = []

    def fill(self, value: str) -> str:
        """Return *value* with everything put in."""
        value = _FILE.sub(self._file, _VARIABLE.sub(self._variable, value))
        while not self.doubts and (found := _PLACEHOLDER.search(value)):
            self._steps += 1
            if self._steps > _MAX_STEPS or len(value) > _MAX_CHARS:
                self.doubts.append("its placeholders never come to an end")
                break
            start, end = found.span()
            value = value[:start] + self._placeholder(found) + value[end:]
        return value

    def _variable(self, found: re.Match[str]) -> str:
        name, default = _with_default(found[1])
        value = self._surroundings.variable(name)
        if value is None and default is None:
            self.doubts.append(f"{found[0]} is not set here")
            return found[0]
        if value is None or (not value and ":-" in found[1]):
            return default or ""
        self.sentences.append(f"{found[0]} is {value!r} here")
        return value

    def _file(self, found: re.Match[str]) -> str:
        try:
            value = self._surroundings.read(found[1]).rstrip("\n")
        except ConfigError as exc:
            self.doubts.append(str(exc))
            return found[0]
        self.sentences.append(f"{found[0]} is {value[:80]!r} here")
        return value

    def _placeholder(self, found: re.Match[str]) -> str:
        return self._reckoned(found[1]) if " " in found[1] else self._value_of(found)

    def _value_of(self, found: re.Match[str]) -> str:
        option = self._first.get(found[1])
        if option is None or option.doubt or option.condition:
            self.doubts.append(f"{found[0]} is not known here")
            return found[0]
        return _FILE.sub(self._file, _VARIABLE.sub(self._variable, option.value))

    def _reckoned(self, formula: str) -> str:
        """Return what ``%(a + b 1 ++)`` comes to, from left to right.

        Without an operator between them texts are joined.
        """
        result, operator = "", ""
        for word in formula.split():
            if word in _OPERATORS:
                operator = word
            elif word in _STEPS:
                result, operator = str(_number(result) + _STEPS[word]), ""
            else:
                option = self._first.get(word)
                given = option.value if option else ""
                value = word if _DIGITS.fullmatch(word) else self.fill(given)
                result, operator = _applied(operator, result, value), ""
        return result


def _divided(left: int, right: int) -> int:
    """Divide towards zero as in C; by zero is 0, as uWSGI has it."""
    if not right:
        return 0
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_OPERATORS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divided,
}
_STEPS: Final = {"++": 1, "--": -1}


def _applied(operator: str, left: str, right: str) -> str:
    if not operator:
        return left + right
    return str(_OPERATORS[operator](_number(left), _number(right)))


def _number(text: str) -> int:
    found = _NUMBER.match(text.strip())
    return int(found[0]) if found and len(found[0]) <= _MAX_DIGITS else 0


def _with_default(name: str) -> tuple[str, str | None]:
    """Split ``NAME:-default`` and ``NAME-default``."""
    for separator in (":-", "-"):
        head, found, default = name.partition(separator)
        if found:
            return head, default
    return name, None
