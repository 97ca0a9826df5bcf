"""From an earlier format of the journal to the present one.

Format 1 had the same tables without ``crc``, no ``message_id`` in ``rows``, and no
table ``seen``.
"""

import sqlite3
from contextlib import closing
from typing import Final

from pymule.master.journal_file import FORMAT, NAME, TABLES, JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_records import (
    CHANGE_COLUMNS,
    DEAD_COLUMNS,
    ROW_COLUMNS,
    Record,
    sealed,
)
from pymule.master.journal_turn import inserts

__all__ = ("migrate",)

_ROWS: Final = (
    "SELECT row, queue, first_id, count, accepted_at, due_at, options, payload"
    " FROM old_rows ORDER BY row"
)
_CHANGES: Final = (
    "SELECT row, seq, first_id, count, attempts, crashes, due_at, errors"
    " FROM old_changes ORDER BY row, seq"
)
_DEAD: Final = (
    "SELECT id, queue, attempts, crashes, reason, errors, accepted_at, died_at,"
    " options, body FROM old_dead ORDER BY number"
)
_OLD_TABLES: Final = ("rows", "changes", "dead")


def migrate(lock: JournalLock) -> None:
    """Bring the journal to :data:`FORMAT`; a copy of it as it was is kept.

    All of it is one transaction: an interruption leaves it as it was.

    Raises:
        JournalDamagedError: It has faults.
        sqlite3.Error: It cannot be read or written.
    """
    path = lock.path / NAME
    with closing(JournalFile(path)) as file:
        file.check(is_thorough=True)
        # The copy is one file, then, without a WAL.
        file.checkpoint("TRUNCATE")
    lock.copy(NAME, lock.free_name("journal.format1"))
    lock.sync()
    with closing(JournalFile(path)) as file:
        connection = file.connection
        connection.execute("BEGIN IMMEDIATE")
        _rewrite(connection)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
        file.checkpoint("TRUNCATE")


def _rewrite(connection: sqlite3.Connection) -> None:
    for table in _OLD_TABLES:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for statement in TABLES.split(";"):
        connection.execute(statement)
    for *columns, options, payload in connection.execute(_ROWS):
        _put(
            connection, "rows", ROW_COLUMNS, sealed((*columns, None), options, payload)
        )
    for columns in connection.execute(_CHANGES):
        _put(connection, "changes", CHANGE_COLUMNS, sealed(tuple(columns)))
    for *columns, options, body in connection.execute(_DEAD):
        _put(connection, "dead", DEAD_COLUMNS, sealed(tuple(columns), options, body))
    for table in _OLD_TABLES:
        connection.execute(f"DROP TABLE old_{table}")


def _put(
    connection: sqlite3.Connection, table: str, columns: str, record: Record
) -> None:
    for sql, parameters in inserts(table, columns, [record]):
        connection.execute(sql, parameters)
