import re
from pathlib import Path

import pytest

from pymule.cli.exits import ExitCode, exit_code_of
from pymule.errors import (
    ConfigError,
    ConnectionLostError,
    DrainingError,
    JournalDamagedError,
    JournalFailedError,
    JournalFormatError,
    JournalInUseError,
    JournalSetupError,
    LocalProtocolError,
    MasterUnavailableError,
    MessageTooBigError,
    NotAllowedError,
    QueueFullError,
    RemoteProtocolError,
    SocketInUseError,
    SocketSetupError,
    StorageFullError,
    UnknownTargetError,
    UnsupportedError,
)

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), 78),
        (SocketInUseError("x", 1), 73),
        (SocketSetupError("x", "y"), 73),
        (JournalDamagedError("x", "y"), 65),
        (JournalFormatError("x", 3, 2), 65),
        (JournalSetupError("x", "y"), 73),
        (JournalFailedError("x", "y"), 74),
        (JournalInUseError("x", 1), 75),
        (StorageFullError("x"), 75),
        (MasterUnavailableError("x", "y"), 69),
        (ConnectionLostError("x"), 69),
        (UnknownTargetError("x", []), 65),
        (MessageTooBigError(2, 1), 65),
        (QueueFullError("x", 1), 75),
        (DrainingError(), 75),
        (NotAllowedError("x"), 77),
        (PermissionError("x"), 77),
        (RemoteProtocolError("x"), 76),
        (UnsupportedError("x"), 76),
        (TimeoutError(), 124),
        (LocalProtocolError("x"), 1),
        (ZeroDivisionError(), 70),
        (OSError("x"), 70),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_has_its_status(error: Exception, status: int) -> None:
    assert exit_code_of(error) == status


def test_a_socket_that_this_user_may_not_open_is_no_missing_daemon() -> None:
    error = MasterUnavailableError("x", "Permission denied")
    error.__cause__ = PermissionError()

    assert exit_code_of(error) is ExitCode.NOT_ALLOWED


def test_the_document_has_exactly_these_statuses() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", OPERATIONS.read_text(), re.MULTILINE)

    assert [(int(number), name) for number, name in rows] == [
        (int(code), code.name) for code in ExitCode
    ]
