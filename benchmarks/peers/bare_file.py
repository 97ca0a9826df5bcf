"""No queue at all: one process that writes each message and syncs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.stage import Stage

__all__ = ("APPENDED", "VARIANTS", "BareFile")


@dataclass(frozen=True, slots=True)
class BareFile:
    """One way to write.

    Attributes:
        role: Of the program.
    """

    NAME: str
    role: str

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start it; there is nobody in the middle."""
        program = "benchmarks.programs.bare_file"
        stage.start_python(program, self.role, str(stage.state))
        yield None


APPENDED: Final = BareFile("write + fdatasync, appended", "append")
VARIANTS: Final = (
    APPENDED,
    BareFile("write + fdatasync, in place", "in-place"),
)
