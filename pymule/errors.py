"""Every exception of pymule, under one root, and the wire code of each.

An error that the master answers with crosses the socket as a code and a detail (a
JSON object with the constructor's arguments); :func:`error_from_wire` turns it back
into the same exception in the caller. The codes are in ``docs/protocol.md``.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import ClassVar, Final

__all__ = (
    "WIRE_ERRORS",
    "BadCallError",
    "ConfigError",
    "ConnectionLostError",
    "DrainingError",
    "FrameTooBigError",
    "JournalDamagedError",
    "JournalError",
    "JournalFailedError",
    "JournalFormatError",
    "JournalInUseError",
    "JournalSetupError",
    "LeaseLostError",
    "LocalProtocolError",
    "MasterUnavailableError",
    "MessageTooBigError",
    "MuleSpawnError",
    "NoFreeSignalError",
    "NoHandlerError",
    "NotAllowedError",
    "NotHolderError",
    "NotInMuleError",
    "ProtocolError",
    "PymuleError",
    "QueueFullError",
    "RefusedError",
    "RemoteProtocolError",
    "SignalConflictError",
    "SocketInUseError",
    "SocketSetupError",
    "StorageFullError",
    "UnknownTargetError",
    "UnsupportedError",
    "error_from_wire",
    "error_of_reply",
)

# Names that an error carries.
_MAX_KNOWN: Final = 50


class PymuleError(Exception):
    """Root of everything that pymule raises; never raised itself."""


class ConfigError(PymuleError, ValueError):
    """The configuration is wrong; the message starts ``FILE:LINE:COLUMN: KEY: ...``."""


class ProtocolError(PymuleError):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """This side was used wrongly: by pymule itself or by its caller."""


class NotInMuleError(LocalProtocolError):
    """A call that only a mule can make was made in another process."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}() can only be called in a mule started by pymuled")
        self.name = name


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules; the connection is beyond use."""


class FrameTooBigError(RemoteProtocolError):
    """A frame announces a body of ``size`` bytes; ``limit`` is allowed."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"frame of {size} bytes; max_frame_bytes is {limit}")
        self.size = size
        self.limit = limit


class ConnectionLostError(PymuleError, ConnectionError):
    """The peer went away; ``unacked`` messages are in doubt."""

    def __init__(self, reason: str, unacked: int = 0) -> None:
        super().__init__(reason)
        self.unacked = unacked


class MasterUnavailableError(ConnectionLostError):
    """No master answers at ``socket``; is pymuled running?"""

    def __init__(self, socket: str, reason: str) -> None:
        super().__init__(f"no pymuled at {socket}: {reason}")
        self.socket = socket


class SocketInUseError(PymuleError):
    """Another daemon, process ``pid``, listens on ``socket``."""

    def __init__(self, socket: str, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{socket} is in use by {holder}; stop it or choose another")
        self.socket = socket
        self.pid = pid


class SocketSetupError(PymuleError):
    """The listening socket cannot be made at ``socket``."""

    def __init__(self, socket: str, reason: str) -> None:
        super().__init__(f"cannot listen on {socket}: {reason}")
        self.socket = socket


class JournalError(PymuleError):
    """A journal cannot be used; never raised itself. Where it is, is in ``path``."""

    def __init__(self, path: str, sentence: str) -> None:
        super().__init__(sentence)
        self.path = path


class JournalInUseError(JournalError):
    """Another process, ``pid`` if that is known, has the journal."""

    def __init__(self, path: str, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(path, f"journal {path} is in use by {holder}")
        self.pid = pid


class JournalSetupError(JournalError):
    """The journal's directory or files cannot be used as they are."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"cannot use journal {path}: {reason}")


class JournalFormatError(JournalError):
    """The journal has a format that this version of pymule cannot read."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            path,
            f"journal {path} has format {found}; this version of pymule reads up to"
            f" {known}",
        )
        self.found = found
        self.known = known


class JournalDamagedError(JournalError):
    """What is in the journal is not what was written; ``what`` says which part."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            path,
            f"journal {path} is damaged: {what};"
            " pymule journal salvage saves what can be read",
        )
        self.what = what


class JournalFailedError(JournalError):
    """The disk failed while the journal was written; nothing more is confirmed."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, f"journal {path} failed: {what}")
        self.what = what


class MuleSpawnError(PymuleError):
    """The process of a mule could not be started; the cause is chained."""

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(f"cannot start {program}: {reason}")
        self.program = program


# Filled by RefusedError.__init_subclass__: wire code -> class.
WIRE_ERRORS: Final[dict[int, type["RefusedError"]]] = {}


class RefusedError(PymuleError):
    """The master said no. Each subclass owns one wire code.

    ``retryable`` is true when the same call may succeed later, unchanged.
    """

    code: ClassVar[int]
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if cls.code in WIRE_ERRORS:
            raise TypeError(f"wire code {cls.code} belongs to {WIRE_ERRORS[cls.code]}")
        WIRE_ERRORS[cls.code] = cls

    def to_detail(self) -> dict[str, object]:
        """Return the constructor's arguments as they cross the wire."""
        # add_note() keeps its notes among the attributes; they stay here.
        return {name: value for name, value in vars(self).items() if name[0] != "_"}


class UnknownTargetError(RefusedError):
    """No queue has the name ``target``; up to 50 that exist are in ``known``."""

    code = 1

    def __init__(self, target: str, known: Iterable[str]) -> None:
        # Somebody may have 10,000 farms, and a mistake in a name that is sent often.
        self.known = list(islice(known, _MAX_KNOWN))
        names = ", ".join(self.known) or "none"
        more = ", ..." if len(self.known) == _MAX_KNOWN else ""
        super().__init__(f"no queue for target {target!r}; there are: {names}{more}")
        self.target = target


class QueueFullError(RefusedError):
    """The queue of ``target`` is at its ``limit`` of ``unit``; retry or shed load."""

    code = 2
    retryable = True

    def __init__(self, target: str, limit: int, unit: str = "messages") -> None:
        super().__init__(f"queue of {target!r} is full at {limit} {unit}")
        self.target = target
        self.limit = limit
        self.unit = unit


class MessageTooBigError(RefusedError):
    """A message of ``size`` bytes; ``limit`` (from max_frame_bytes) is allowed."""

    code = 3

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes; at most {limit} fit in a frame")
        self.size = size
        self.limit = limit


class DrainingError(RefusedError):
    """The master is stopping and takes no new messages; retry with the next one."""

    code = 4
    retryable = True

    def __init__(self) -> None:
        super().__init__("the master is draining and takes no new messages")


class LeaseLostError(RefusedError):
    """An ack or nack of message ``id`` came too late: it was given to another."""

    code = 5

    def __init__(self, id: int, attempt: int) -> None:  # noqa: A002  (wire name)
        super().__init__(f"attempt {attempt} of message {id} is no longer leased here")
        self.id = id
        self.attempt = attempt


class UnsupportedError(RefusedError):
    """The wire format knows ``feature``; this master does not offer it."""

    code = 6

    def __init__(self, feature: str) -> None:
        super().__init__(f"{feature} is not supported by this version of pymuled")
        self.feature = feature


class NotAllowedError(RefusedError):
    """The peer may not do this; ``reason`` names the rule."""

    code = 7

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotHolderError(RefusedError):
    """The caller does not hold ``lock``: it was released or taken, or never given."""

    code = 8

    def __init__(self, lock: str) -> None:
        super().__init__(
            f"lock {lock!r} is not held here: released, lost with its connection, past"
            " its ttl, or never had"
        )
        self.lock = lock


class SignalConflictError(RefusedError):
    """Signal ``number`` has a handler, registered at ``place``; ``other`` is another.

    One of them needs a number of its own, or none, which lets the master choose.
    """

    code = 9

    def __init__(self, number: int, place: str, other: str) -> None:
        super().__init__(
            f"signal {number} is registered at {place}, and differently at {other}"
        )
        self.number = number
        self.place = place
        self.other = other


class NoHandlerError(RefusedError):
    """Nobody has a handler for signal ``number``, or nobody at its ``target``.

    Those that have one are in ``known``.
    """

    code = 10

    def __init__(self, number: int, target: str, known: Sequence[int]) -> None:
        numbers = ", ".join(map(str, known)) or "none"
        at = f" at its target {target!r}" if target else ""
        super().__init__(
            f"no handler for signal {number}{at}; there are handlers for: {numbers}"
        )
        self.number = number
        self.target = target
        self.known = list(known)


class NoFreeSignalError(RefusedError):
    """Each of the ``limit`` signals has a handler."""

    code = 11

    def __init__(self, limit: int) -> None:
        super().__init__(f"all {limit} signals are taken; give up one, or share one")
        self.limit = limit


class BadCallError(RefusedError):
    """A call with a parameter that cannot be used; ``reason`` says which, and why."""

    code = 12

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StorageFullError(RefusedError):
    """There is no room at ``path`` to keep the message; retry when there is."""

    code = 13
    retryable = True

    def __init__(self, path: str) -> None:
        super().__init__(f"no room to keep the message at {path}")
        self.path = path


def error_from_wire(code: int, detail: Mapping[str, object]) -> RefusedError:
    """Rebuild the exception that crossed the wire as *code* and *detail*.

    Raises:
        RemoteProtocolError: The code is unknown or the detail does not fit it.
    """
    cls = WIRE_ERRORS.get(code)
    if cls is None:
        raise RemoteProtocolError(f"unknown error code {code}")
    try:
        return cls(**detail)
    except TypeError as exc:
        raise RemoteProtocolError(f"error {code} with detail {detail!r}") from exc


def error_of_reply(value: Mapping[str, object]) -> PymuleError:
    """Rebuild the exception that an error reply carries: ``code`` and ``detail``.

    What is no error of ours becomes a :class:`RemoteProtocolError`.
    """
    match value:
        case {"code": int(code), "detail": dict(detail)}:
            try:
                return error_from_wire(code, detail)
            except RemoteProtocolError as exc:
                return exc
        case _:
            return RemoteProtocolError(f"error reply {value!r}")
