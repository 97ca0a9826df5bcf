"""The files in ``results``: one for each run, written as answers come."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from benchmarks.report import Answer
from benchmarks.surroundings import Surroundings

__all__ = ("RESULTS", "Kept", "Run", "newest")

RESULTS: Final = Path(__file__).parent / "results"

_ANSWER: Final = TypeAdapter(Answer)


class Run:
    """One run: its file has the answers that are there, whenever it is cut off.

    Args:
        path: Of the file; its folder is made.
        is_quick: Whether the figures mean nothing.
    """

    def __init__(self, path: Path, around: Surroundings, *, is_quick: bool) -> None:
        self.path = path
        self._content = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "is_quick": is_quick,
            **around,
        }
        self._answers: dict[str, object] = {}

    def keep(self, answer: Answer, took_s: float) -> None:
        """Write *answer* beside those before it; a reader sees all of it or nothing."""
        shown = asdict(answer)
        data = shown.pop("data")
        self._answers[shown.pop("name")] = {**shown, "took_s": round(took_s, 1), **data}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}")
        content = {**self._content, "benchmarks": self._answers}
        draft.write_text(json.dumps(content, indent=1) + "\n")
        draft.replace(self.path)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer of an earlier run.

    Attributes:
        at: When the run began, in UTC.
        around: What it depended on.
    """

    at: str
    around: Surroundings
    answer: Answer


def newest(folder: Path) -> dict[str, Kept]:
    """Return of each benchmark the newest answer that has figures; quick ones do not.

    Files that an older version of this program wrote may have no tables; those are
    passed over, too.
    """
    found: dict[str, Kept] = {}
    for kept in sorted(_all_in(folder), key=lambda kept: kept.at):
        found[kept.answer.name] = kept
    return found


def _all_in(folder: Path) -> Iterator[Kept]:
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        answers = content.pop("benchmarks")
        if content["is_quick"]:
            continue
        for name, shown in answers.items():
            if shown.get("tables"):
                answer = _ANSWER.validate_python({"name": name, **shown})
                yield Kept(content["at"], content, answer)
