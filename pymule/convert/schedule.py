"""uWSGI's options for cron, timers and watched files, as the decorators of ours."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from pymule.convert.options import Meaning

__all__ = ("SCHEDULES", "decorator_of")

_CRON: Final = re.compile(r"\s*" + r"(-?[0-9]{1,4})\s+" * 5 + r"(\S.*)", re.DOTALL)
_SIGNAL: Final = re.compile(r"([0-9]{1,3})\s+([0-9]{1,9})\s*")
_PATH: Final = re.compile(r"(\S.*?)\s+([0-9]{1,3})\s*", re.DOTALL)
_FIELDS: Final = ("minute", "hour", "day", "month", "week")
_NUMBER: Final = re.compile(r"-?[0-9]{1,4}")


def decorator_of(meaning: Meaning, name: str, value: str) -> str:
    """Return the line that does what the option *name* did, and on which function.

    Args:
        meaning: One of :data:`SCHEDULES`.
        name: As it was written: it may say that only one is to run at a time.
        value: Of the option; if it makes no sense, that is said.
    """
    read, allowed = SCHEDULES[meaning]
    return read(name, value) or f"makes no sense; allowed: {allowed}"


def _cron(name: str, value: str) -> str:
    found = _CRON.fullmatch(value)
    if found is None:
        return ""
    return _cron_line(found.groups()[:5], found[6], is_unique="unique" in name)


def _legion_cron(name: str, value: str) -> str:
    return _cron(name, value.partition(" ")[2])


def _cron2(_name: str, value: str) -> str:
    keys, _space, command = value.partition(" ")
    if "=" not in keys:
        keys, command = "", value
    pairs = [pair.partition("=") for pair in keys.split(",")]
    given = {key: number for key, _, number in pairs}
    numbers = tuple(given.get(field, "-1") for field in _FIELDS)
    if not command.strip() or not all(map(_NUMBER.fullmatch, numbers)):
        return ""
    return _cron_line(
        numbers, command, is_unique=given.get("unique", "0") not in {"0", ""}
    )


def _cron_line(numbers: tuple[str, ...], command: str, *, is_unique: bool) -> str:
    call = ", ".join(str(int(number)) for number in numbers)
    more = ', overlap="skip"' if is_unique else ""
    runs = f"on a function that runs: {command.strip()}"
    return f'@cron({call}, target="mule"{more}) {runs}'


def _timer(_name: str, value: str) -> str:
    found = _SIGNAL.fullmatch(value)
    return f"@timer({int(found[2])}) on the handler of {found[1]}" if found else ""


def _rbtimer(name: str, value: str) -> str:
    return _timer(name, value).replace("@timer", "@rbtimer")


def _file(_name: str, value: str) -> str:
    found = _PATH.fullmatch(value)
    if found is None:
        return ""
    path = json.dumps(found[1], ensure_ascii=False)
    return f"@filemon({path}) on the handler of {found[2]}"


SCHEDULES: Final[Mapping[Meaning, tuple[Callable[[str, str], str], str]]] = {
    Meaning.CRON: (_cron, "five numbers and a command"),
    Meaning.CRON2: (_cron2, "minute=0,hour=3 and a command"),
    Meaning.LEGION_CRON: (_legion_cron, "a legion, five numbers and a command"),
    Meaning.TIMER: (_timer, "the number of a signal, and seconds"),
    Meaning.RBTIMER: (_rbtimer, "the number of a signal, and seconds"),
    Meaning.FILE_SIGNAL: (_file, "a path, and the number of a signal"),
}
"""What reads the value of each, and what a value has to be."""
