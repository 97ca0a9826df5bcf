"""Makes ``journal_format1.db``: a journal as the first format had it.

Run once, when format 2 came: ``python -m tests.master.journal_format1``. The file is
kept as it is, so that the tests read what was written then.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ("FILE", "make_format1")

FILE: Final = Path(__file__).with_suffix(".db")

_SCHEMA: Final = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY, epoch INTEGER, next_id INTEGER, next_row INTEGER,
    clean INTEGER
);
CREATE TABLE rows (
    row INTEGER PRIMARY KEY, queue TEXT, first_id INTEGER, count INTEGER,
    accepted_at INTEGER, due_at INTEGER, options BLOB, payload BLOB
);
CREATE TABLE changes (
    row INTEGER, seq INTEGER, first_id INTEGER, count INTEGER, attempts INTEGER,
    crashes INTEGER, due_at INTEGER, errors TEXT, PRIMARY KEY (row, seq)
) WITHOUT ROWID;
CREATE TABLE dead (
    number INTEGER PRIMARY KEY, id INTEGER UNIQUE, queue TEXT, attempts INTEGER,
    crashes INTEGER, reason TEXT, errors TEXT, accepted_at INTEGER, died_at INTEGER,
    options BLOB, body BLOB
);
CREATE TABLE paused (queue TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO meta VALUES (1, 4, 1000, 200, 1);
INSERT INTO paused VALUES ('farm:slow');
PRAGMA application_id = 1887006060;
PRAGMA user_version = 1;
"""

_AT: Final = 1_763_000_000_000_000_000
_ERRORS: Final = json.dumps([{"type": "ValueError", "text": "no", "attempt": 1}])


def make_format1(path: Path) -> None:
    """Write one with two rows of two queues, a history, and a dead letter."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.executescript(_SCHEMA)
        lengths = b"\3\0\0\0" * 4
        connection.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (7, "farm:busy", 100, 4, _AT, None, b"", lengths + b"onetwosixten"),
                (9, "mule", 110, 1, _AT + 1, _AT + 10**18, b'{"key":"k"}', b"\0\0\0\0"),
            ],
        )
        connection.executemany(
            "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (7, 1, 100, 3, 1, 0, None, None),
                (7, 2, 100, 1, None, None, None, None),
                (7, 3, 101, 1, 2, 1, _AT + 5, _ERRORS),
            ],
        )
        connection.execute(
            "INSERT INTO dead VALUES (1, 50, 'mule', 5, 0, 'ATTEMPTS', ?, ?, ?, ?, ?)",
            (_ERRORS, _AT, _AT + 2, b"", b"body"),
        )


if __name__ == "__main__":
    make_format1(FILE)
