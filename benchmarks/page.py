"""``python -m benchmarks.page``: render docs/performance.md from the results.

Between its marks everything is made from the newest answer of each benchmark; what is
around them is written by hand.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.archive import RESULTS, Kept, newest
from benchmarks.catalog import placed
from benchmarks.plots import svg_of
from benchmarks.report import Budget, Table, span
from benchmarks.surroundings import sentence
from benchmarks.text import limit, verdict

__all__ = ("figures", "pictures", "refreshed")

_PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
_IMAGES: Final = "images"
_BEGIN: Final = "<!-- figures: begin -->\n"
_END: Final = "<!-- figures: end -->\n"


def refreshed(page: str, kept: Mapping[str, Kept]) -> str:
    """Return *page* with other figures between its marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    made = "\n".join(figures(kept))
    return f"{before}{_BEGIN}{made}\n{_END}{after}"


def figures(kept: Mapping[str, Kept]) -> Iterator[str]:
    """Yield the lines: runs, budgets, then each benchmark's tables and plots."""
    ordered = [kept[name] for name in sorted(kept, key=placed)]
    yield from _runs(ordered)
    yield from _budgets([one for found in ordered for one in found.answer.budgets])
    for found in ordered:
        answer = found.answer
        yield from ("", f"### {answer.question}", "")
        yield f"`make bench ONLY={answer.name}`, {found.at[:10]}."
        for at, plot in enumerate(answer.plots):
            path = f"{_IMAGES}/{_picture(answer.name, at)}"
            yield from ("", f"![{plot.title}, {plot.unit}]({path})")
        for table in answer.tables:
            yield from _of_table(table)
        for failure in answer.failures:
            yield from ("", f"Not measured: {_cell(failure)}")


def pictures(kept: Mapping[str, Kept]) -> dict[str, bytes]:
    """Return all plots by the names of their files."""
    return {
        _picture(name, at): svg_of(plot)
        for name, found in kept.items()
        for at, plot in enumerate(found.answer.plots)
    }


def _runs(ordered: list[Kept]) -> Iterator[str]:
    """Yield what each run was made on, and which answers are of it."""
    runs: dict[str, list[Kept]] = {}
    for found in ordered:
        runs.setdefault(found.at, []).append(found)
    for at, answers in sorted(runs.items()):
        names = ", ".join(f"`{found.answer.name}`" for found in answers)
        yield f"- {at[:16].replace('T', ' ')} UTC: {sentence(answers[0].around)}."
        yield f"  Of this run: {names}."


def _budgets(budgets: list[Budget]) -> Iterator[str]:
    if not budgets:
        return
    yield from ("", "### Budgets", "")
    yield "| | budget | median (least to greatest round) | |"
    yield "| --- | ---: | ---: | --- |"
    for one in budgets:
        measured = f"{span(one.values, one.form)} {one.unit}".rstrip()
        word = verdict(one)
        mark = word if one.is_met else f"**{word}**"
        yield f"| {one.what} | {limit(one)} | {measured} | {mark} |"


def _of_table(table: Table) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(map(_cell, (table.title, *table.columns[1:])))} |"
    yield f"| --- |{' ---: |' * (len(table.columns) - 1)}"
    for row in table.rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    for note in table.notes:
        yield from ("", note)


def _cell(text: str) -> str:
    return text.partition("\n")[0].replace("|", "\\|")


def _picture(name: str, at: int) -> str:
    return f"{name}-{at + 1}.svg" if at else f"{name}.svg"


def _main() -> None:
    if not (kept := newest(RESULTS)):
        sys.exit(f"no figures in {RESULTS}; make bench makes them")
    folder = _PAGE.parent / _IMAGES
    folder.mkdir(exist_ok=True)
    for name, drawn in pictures(kept).items():
        (folder / name).write_bytes(drawn)
    _PAGE.write_text(refreshed(_PAGE.read_text(), kept))
    print(f"written: {_PAGE}, from {len(kept)} answers")


if __name__ == "__main__":
    _main()
