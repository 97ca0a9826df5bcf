"""An answer as lines for a terminal."""

from collections.abc import Iterator, Sequence

from benchmarks.report import Answer, Budget, Table, span

__all__ = ("limit", "lines_of", "table", "verdict")


def lines_of(answer: Answer) -> Iterator[str]:
    """Yield the lines of all that *answer* has, its question first."""
    yield f"{answer.name}: {answer.question}"
    for one in answer.tables:
        yield from _of_table(one)
    if answer.budgets:
        yield ""
    for budget in answer.budgets:
        measured = span(budget.values, budget.form)
        yield f"{budget.what}: {measured}; budget {limit(budget)}: {verdict(budget)}"
    if answer.failures:
        yield ""
    yield from answer.failures


def limit(budget: Budget) -> str:
    """Return what it allows, as in ``at most 1.50 us``."""
    bound = "at most" if budget.is_ceiling else "at least"
    return f"{bound} {budget.limit:{budget.form}} {budget.unit}".rstrip()


def verdict(budget: Budget) -> str:
    """Return in a word or two whether it is met."""
    return {None: "not measured", False: "missed", True: "met"}[budget.is_met]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Lay out *rows* below *heads*; all columns but the first end at one line."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return tuple(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )


def _of_table(one: Table) -> Iterator[str]:
    yield from ("", one.title, "")
    yield from table(one.columns, one.rows)
    if one.notes:
        yield ""
    yield from one.notes
