"""Write dead letters for other programs: JSON lines, bodies in base64."""

import base64
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

from pymule.cli.entry import complain, json_text, write
from pymule.cli.exits import ExitCode
from pymule.cli.letters import Filter, all_letters
from pymule.cli.table import Row
from pymule.client.aio import Client
from pymule.sansio.excerpt import excerpt_bytes

__all__ = ("export_letters", "line_of", "opened")

_OF_EXCERPT: Final = frozenset({"body", "body_bytes", "body_offset", "truncated"})


@contextmanager
def opened(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Give what writes to a new file at *path*, or to stdout.

    The file is there when it is whole, and for its owner alone: bodies may be secret.

    Raises:
        typer.BadParameter: There is something at *path*.
        typer.Exit: It cannot be written; the reason was said.
    """
    if path is None:
        yield write
        return
    if path.exists() or path.is_symlink():
        raise typer.BadParameter(f"{path} exists; choose another")
    try:
        # Its mode is 0600.
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=path.parent, prefix=".pymule-", delete=False
        ) as file:
            part = Path(file.name)
            try:
                yield file.write
                file.flush()
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as exc:
        complain(f"{path}: cannot be written: {exc.strerror}")
        is_refused = isinstance(exc, PermissionError)
        code = ExitCode.NOT_ALLOWED if is_refused else ExitCode.UNCLEAN
        raise typer.Exit(code) from None


async def export_letters(
    client: Client, wanted: Filter, put: Callable[[str], object]
) -> int:
    """Give *put* a line for each dead letter that is *wanted*; return how many."""
    count = 0
    async for row in all_letters(client, wanted, is_full=True):
        put(line_of(row))
        count += 1
    return count


def line_of(letter: Row) -> str:
    """Return the line of one dead letter, which has its whole body."""
    body = base64.b64encode(excerpt_bytes(letter)).decode()
    others = {key: value for key, value in letter.items() if key not in _OF_EXCERPT}
    return json_text({**others, "body_base64": body}) + "\n"
