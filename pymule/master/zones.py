"""The time zones of this machine: by name, and its own.

They are read from files: 0.1 ms for a name, 10 ms to find names like a wrong one.
"""

import difflib
import functools
import io
import os
import re
import struct
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

__all__ = ("local_zone", "zone_of")

_LOCALTIME: Final = Path("/etc/localtime")
# "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3": a rule of POSIX instead of a name.
_RULE: Final = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)[+-]?\d")
# The longest name has 32 characters; more is not worth a search.
_SHOWN: Final = 64


def zone_of(name: str | None) -> tzinfo:
    """Return the zone *name*, or the zone of this machine for ``None``.

    The latter is found once: the same object each time.

    Raises:
        ValueError: There is no such zone, or no data about any; says what to do.
    """
    if name is None:
        return _local_zone_once()
    # Known without any data.
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(_complaint(name)) from None


@functools.cache
def _local_zone_once() -> tzinfo:
    return local_zone(os.environ)


def local_zone(environ: Mapping[str, str], localtime: Path = _LOCALTIME) -> tzinfo:
    """Return the zone in the variable TZ, else that of the machine, else UTC.

    TZ may be a name, a path or a rule of POSIX, with or without a colon before it.

    Raises:
        ValueError: What is set cannot be read; UTC would be wrong without a word.
    """
    text = environ.get("TZ")
    if text is None:
        return _of_machine(localtime)
    try:
        return _of_variable(text.removeprefix(":"))
    except (ValueError, OSError) as exc:
        raise ValueError(f"environment variable TZ={text!r}: {exc}") from exc


def _of_variable(text: str) -> tzinfo:
    if not text:
        return UTC
    if text.startswith("/"):
        return _of_file(Path(text), text)
    try:
        return zone_of(text)
    except ValueError:
        # Later, because names such as EST5EDT look like rules.
        if not _RULE.match(text):
            raise
    return _of_rule(text)


def _of_machine(localtime: Path) -> tzinfo:
    name = _linked_name(localtime)
    try:
        return _of_file(localtime, name or str(localtime))
    except FileNotFoundError:
        if not name:
            return UTC
    # A link to where no data are; Python may have data of its own.
    try:
        return zone_of(name)
    except ValueError as exc:
        raise ValueError(f"{localtime} leads to {name}: {exc}") from exc


def _linked_name(localtime: Path) -> str:
    """Return what is behind ``zoneinfo/`` if it is a link, else nothing."""
    try:
        return str(localtime.readlink()).partition("zoneinfo/")[2]
    except OSError:
        return ""


def _of_file(path: Path, key: str) -> tzinfo:
    with path.open("rb") as file:
        try:
            return ZoneInfo.from_file(file, key=key)
        except (ValueError, struct.error) as exc:
            raise ValueError(f"{path} is no time zone: {exc}") from exc


def _of_rule(rule: str) -> tzinfo:
    """Return the zone of a rule as in tzset(3).

    A file of RFC 9636 ends with such a rule for the time after its last change. So it
    is read as a file that knows of no change, in two versions as the format wants it::

        "TZif" "2" 15 unused | six counts, 4 bytes each | offset 4, 1, 1 | name 1
    """
    version = struct.pack(
        ">4sc15x6llbbc", b"TZif", b"2", 0, 0, 0, 0, 1, 1, 0, 0, 0, b"\0"
    )
    file = io.BytesIO(version * 2 + b"\n" + rule.encode() + b"\n")
    return ZoneInfo.from_file(file, key=rule)


def _complaint(name: str) -> str:
    known = sorted(available_timezones())
    shown = name[:_SHOWN]
    if not known:
        return (
            f"time zone {shown!r}: this machine has no data about time zones; "
            "install its package tzdata, or use 'UTC'"
        )
    near = _near(shown, known)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "allowed: as 'Europe/Berlin'"
    )
    return f"unknown time zone {shown!r}; {hint}"


def _near(name: str, known: list[str]) -> list[str]:
    """Return up to three names that are spelt alike, or end with the same city."""
    wanted = name.casefold().replace(" ", "_")
    cities = [each for each in known if each.casefold().split("/")[-1] == wanted]
    by_spelling = {each.casefold(): each for each in known}
    alike = difflib.get_close_matches(wanted, by_spelling, cutoff=0.85)
    return [*cities, *(by_spelling[each] for each in alike)][:3]
