"""Says, in facts, what becomes of messages that a journal keeps.

Only batches with a row are spoken of, so a queue in memory costs one look at a number.
"""

from pymule.sansio.delivery import DeadLetter
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Fact,
    Gone,
    Paused,
    RowGone,
    Stored,
)
from pymule.sansio.run import Run

__all__ = ("Ledger",)


class Ledger:
    """The facts since somebody last took them.

    Args:
        next_row: Number of the next row.
    """

    def __init__(self, next_row: int = 1) -> None:
        self.next_row = next_row
        self._facts: list[Fact] = []

    def take(self) -> list[Fact]:
        """Return the facts, in their order."""
        facts, self._facts = self._facts, []
        return facts

    def store(self, run: Run, *, due_at: float | None, is_synced: bool) -> int:
        """Give the batch of *run*, which is all of it, a row; return its number.

        With the row goes that the attempt has begun, if it has.
        """
        self._enter(run, due_at, is_synced=is_synced, is_kept=False)
        return run.batch.row

    def keep(self, run: Run) -> None:
        """*run* is in a batch of its own now, and leaves the row that it was in."""
        self._enter(run, None, is_synced=False, is_kept=True)

    def _enter(
        self, run: Run, due_at: float | None, *, is_synced: bool, is_kept: bool
    ) -> None:
        row = run.batch.row = self.next_row
        self.next_row += 1
        self._facts.append(
            Stored(
                row,
                run.queue.name,
                run.first_id,
                run.count,
                run.options,
                run.batch.payload,
                run.at,
                due_at,
                is_synced,
                is_kept,
                None if is_kept else run.asked.message_id,
                run.is_begun and not is_kept,
            )
        )

    def leased(self, run: Run) -> None:
        """*run* goes to a mule: from now on a crash finds the attempt spent."""
        row = run.batch.row
        if row:
            self._facts.append(
                Changed(
                    row,
                    run.first_id,
                    run.count,
                    run.attempts + 1,
                    run.crashes,
                    None,
                    run.errors,
                )
            )

    def changed(self, run: Run, due_at: float | None = None) -> None:
        """*run* waits again, with this history."""
        row = run.batch.row
        if row:
            run.begun = 0
            self._facts.append(
                Changed(
                    row,
                    run.first_id,
                    run.count,
                    run.attempts,
                    run.crashes,
                    due_at,
                    run.errors,
                )
            )

    def settled(self, run: Run) -> None:
        """*run* is done with, and counted off its batch."""
        row = run.batch.row
        if not row:
            return
        if run.batch.unsettled:
            self._facts.append(Gone(row, run.first_id, run.count))
        else:
            self._facts.append(RowGone(row))

    def buried(self, letter: DeadLetter) -> None:
        """A message of a row became a dead letter."""
        self._facts.append(Buried(letter))

    def dead_gone(self, ids: tuple[int, ...]) -> None:
        """Dead letters left."""
        self._facts.append(DeadGone(ids))

    def paused(self, queue: str, *, is_paused: bool) -> None:
        """A queue was paused, or resumed."""
        self._facts.append(Paused(queue, is_paused))
