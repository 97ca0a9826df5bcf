"""From a TOML file, or the words of a command line, to checked :class:`Settings`.

One :class:`~pymule.errors.ConfigError` carries every problem, one a line, so that a
file is put right in one go::

    pymule.toml:12:1: mule.0.stop_timeout: unknown key; allowed: backoff_max_s, ...
    pymule.toml:31:9: farm.0.mules: mule 9 does not exist; there are 1 to 5

Keys that are wrong in themselves are pointed at where they begin, others where their
value does; a key that is missing, where its table begins.
"""

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pymule.errors import ConfigError
from pymule.settings import (
    LIMITS,
    FarmConfig,
    MuleConfig,
    QueueConfig,
    Settings,
    group_id,
    user_id,
)
from pymule.toml_index import KeyPath, Mark, Place, index_toml

__all__ = (
    "LIMITS",
    "FarmConfig",
    "MuleConfig",
    "QueueConfig",
    "Settings",
    "check_privileges",
    "group_id",
    "load_settings",
    "settings_from_options",
    "user_id",
)

_MAX_SHOWN: Final = 80
_SECTIONS: Final[Mapping[str | int, type[QueueConfig]]] = {
    "mule": MuleConfig,
    "farm": FarmConfig,
    "shared": QueueConfig,
}
# pydantic's words for a type, where TOML has others.
_ALLOWED: Final = {
    "dict_type": "a table",
    "float_type": "a number",
    "int_type": "an integer",
    "model_type": "a table",
    "path_type": "a path",
    "string_type": "a string",
    "tuple_type": "an array",
}
T = TypeVar("T")

_FARM_OPTION: Final = re.compile(r"(?P<name>[^:]*):(?P<mules>[0-9]{1,9}(,[0-9]{1,9})*)")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_TOML_POSITION: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True, slots=True)
class _Problem:
    """Something wrong at ``path``: with its key if ``about_key``, else its value."""

    path: KeyPath
    text: str
    about_key: bool = False


def load_settings(path: Path, *, is_named: bool = True) -> Settings:
    """Read and check the configuration file *path*.

    Args:
        path: Of the file.
        is_named: Somebody asked for this file; else it was only found, and root reads
            it only if it is root's.

    Raises:
        ConfigError: It cannot be read, may be written by anyone while this is root,
            is not TOML, or breaks rules; the message has all that is wrong.
    """
    text = _read(path, is_named=is_named)
    try:
        data = tomllib.loads(text)
        index = index_toml(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(_not_toml(path, text, exc)) from None
    settings, problems = _validate(data, path.absolute().parent, "add [[mule]]")
    if settings is None:
        marked = [(_mark(index, problem), problem) for problem in problems]
        marked.sort(key=lambda pair: pair[0])
        raise ConfigError(
            "\n".join(
                f"{_at(path, mark)}: {_dotted(problem.path)}: {problem.text}"
                for mark, problem in marked
            )
        )
    return settings


def settings_from_options(
    *,
    mules: Sequence[str | None],
    farms: Sequence[str] = (),
    app: str | None = None,
    socket: Path | None = None,
    log_format: str | None = None,
    log_level: str | None = None,
) -> Settings:
    """Build the settings that a command line without a file means.

    Args:
        mules: The ``--mule`` options in order; ``None`` is one without a program.
        farms: The ``--farm`` options, each as ``NAME:1,2``.
        app: Here and below ``None`` means not given, so the default.
        socket: Against the current directory if relative.
        log_format: As in the file.
        log_level: As in the file.

    Raises:
        ConfigError: Lines start with the option at fault: ``--farm busy:9: ...``.
    """
    single = {
        "app": app,
        "socket": socket,
        "log_format": log_format,
        "log_level": log_level,
    }
    data: dict[str, object] = {k: v for k, v in single.items() if v is not None}
    data["mule"] = [
        {} if program is None else {"program": program} for program in mules
    ]
    tables = {farm: _read_farm(farm) for farm in farms}
    read = [farm for farm in farms if tables[farm] is not None]
    data["farm"] = [tables[farm] for farm in read]
    # The option that each key came from.
    options: dict[KeyPath, str] = {
        (key,): f"--{key.replace('_', '-')}" for key in single
    }
    options[("mule",)] = "--mule"
    options |= {("mule", n): f"--mule={word}" for n, word in enumerate(mules) if word}
    options |= {("farm", n): f"--farm {farm}" for n, farm in enumerate(read)}
    settings, problems = _validate(data, Path.cwd(), "add --mule or --mule=PROGRAM")
    lines = [f"{_nearest(options, p.path)}: {p.text}" for p in problems]
    lines += [
        f"--farm {farm}: found {farm!r}; allowed: NAME:1,2 with the numbers of mules"
        for farm, table in tables.items()
        if table is None
    ]
    if settings is None or lines:
        raise ConfigError("\n".join(lines))
    return settings


def check_privileges(settings: Settings, uid: int) -> None:
    """Refuse what only a master with *uid* 0 can do for its mules.

    Raises:
        ConfigError: A mule has a ``user`` or ``group`` and *uid* is not root's.
    """
    if uid == 0:
        return
    problems = [
        f"mule.{index}.{key}: found {value!r}, which only root can set; allowed: no"
        f" {key}, or pymuled started as root (it is user {uid})"
        for index, mule in enumerate(settings.mule)
        for key, value in (("user", mule.user), ("group", mule.group))
        if value is not None
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _read(path: Path, *, is_named: bool) -> str:
    try:
        with path.open("rb") as file:
            info, uid = os.fstat(file.fileno()), os.geteuid()
            _refuse_if_anyone_writes(path, info.st_mode, uid)
            _refuse_if_anyone_replaces(path, path.absolute().parent.stat().st_mode, uid)
            if not is_named:
                _refuse_if_of_another(path, info.st_uid, uid)
            raw = file.read()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        before = raw[: exc.start].decode()
        raise ConfigError(
            f"{_at(path, _end(before))}: not TOML: found byte 0x{raw[exc.start]:02x};"
            " allowed: UTF-8"
        ) from None


def _refuse_if_anyone_writes(path: Path, mode: int, uid: int) -> None:
    # What root runs would be anyone's to choose.
    if uid == 0 and mode & stat.S_IWOTH and stat.S_ISREG(mode):
        raise ConfigError(
            f"{path}: found mode {stat.S_IMODE(mode):04o}, so anyone can write it;"
            " allowed for root: a file that others cannot write (chmod o-w)"
        )


def _refuse_if_anyone_replaces(path: Path, mode: int, uid: int) -> None:
    if uid == 0 and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"{path}: found its directory with mode {stat.S_IMODE(mode):04o}, so anyone"
            " can replace it; allowed for root: a directory that others cannot write"
        )


def _refuse_if_of_another(path: Path, owner: int, uid: int) -> None:
    # Else root runs what somebody left in a directory for it to be found.
    if uid == 0 and owner != 0:
        raise ConfigError(
            f"{path}: found a file of user {owner}; allowed for root: one of root's,"
            f" or -c {path}, which says that it is meant"
        )


def _not_toml(path: Path, text: str, exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return f"{_at(path, Mark(1, 1))}: not TOML: brackets nested too deeply"
    reason = str(exc)
    mark = Mark(1, 1)
    if found := _TOML_POSITION.search(reason):
        mark = Mark(int(found[1]), int(found[2]))
        reason = reason[: found.start()]
    elif reason.endswith(" (at end of document)"):
        mark = _end(text.replace("\r\n", "\n"))
    return f"{_at(path, mark)}: not TOML: {reason}"


def _read_farm(option: str) -> dict[str, object] | None:
    found = _FARM_OPTION.fullmatch(option)
    if found is None:
        return None
    return {"name": found["name"], "mules": [int(n) for n in found["mules"].split(",")]}


def _validate(
    data: Mapping[str, object], base_dir: Path, how_to_add_a_mule: str
) -> tuple[Settings | None, list[_Problem]]:
    """Return the settings, or ``None`` and every problem of *data*."""
    problems = [
        *_farm_problems(data),
        *_durability_problems(data),
        *_preload_problems(data),
    ]
    if not data.get("mule", ()):
        problems.append(_Problem(("mule",), f"no mule; {how_to_add_a_mule}"))
    try:
        settings = Settings.model_validate(data, context={"base_dir": base_dir})
    except ValidationError as exc:
        return None, problems + [_problem(error) for error in exc.errors()]
    return (None if problems else settings), problems


def _farm_problems(data: Mapping[str, object]) -> Iterator[_Problem]:
    """Find what is wrong between tables, each of which may be wrong in itself."""
    last = _last_mule(data)
    names: set[str] = set()
    for position, farm in enumerate(_tables(data, "farm")):
        name = str(farm.get("name", position))
        if name in names:
            yield _Problem(
                ("farm", position, "name"),
                f"found {name!r}, which another farm has; allowed: a name of its own",
            )
        names.add(name)
        mules = farm.get("mules")
        for mule in mules if isinstance(mules, list) else ():
            if isinstance(mule, int) and last and mule > last:
                yield _Problem(
                    ("farm", position, "mules"),
                    f"mule {mule} does not exist; there are 1 to {last}",
                )


def _durability_problems(data: Mapping[str, object]) -> Iterator[_Problem]:
    """Find queues that are to be written although there is no place for that."""
    if "state_dir" in data:
        return
    tables: list[tuple[KeyPath, object]] = [(("shared",), data.get("shared"))]
    for key in ("mule", "farm"):
        tables += [((key, at), table) for at, table in enumerate(_tables(data, key))]
    for path, table in tables:
        found = table.get("durability") if isinstance(table, dict) else None
        if found in {"process", "disk"}:
            yield _Problem(
                (*path, "durability"),
                f"found {found!r} without a state_dir; allowed: 'memory', or any with"
                ' state_dir = "DIR" at the top of the file',
            )


def _preload_problems(data: Mapping[str, object]) -> Iterator[_Problem]:
    """Find modules that nobody would import, because nobody forks."""
    usual = data.get("start_method", "spawn")
    tables = _tables(data, "mule")
    methods = [table.get("start_method", usual) for table in tables]
    text = (
        "found modules, and no forkserver that imports them;"
        ' allowed: none, or start_method = "forkserver"'
    )
    if data.get("preload") and "forkserver" not in (usual, *methods):
        yield _Problem(("preload",), text)
    for position, (table, method) in enumerate(zip(tables, methods, strict=True)):
        if table.get("preload") and method == "spawn":
            yield _Problem(("mule", position, "preload"), text)


def _last_mule(data: Mapping[str, object]) -> int:
    """Return the highest number of a mule, or 0 if that cannot be told."""
    counts = [table.get("count", 1) for table in _tables(data, "mule")]
    numbers = [count for count in counts if isinstance(count, int) and count > 0]
    return sum(numbers) if len(numbers) == len(counts) else 0


def _tables(data: Mapping[str, object], key: str) -> list[dict[str, object]]:
    tables = data.get(key)
    if not isinstance(tables, list):
        return []
    return [table if isinstance(table, dict) else {} for table in tables]


def _problem(error: ErrorDetails) -> _Problem:
    """Say in our words what pydantic found."""
    path, kind, message = error["loc"], error["type"], error["msg"]
    if kind == "missing":
        return _Problem(path, "found nothing; required in this table")
    if kind == "extra_forbidden":
        section = _SECTIONS.get(path[0], Settings) if len(path) > 1 else Settings
        allowed = sorted(section.model_fields)
        text = f"unknown key; allowed: {', '.join(allowed)}"
        return _Problem(path, text + _guess(path[-1], allowed), about_key=True)
    about_key = path[-1] == "[key]"
    if about_key:
        path = path[:-1]
    if kind == "value_error":
        text = str(error["ctx"]["error"])
        if text.startswith("unknown limit"):
            text += _guess(path[-1], list(LIMITS))
        return _Problem(path, text, about_key)
    allowed_words = _ALLOWED.get(kind, message.removeprefix("Input should be "))
    if path in (("mule",), ("farm",)):
        allowed_words = f"an array of tables, [[{path[0]}]]"
    # A variable may be a password, and what is said here goes to the log.
    found = "what is not shown" if "env" in path else _shown(error["input"])
    return _Problem(path, f"found {found}; allowed: {allowed_words}")


def _guess(key: str | int, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(key), allowed, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _nearest(places: Mapping[KeyPath, T], path: KeyPath) -> T | None:
    """Return what *places* has for *path* or else for the table around it."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path)


def _mark(index: Mapping[KeyPath, Place], problem: _Problem) -> Mark:
    place = _nearest(index, problem.path)
    if place is None:
        return Mark(1, 1)
    return place.key if problem.about_key else place.value


def _end(text: str) -> Mark:
    line = text.rpartition("\n")[2]
    return Mark(text.count("\n") + 1, len(line) + 1)


def _at(path: Path, mark: Mark) -> str:
    return f"{path}:{mark.line}:{mark.column}"


def _dotted(path: KeyPath) -> str:
    """Write a path as TOML would, with quotes where it needs them."""
    return ".".join(
        part if _BARE_KEY.fullmatch(part) else json.dumps(part)
        for part in map(str, path)
    )
