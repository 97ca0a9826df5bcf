"""Numbers of rows and messages, none of which is ever used twice.

So many ahead are noted as used by a transaction that uses some of them; after a crash
the next master begins behind those, after a clean stop behind the last that was used.
"""

from dataclasses import dataclass
from typing import Final

from pymule.master.journal_turn import Statement

__all__ = ("Numbers",)

_AHEAD: Final = 1 << 20


@dataclass(slots=True)
class Numbers:
    """The next numbers, and those before which all are noted as used."""

    epoch: int
    next_id: int
    next_row: int
    id_end: int = 0
    row_end: int = 0

    def take(self, highest_id: int, highest_row: int) -> list[Statement]:
        """Note numbers as used; return what to write in the same transaction."""
        self.next_id = max(self.next_id, highest_id + 1)
        self.next_row = max(self.next_row, highest_row + 1)
        if self.next_id <= self.id_end and self.next_row <= self.row_end:
            return []
        self.id_end = self.next_id + _AHEAD
        self.row_end = self.next_row + _AHEAD
        return [
            ("UPDATE meta SET next_id = ?, next_row = ?", (self.id_end, self.row_end))
        ]

    def forget_end(self) -> None:
        """Note again what is used: the last note was not written."""
        self.id_end = self.row_end = 0
