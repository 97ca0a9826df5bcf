"""A journal read to its last byte: that it can be read, and what is in it."""

from dataclasses import dataclass, field

from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.master.journal_start import open_file, translated

__all__ = ("QueueCount", "Survey", "open_whole", "survey")


@dataclass(slots=True)
class QueueCount:
    """What a journal has for one queue."""

    messages: int = 0
    dead: int = 0
    bytes: int = 0
    is_paused: bool = False


@dataclass(slots=True)
class Survey:
    """What is in a journal.

    Attributes:
        epoch: How often it was opened by a master.
        queues: By name.
        message_ids: How many are remembered.
        lost_commits: Transactions at the end of the WAL that cannot be read.
    """

    epoch: int
    rows: int = 0
    message_ids: int = 0
    lost_commits: int = 0
    queues: dict[str, QueueCount] = field(default_factory=dict)

    def queue(self, name: str) -> QueueCount:
        """Return the counts of a queue, which are zero at first."""
        return self.queues.setdefault(name, QueueCount())


def survey(file: JournalFile, *, is_thorough: bool = False) -> Survey:
    """Check the structure of *file*, and each record in it.

    Args:
        file: An open journal.
        is_thorough: Compare the indexes with their tables, too.

    Raises:
        JournalDamagedError: Something is not what was written.
        sqlite3.Error: It cannot be read.
    """
    file.check(is_thorough=is_thorough)
    found = Survey(int(str(file.one("SELECT epoch FROM meta"))))
    found.lost_commits = file.lost_commits
    reader = Reader(file, Clock.now())
    for row in reader.rows():
        queue = found.queue(row.stored.queue)
        queue.messages += sum(share.count for share in row.shares)
        queue.bytes += len(row.stored.payload)
        found.rows += 1
    for letter in reader.dead():
        found.queue(letter.queue).dead += 1
    for name in reader.paused():
        found.queue(name).is_paused = True
    found.message_ids = len(reader.seen(float("inf")))
    return found


def open_whole(lock: JournalLock) -> JournalFile:
    """Open a journal all of which can be read.

    Raises:
        JournalDamagedError: Something in it is not what was written.
    """
    with translated(lock):
        file = open_file(lock)
        try:
            survey(file)
        except BaseException:
            file.close()
            raise
        return file
