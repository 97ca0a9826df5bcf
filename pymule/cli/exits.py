"""How the two commands end: the numbers of sysexits(3), and what an error becomes."""

from enum import IntEnum
from typing import Final

from pymule.errors import (
    BadCallError,
    ConfigError,
    ConnectionLostError,
    JournalDamagedError,
    JournalFailedError,
    JournalFormatError,
    JournalInUseError,
    JournalSetupError,
    MasterUnavailableError,
    MessageTooBigError,
    NoHandlerError,
    NotAllowedError,
    PymuleError,
    RefusedError,
    RemoteProtocolError,
    SocketInUseError,
    SocketSetupError,
    UnknownTargetError,
    UnsupportedError,
)

__all__ = ("ExitCode", "exit_code_of")


class ExitCode(IntEnum):
    """What a script can tell apart; the table in ``docs/operations.md`` says more."""

    OK = 0
    UNCLEAN = 1
    USAGE = 64
    BAD_DATA = 65
    NO_DAEMON = 69
    INTERNAL = 70
    NO_SOCKET = 73
    IO_ERROR = 74
    TRY_AGAIN = 75
    PROTOCOL = 76
    NOT_ALLOWED = 77
    BAD_CONFIG = 78
    TIMEOUT = 124
    INTERRUPTED = 130
    BROKEN_PIPE = 141


# The first that fits counts.
_CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (ConfigError, ExitCode.BAD_CONFIG),
    (SocketInUseError, ExitCode.NO_SOCKET),
    (SocketSetupError, ExitCode.NO_SOCKET),
    (JournalDamagedError, ExitCode.BAD_DATA),
    (JournalFormatError, ExitCode.BAD_DATA),
    (JournalSetupError, ExitCode.NO_SOCKET),
    (JournalFailedError, ExitCode.IO_ERROR),
    (JournalInUseError, ExitCode.TRY_AGAIN),
    (ConnectionLostError, ExitCode.NO_DAEMON),
    (UnknownTargetError, ExitCode.BAD_DATA),
    (MessageTooBigError, ExitCode.BAD_DATA),
    (NoHandlerError, ExitCode.BAD_DATA),
    (BadCallError, ExitCode.BAD_DATA),
    (NotAllowedError, ExitCode.NOT_ALLOWED),
    (PermissionError, ExitCode.NOT_ALLOWED),
    (RemoteProtocolError, ExitCode.PROTOCOL),
    (UnsupportedError, ExitCode.PROTOCOL),
    (TimeoutError, ExitCode.TIMEOUT),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return how a command ends because of *error*; ``INTERNAL`` for a fault of ours.

    A refusal that the same call may not meet again is ``TRY_AGAIN``. A socket that
    this user may not open is no missing daemon.
    """
    if isinstance(error, RefusedError) and error.retryable:
        return ExitCode.TRY_AGAIN
    if isinstance(error, MasterUnavailableError) and isinstance(
        error.__cause__, PermissionError
    ):
        return ExitCode.NOT_ALLOWED
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.UNCLEAN if isinstance(error, PymuleError) else ExitCode.INTERNAL
