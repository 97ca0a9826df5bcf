"""docs/operations.md says what the code does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "operations.md").read_text()
# Logged without the log function, by the thread that writes.
OF_THE_WRITER: Final = "log records dropped, the reader is too slow"


def events() -> Iterator[str]:
    for path in (ROOT / "pymule").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="log"), args=[_, _, ast.Constant(str(event))]
                ):
                    yield event


def documented_events() -> set[str]:
    table = TEXT.partition("| event | means | to do |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    return {event for cell in cells for event in re.findall("`([^`]+)`", cell)}


def test_every_event_of_the_log_is_explained() -> None:
    assert documented_events() == {*events(), OF_THE_WRITER}
