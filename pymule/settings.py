"""What a configuration may say: the frozen models and the grammar of each key.

Every rule about one key is here and nowhere else. Rules that join several tables, and
everything about files, places and messages, are in :mod:`pymule.config`, which is
where programs should import these names from.

A validator's ``ValueError`` says what was found and what is allowed. Relative paths
are resolved against ``base_dir`` of the validation context (else the current
directory), so two settings are equal exactly when they mean the same.
"""

import grp
import os
import pwd
import re
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    Strict,
    ValidationInfo,
    field_validator,
)

from pymule.paths import default_socket
from pymule.sansio.target import FARM_NAME, MuleId

__all__ = (
    "LIMITS",
    "FarmConfig",
    "MuleConfig",
    "QueueConfig",
    "Settings",
    "group_id",
    "user_id",
)

LIMITS: Final[Mapping[str, int]] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
"""Keys of a mule's ``limits`` and the number that ``setrlimit`` knows them by."""

_MAX_SOCKET_PATH: Final = 107
_MAX_NAME: Final = 64
_MAX_ID: Final = 2**32 - 2
_MAX_MODE: Final = 0o777


def user_id(user: str | int) -> int:
    """Return the uid that a name or number of the configuration means.

    Raises:
        ValueError: This machine has no user of that name.
    """
    if isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise ValueError(
            f"found {user!r}, no user of this machine; allowed: its name or number"
        ) from None


def group_id(group: str | int) -> int:
    """Return the gid that a name or number of the configuration means.

    Raises:
        ValueError: This machine has no group of that name.
    """
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise ValueError(
            f"found {group!r}, no group of this machine; allowed: its name or number"
        ) from None


def _name_or_id(value: object, kind: str) -> str | int:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID:
        return value
    raise ValueError(f"found {value!r}; allowed: a {kind}'s name or number")


def _user(value: object) -> str | int:
    user = _name_or_id(value, "user")
    user_id(user)
    return user


def _group(value: object) -> str | int:
    group = _name_or_id(value, "group")
    group_id(group)
    return group


def _permissions(value: object) -> int:
    mode = -1
    if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{1,4}", value):
        mode = int(value, 8)
    elif isinstance(value, int) and not isinstance(value, bool):
        mode = value
    if not 0 <= mode <= _MAX_MODE:
        raise ValueError(
            f'found {value!r}; allowed: octal, "0000" to "0777" or 0o000 to 0o777'
        )
    return mode


def _base_dir(context: object) -> Path:
    base = context.get("base_dir") if isinstance(context, dict) else None
    return base if isinstance(base, Path) else Path.cwd()


def _under_base(path: Path, info: ValidationInfo) -> Path:
    return _base_dir(info.context) / path


def _directory(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"found {str(path)!r}; allowed: a directory that exists")
    return path


def _importable(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"found {str(path)!r}; allowed: a path that exists")
    return path


def _socket_path(path: Path) -> Path:
    size = len(os.fsencode(path))
    if size > _MAX_SOCKET_PATH:
        raise ValueError(
            f"found a path of {size} bytes, {str(path)!r};"
            f" allowed: at most {_MAX_SOCKET_PATH}, the kernel's limit"
        )
    if "\0" in str(path) or path.is_dir():
        raise ValueError(f"found {str(path)!r}; allowed: a file's path")
    return path


def _state_dir(path: Path) -> Path:
    if "\0" in str(path) or (path.exists() and not path.is_dir()):
        raise ValueError(
            f"found {str(path)!r}; allowed: a directory, there or to be made"
        )
    return path


def _touched(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError(f"found {str(path)!r}; allowed: a path, there or not")
    return path


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _module(text: str) -> str:
    if not _is_dotted(text):
        raise ValueError(f"found {text!r}; allowed: a module, 'pkg.mod'")
    return text


def _program(text: str, info: ValidationInfo) -> str:
    if text.endswith(".py"):
        path = _base_dir(info.context) / text
        if not path.is_file():
            raise ValueError(
                f"found {text!r}, but there is no file {str(path)!r};"
                " allowed: a script that exists"
            )
        return str(path)
    module, colon, function = text.partition(":")
    if not (colon and _is_dotted(module) and _is_dotted(function)):
        raise ValueError(
            f"found {text!r}; allowed: a script, 'NAME.py',"
            " or a callable, 'pkg.mod:callable'"
        )
    return text


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(
            f"found {name!r}; allowed: a variable's name, not empty and without '='"
        )
    return name


def _variable_value(value: str) -> str:
    if "\0" in value:
        # Not shown: it may be a password.
        raise ValueError("found a NUL; allowed: text without NUL")
    return value


def _limit_name(name: str) -> str:
    if name not in LIMITS:
        raise ValueError(f"unknown limit; allowed: {', '.join(LIMITS)}")
    return name


def _limit(value: object) -> tuple[int, int]:
    pair = value if isinstance(value, list | tuple) else (value, value)
    match [_limit_number(item) for item in pair]:
        case [int(soft), int(hard)] if _limit_order(soft) <= _limit_order(hard):
            return soft, hard
    raise ValueError(
        f"found {value!r}; allowed: a number from 0, 'unlimited',"
        " or [soft, hard] with soft at most hard"
    )


def _limit_number(value: object) -> int | None:
    if value in ("unlimited", resource.RLIM_INFINITY):
        return resource.RLIM_INFINITY
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    return None


def _limit_order(value: int) -> int:
    return 2**63 if value == resource.RLIM_INFINITY else value


def _farm_name(name: str) -> str:
    if not FARM_NAME.fullmatch(name):
        raise ValueError(
            f"found {name!r}; allowed: a letter or '_', then up to 63 letters,"
            " digits, '_', '.' or '-'"
        )
    return name


def _farm_mules(mules: tuple[MuleId, ...]) -> tuple[MuleId, ...]:
    if not mules:
        raise ValueError("found none; allowed: numbers of mules, at least one")
    seen: set[MuleId] = set()
    for mule in mules:
        if mule in seen:
            raise ValueError(f"found mule {mule} twice; allowed: each mule once")
        seen.add(mule)
    return mules


_Text = Annotated[str, Strict()]
_StartMethod = Literal["spawn", "forkserver"]
# Bounded, because deadlines are sums of these and the loop counts in 64-bit ms.
_Seconds = Annotated[float, Strict(), Field(gt=0, le=1e9, allow_inf_nan=False)]
_Pause = Annotated[float, Strict(), Field(ge=0, le=1e9, allow_inf_nan=False)]
_Count = Annotated[int, Strict(), Field(ge=1, lt=2**63)]
# An attempt travels in 16 bits.
_Attempts = Annotated[int, Strict(), Field(ge=1, le=65_535)]
_User = Annotated[str | int, PlainValidator(_user)]
_Group = Annotated[str | int, PlainValidator(_group)]
_Permissions = Annotated[int, PlainValidator(_permissions)]
_Path = Annotated[Path, AfterValidator(_under_base)]
_Directory = Annotated[_Path, AfterValidator(_directory)]
_Socket = Annotated[_Path, AfterValidator(_socket_path)]
_State = Annotated[_Path, AfterValidator(_state_dir)]
_Touched = Annotated[_Path, AfterValidator(_touched)]
_Module = Annotated[_Text, AfterValidator(_module)]
_Program = Annotated[_Text, AfterValidator(_program)]
_Variable = Annotated[_Text, AfterValidator(_variable)]
_VariableValue = Annotated[_Text, AfterValidator(_variable_value)]
_LimitName = Annotated[_Text, AfterValidator(_limit_name)]
_Limit = Annotated[tuple[int, int], PlainValidator(_limit)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QueueConfig(_Section):
    """How one queue keeps, bounds and retries its messages."""

    durability: Literal["memory", "process", "disk"] = "memory"
    """What confirmed messages survive beside the death of a mule or of their sender:
    nothing, the death of the master, or a power cut."""
    max_messages: _Count = 1_000_000
    max_bytes: _Count = 256 * 1024 * 1024
    when_full: Literal["wait", "refuse"] = "wait"
    max_attempts: _Attempts = 5
    max_crashes: _Attempts = 3
    backoff_s: _Pause = 0.5
    backoff_max_s: Annotated[_Pause, Field(validate_default=True)] = 60.0
    jitter: Annotated[float, Strict(), Field(ge=0, le=1)] = 1.0
    """Which part of a backoff is drawn at random."""
    dead_max_messages: Annotated[int, Strict(), Field(ge=0, lt=2**63)] = 10_000
    dedupe_s: _Pause = 600.0
    """How long a ``message_id`` is remembered."""

    @field_validator("backoff_max_s")
    @classmethod
    def _not_below_the_first_pause(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("backoff_s", 0)
        if value < least:
            raise ValueError(f"found {value:g}; allowed: backoff_s ({least:g}) or more")
        return value

    @property
    def queue(self) -> "QueueConfig":
        """The keys of the queue alone, whatever table they were written in."""
        return QueueConfig.model_validate(
            {key: getattr(self, key) for key in QueueConfig.model_fields}
        )


class MuleConfig(QueueConfig):
    """One ``[[mule]]`` table: a mule, or ``count`` mules alike.

    The keys of the queue are about the messages sent to this mule by its number.
    """

    program: _Program | None = None
    """Absolute path of a script, or ``pkg.mod:callable``; ``None`` is signal-only."""
    name: Annotated[_Text, Field(validate_default=True)] = ""
    """Never empty once read: unless given, what the program is called, or 'signal'."""
    count: Annotated[int, Strict(), Field(ge=1, le=10_000)] = 1
    env: dict[_Variable, _VariableValue] = {}
    """Variables added to those that the master was started with."""
    cwd: Annotated[_Directory, Field(validate_default=True)] = Path()
    """Absolute once read; unless given, ``Settings.base_dir``."""
    harakiri_s: _Seconds | None = None
    """Longest that one message may be in hand before SIGKILL."""
    stop_timeout_s: _Seconds = 10.0
    """For what is in hand when the mule is asked to stop, and again after SIGTERM."""
    start_timeout_s: _Seconds = 30.0
    credit: Annotated[int, Strict(), Field(ge=1, le=16_384)] | None = None
    """Messages the mule may hold; ``None`` adapts to the time that one takes."""
    nice: Annotated[int, Strict(), Field(ge=-20, le=19)] | None = None
    umask: _Permissions | None = None
    limits: dict[_LimitName, _Limit] = {}
    """(soft, hard) by a name of :data:`LIMITS`; ``RLIM_INFINITY`` is unlimited."""
    user: _User | None = None
    group: _Group | None = None
    uwsgi: Annotated[bool, Strict()] = False
    """Its program may ``import uwsgi``."""
    start_method: _StartMethod | None = None
    """``None`` is that of the whole configuration, as is ``preload``."""
    preload: tuple[_Module, ...] | None = None

    @field_validator("name")
    @classmethod
    def _named_after_the_program(cls, name: str, info: ValidationInfo) -> str:
        if not name:
            return _name_of(info.data.get("program"))
        if len(name) > _MAX_NAME or not name.isprintable():
            raise ValueError(
                f"found {name!r}; allowed: at most {_MAX_NAME} printable characters"
            )
        return name


class FarmConfig(QueueConfig):
    """One ``[[farm]]`` table: a named set of mules and the queue that they share."""

    name: Annotated[_Text, AfterValidator(_farm_name)]
    mules: Annotated[
        tuple[Annotated[MuleId, Strict(), Field(ge=1)], ...],
        AfterValidator(_farm_mules),
    ]


class Settings(_Section):
    """The whole configuration, from a file or from the command line.

    Equal settings mean the same to the master, so a reload compares them.
    """

    socket: Annotated[
        _Socket,
        Field(
            default_factory=lambda: Path(default_socket(os.environ, os.getuid())),
            validate_default=True,
        ),
    ]
    state_dir: _State | None = None
    """Where the journal is; required as soon as one queue is not in memory."""
    on_damage: Literal["refuse", "salvage"] = "refuse"
    """What to do at the start with a journal that is damaged."""
    socket_mode: _Permissions = 0o660
    socket_group: _Group | None = None
    admin_users: tuple[_User, ...] = ()
    """Who may do everything, as root and the daemon's own user may always."""
    admin_groups: tuple[_Group, ...] = ()
    allow_users: tuple[_User, ...] = ()
    """Who may send; the users of mules may too."""
    allow_groups: tuple[_Group, ...] = ()
    reader_users: tuple[_User, ...] = ()
    """Who may look, and no more."""
    reader_groups: tuple[_Group, ...] = ()
    app: _Module | None = None
    """The module that signal-only mules import."""
    start_method: _StartMethod = "spawn"
    """A process with an interpreter of its own, or a fork of one that has imported
    what ``preload`` says."""
    preload: tuple[_Module, ...] = ()
    """Modules that a forkserver imports, once for all mules that it forks."""
    python_path: tuple[Annotated[_Path, AfterValidator(_importable)], ...] = ()
    """Absolute directories (or zip files) that mules search before ``sys.path``."""
    allow_pickle: Annotated[bool, Strict()] = False
    """Whether arguments of functions may be pickled, where msgpack cannot say them."""
    touch_reload: tuple[_Touched, ...] = ()
    """Absolute paths, there or not; a change of one is a reload."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    max_frame_bytes: Annotated[int, Strict(), Field(ge=262_144, le=1_073_741_824)] = (
        16 * 1024 * 1024
    )
    max_clients: Annotated[int, Strict(), Field(ge=1, le=1_000_000)] = 1000
    """Connections at a time; a few more for commands of admins."""
    mule: tuple[MuleConfig, ...] = ()
    farm: tuple[FarmConfig, ...] = ()
    shared: QueueConfig = QueueConfig()
    """The queue of messages sent to no mule in particular."""

    _base_dir: Path = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Keep the directory that relative paths were resolved against."""
        self._base_dir = _base_dir(context)

    @property
    def base_dir(self) -> Path:
        """The directory of the file; from the command line, the current one."""
        return self._base_dir

    def start_method_of(self, mule: MuleConfig) -> Literal["spawn", "forkserver"]:
        """Return how *mule* is started."""
        return mule.start_method or self.start_method

    def preload_of(self, mule: MuleConfig) -> tuple[str, ...]:
        """Return what the forkserver of *mule* imports; nothing if it has none."""
        if self.start_method_of(mule) == "spawn":
            return ()
        return self.preload if mule.preload is None else mule.preload

    def mules(self) -> tuple[tuple[MuleId, MuleConfig], ...]:
        """Every mule with its number: from 1, in file order, ``count`` unrolled."""
        unrolled = [config for config in self.mule for _ in range(config.count)]
        return tuple(
            (MuleId(number), config) for number, config in enumerate(unrolled, 1)
        )


def _name_of(program: str | None) -> str:
    if program is None:
        return "signal"
    name = program.rpartition("/" if program.endswith(".py") else ":")[2]
    return "".join(char if char.isprintable() else "?" for char in name)[:_MAX_NAME]
