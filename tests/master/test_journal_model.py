"""Random facts, a stop or a crash at any point, and a naive model of what is left."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.master.journal_lock import JournalLock
from pymule.master.journal_numbers import Numbers
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.master.journal_start import open_file
from pymule.master.journal_survey import survey
from pymule.master.journal_writer import JournalWriter, Progress
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Fact,
    Gone,
    Paused,
    RowGone,
)
from tests.master.journaling import letter, stored

CLOCK = Clock(0)
# In memory, because what an fsync keeps is not asked here.
PLACE = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (each has a directory of its own)
QUEUES = ("mule", "farm:busy", "farm:slow")


@dataclass
class Model:
    """What a journal would be without a disk."""

    # By row: attempts and crashes of each id that is left.
    rows: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    # In the order in which they died.
    dead: dict[int, None] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    next_row: int = 1
    next_id: int = 1


class JournalMachine(RuleBasedStateMachine):
    """Writes turns of facts by hand; the thread is left out."""

    @initialize()
    def begin(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="journal-", dir=PLACE))
        self.model = Model()
        self.facts: list[Fact] = []
        self.epochs = 0
        self.open()

    def open(self) -> None:
        self.lock = JournalLock.take(self.path)
        self.file = open_file(self.lock)
        reader = Reader(self.file, CLOCK)
        rows = {
            row.stored.row: {
                number: (share.attempts, share.crashes)
                for share in row.shares
                for number in range(share.first_id, share.first_id + share.count)
            }
            for row in reader.rows()
        }
        assert rows == {row: left for row, left in self.model.rows.items() if left}
        assert list(rows) == sorted(rows)
        assert [one.id for one in reader.dead()] == list(self.model.dead)
        assert reader.paused() == self.model.paused
        epoch, next_id, next_row = self.file.connection.execute(
            "SELECT epoch, next_id, next_row FROM meta"
        ).fetchone()
        assert epoch == self.epochs
        assert next_id >= self.model.next_id
        assert next_row >= self.model.next_row
        self.model.next_id, self.model.next_row = next_id, next_row
        # A row of which nothing is left is said to be gone by the next master.
        self.facts = [RowGone(row) for row in reader.empty_rows]
        for row in reader.empty_rows:
            del self.model.rows[row]
        self.epochs += 1
        self.said: list[Progress] = []
        numbers = Numbers(self.epochs, next_id, next_row)
        note = ("UPDATE meta SET epoch = ?, clean = 0", (self.epochs,))
        self.file.run([note, *numbers.take(0, 0)], is_synced=True)
        self.writer = JournalWriter(
            self.file,
            self.lock,
            numbers,
            seen_window_s=600,
            on_progress=self.said.append,
            on_full=lambda _: None,
            on_failed=self.failed,
        )

    def failed(self, error: Exception) -> None:
        raise error

    def turn(self) -> None:
        """Write what was said since the last turn."""
        if self.facts:
            self.writer.queue.put((1, self.facts))
            self.writer._turn()
            self.facts = []

    @rule(count=st.integers(1, 6), queue=st.sampled_from(QUEUES), is_kept=st.booleans())
    def store(self, count: int, queue: str, *, is_kept: bool) -> None:
        row, first = self.model.next_row, self.model.next_id
        self.model.next_row += 1
        self.model.next_id += count
        fact = stored(row, first, count, queue=queue, is_kept=is_kept)
        self.model.rows[row] = dict.fromkeys(range(first, first + count), (0, 0))
        self.facts.append(fact)
        if not is_kept:
            # Nothing is said about it before it is known to be stored.
            self.turn()

    @precondition(lambda self: self.model.rows)
    @rule(
        data=st.data(),
        attempts=st.integers(0, 3),
        crashes=st.integers(0, 3),
        is_gone=st.booleans(),
    )
    def change(
        self, data: st.DataObject, attempts: int, crashes: int, *, is_gone: bool
    ) -> None:
        row = data.draw(st.sampled_from(sorted(self.model.rows)))
        left = self.model.rows[row]
        if not left:
            return
        first = data.draw(st.sampled_from(sorted(left)))
        count = data.draw(st.integers(1, max(left) - first + 1))
        for number in range(first, first + count):
            if is_gone:
                left.pop(number, None)
            elif number in left:
                left[number] = (attempts, crashes)
        self.facts.append(
            Gone(row, first, count)
            if is_gone
            else Changed(row, first, count, attempts, crashes)
        )

    @precondition(lambda self: self.model.rows)
    @rule(data=st.data(), is_dead=st.booleans())
    def finish(self, data: st.DataObject, *, is_dead: bool) -> None:
        row = data.draw(st.sampled_from(sorted(self.model.rows)))
        for number in self.model.rows.pop(row) if is_dead else ():
            self.model.dead.pop(number, None)
            self.model.dead[number] = None
            self.facts.append(Buried(letter(number)))
        self.model.rows.pop(row, None)
        self.facts.append(RowGone(row))

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data())
    def forget_dead(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model.dead)), min_size=1))
        for number in ids:
            self.model.dead.pop(number, None)
        self.facts.append(DeadGone(tuple(ids)))

    @rule(queue=st.sampled_from(QUEUES), is_paused=st.booleans())
    def pause(self, queue: str, *, is_paused: bool) -> None:
        (self.model.paused.add if is_paused else self.model.paused.discard)(queue)
        self.facts.append(Paused(queue, is_paused=is_paused))

    @rule()
    def write(self) -> None:
        self.turn()

    @rule()
    def rest(self) -> None:
        self.turn()
        self.writer._rest()

    @rule()
    def crash(self) -> None:
        """Begin again from what a kill leaves: the files as they are."""
        self.turn()
        aside = Path(tempfile.mkdtemp(prefix="journal-", dir=PLACE))
        shutil.copytree(self.path, aside, dirs_exist_ok=True)
        self.file.close()
        self.lock.close()
        shutil.rmtree(self.path)
        self.path = aside
        self.open()

    @rule()
    def stop(self) -> None:
        self.turn()
        self.writer.queue.put(None)
        self.writer.run()
        self.lock.close()
        self.open()

    @invariant()
    def no_row_was_refused(self) -> None:
        assert not any(progress.refused for progress in self.said)

    def teardown(self) -> None:
        if hasattr(self, "path"):
            self.turn()
            survey(self.file, is_thorough=True)
            self.file.close()
            self.lock.close()
            shutil.rmtree(self.path)


TestJournalModel = JournalMachine.TestCase
TestJournalModel.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
