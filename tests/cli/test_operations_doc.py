"""docs/operations.md says what the code does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.master.queue_desk import QueueDesk

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


def documented_keys(heading: str) -> list[str]:
    """Return the keys of the table whose third column has this heading."""
    table = TEXT.partition(f"| key | type | {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def keys_in(answer: dict[str, object], key: str) -> set[str]:
    """Return the keys of the first row of an answer."""
    rows = answer[key]
    assert isinstance(rows, list)
    return set(rows[0])


def test_the_keys_of_a_message_are_explained() -> None:
    desk = QueueDesk("mule")
    desk.submit("mule", b"text")

    keys = documented_keys("of `pymule peek --json`")

    assert len(keys) == len(set(keys))
    assert set(keys) == keys_in(desk.ask("peek", queue="mule"), "messages")


def test_the_keys_of_a_dead_letter_are_explained() -> None:
    desk = QueueDesk("mule")
    desk.bury("mule", b"text")

    keys = documented_keys("of a dead letter")

    listed = keys_in(desk.ask("dead"), "letters")
    whole = keys_in(desk.ask("dead", full=True), "letters")
    assert len(keys) == len(set(keys))
    assert set(keys) == listed | whole
