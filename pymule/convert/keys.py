"""Keys that are one option's value in other words.

A value that cannot be a key raises ``ValueError`` with what is allowed.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from pymule.convert.options import Meaning

__all__ = ("MAX_COUNT", "Keys", "Value")

Value = str | int | bool | list[str] | dict[str, str] | dict[str, int]
"""What a key may have for a value."""

MAX_COUNT: Final = 10_000
"""Most mules of one table."""

_MAX_SECONDS: Final = 1_000_000_000
_MAX_ID: Final = 2**32 - 2
_MAX_NICE: Final = 19
_MIN_NICE: Final = -20
# uWSGI's name, ours, and what one of it is.
_LIMITS: Final = {
    "limit-as": ("as", 1024 * 1024),
    "limit-nproc": ("nproc", 1),
    "max-fd": ("nofile", 1),
}


class Keys:
    """The keys so far; a later option overrules an earlier, or adds to a list."""

    def __init__(self) -> None:
        self.python_path: list[str] = []
        self.touch_reload: list[str] = []
        self.log_format = ""
        self._single: dict[str, Value] = {}
        self._limits: dict[str, int] = {}
        self._env: dict[str, str] = {}

    @property
    def cwd(self) -> str:
        """The directory of every mule; empty if none was named."""
        return str(self._single.get("cwd", ""))

    @property
    def each(self) -> dict[str, Value]:
        """The keys of every mule, those with many values last."""
        many: dict[str, Value] = {"limits": self._limits, "env": self._env}
        return self._single | {key: value for key, value in many.items() if value}

    def use(self, meaning: Meaning, name: str, value: str) -> None:
        """Make a key of the option *name*.

        Raises:
            ValueError: That is not possible; says why.
        """
        if meaning in _SINGLE:
            key, read = _SINGLE[meaning]
            self._single[key] = read(value)
        elif meaning is Meaning.TOUCH_RELOAD:
            self._add(self.touch_reload, _path(value))
        elif meaning is Meaning.PYTHON_PATH:
            self._add(self.python_path, _plain_path(value))
        elif meaning is Meaning.LIMIT:
            key, unit = _LIMITS[name]
            self._limits[key] = _limit(value) * unit
        elif meaning is Meaning.ENV:
            variable, text = _variable(value)
            self._env[variable] = text
        elif meaning is Meaning.LOG_ENCODER:
            self.log_format = "json" if value.startswith("json") else self.log_format
        else:
            raise AssertionError(f"{meaning} has no single value")

    def _add(self, paths: list[str], path: str) -> None:
        if path not in paths:
            paths.append(path)


def _seconds(value: str) -> int:
    number = int(value) if re.fullmatch(r"[0-9]{1,10}", value) else 0
    if not 1 <= number <= _MAX_SECONDS:
        raise ValueError(f"allowed: seconds, 1 to {_MAX_SECONDS}")
    return number


def _account(value: str) -> str | int:
    if not value:
        raise ValueError("allowed: a name or a number")
    if not re.fullmatch(r"[0-9]+", value):
        return value
    if len(value) > len(str(_MAX_ID)) or int(value) > _MAX_ID:
        raise ValueError(f"allowed: a name, or a number up to {_MAX_ID}")
    return int(value)


def _umask(value: str) -> str:
    if not re.fullmatch(r"0*[0-7]{1,3}", value):
        raise ValueError("allowed: octal, 000 to 777")
    return f"{int(value, 8):04o}"


def _nice(value: str) -> int:
    number = int(value) if re.fullmatch(r"-?[0-9]{1,3}", value) else _MAX_NICE + 1
    if not _MIN_NICE <= number <= _MAX_NICE:
        raise ValueError(f"allowed: {_MIN_NICE} to {_MAX_NICE}")
    return number


def _limit(value: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,11}", value):
        raise ValueError("allowed: a number from 1")
    return int(value)


def _path(value: str) -> str:
    if not value:
        raise ValueError("allowed: a path")
    return value


def _plain_path(value: str) -> str:
    if re.search(r"[*?\[]", value):
        raise ValueError("python_path has no patterns: name the directories")
    return _path(value)


def _variable(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise ValueError("allowed: NAME=VALUE")
    return name, text


_SINGLE: Final[Mapping[Meaning, tuple[str, Callable[[str], str | int]]]] = {
    Meaning.HARAKIRI: ("harakiri_s", _seconds),
    Meaning.STOP_TIMEOUT: ("stop_timeout_s", _seconds),
    Meaning.CWD: ("cwd", _path),
    Meaning.USER: ("user", _account),
    Meaning.GROUP: ("group", _account),
    Meaning.UMASK: ("umask", _umask),
    Meaning.NICE: ("nice", _nice),
}
