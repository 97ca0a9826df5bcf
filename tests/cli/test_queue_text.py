import re
from typing import Final

import pytest

from pymule.cli.queue_text import (
    render_letter,
    render_letters,
    render_messages,
    render_queues,
    time_of,
)

NOW: Final = 1_764_000_000.0
QUEUES: Final[list[dict[str, object]]] = [
    {
        "target": "mule",
        "ready": 10,
        "leased": 2,
        "delayed": 1,
        "dead": 3,
        "oldest_s": 61.5,
        "durability": "disk",
        "paused": True,
        "closed": False,
    },
    {
        "target": "farm:busy",
        "ready": 0,
        "leased": 0,
        "delayed": 0,
        "dead": 0,
        "oldest_s": None,
        "durability": "memory",
        "paused": False,
        "closed": False,
    },
]
LETTER: Final[dict[str, object]] = {
    "id": 17,
    "queue": "farm:busy",
    "reason": "attempts",
    "attempts": 2,
    "crashes": 0,
    "accepted_at": NOW - 7_300,
    "died_at": NOW - 7_200,
    "options": {"priority": 3, "headers": {"trace": "ab", "x": "y"}},
    "errors": [
        {
            "type": "ValueError",
            "text": "no",
            "attempt": 1,
            "mule": 2,
            "at": NOW - 7_260,
        },
        {
            "type": "ValueError",
            "text": "never\nmore",
            "traceback": "Traceback:\n  File x\nValueError: never\n",
            "attempt": 2,
            "mule": 3,
            "at": NOW - 7_200,
        },
    ],
    "body": "one\ntwo",
    "body_bytes": 7,
    "body_offset": 0,
    "truncated": False,
}


def test_queues_are_a_table() -> None:
    assert render_queues(QUEUES) == (
        "QUEUE      READY  LEASED  DELAYED  DEAD  OLDEST  DURABILITY  STATE\n"
        "mule          10       2        1     3   1m 1s  disk        paused\n"
        "farm:busy      0       0        0     0       -  memory      open\n"
    )


def test_a_queue_that_a_reload_took_away_is_closed() -> None:
    (_, line) = render_queues([{**QUEUES[0], "closed": True}]).splitlines()

    assert line.endswith("  closed")


def test_messages_have_a_line_each() -> None:
    message = {
        "id": 4,
        "state": "ready",
        "attempts": 1,
        "priority": 0,
        "accepted_at": NOW - 5,
        "due_at": None,
        "body": "a\nb",
        "body_bytes": 300,
        "truncated": True,
    }
    binary = {**message, "id": 5, "body_base64": "/wA=", "truncated": False}
    binary["due_at"] = NOW
    del binary["body"]

    assert render_messages([message, binary], NOW).splitlines() == [
        "ID  STATE  DUE                   ATTEMPTS  PRIORITY  AGE   SIZE  BODY",
        r" 4  ready  -                            1         0   5s  300 B  a\x0ab...",
        r" 5  ready  2025-11-24T16:00:00Z         1         0   5s  300 B  \xff\x00",
    ]


def test_dead_letters_have_a_line_each() -> None:
    letter = {
        **LETTER,
        "error": {"type": "ValueError", "text": "no\x1b[2J"},
    }

    assert render_letters([letter, {"id": 18}], NOW).splitlines() == [
        "ID  QUEUE      REASON    ATTEMPTS    AGE  SIZE  ERROR",
        r"17  farm:busy  attempts         2  2h 0m   7 B  ValueError: no\x1b[2J",
        "18  -          -                -      -     -  -",
    ]


def test_one_dead_letter_is_shown_with_all_there_is() -> None:
    assert render_letter(LETTER, NOW) == (
        "message   17\n"
        "queue     farm:busy\n"
        "reason    attempts\n"
        "attempts  2\n"
        "crashes   0\n"
        "accepted  2025-11-24T13:58:20Z  (2h 1m ago)\n"
        "died      2025-11-24T14:00:00Z  (2h 0m ago)\n"
        "body      7 B\n"
        "priority  3\n"
        "header    trace: ab\n"
        "header    x: y\n"
        "\n"
        "attempts:\n"
        "  ATTEMPT  AT                    MULE  ERROR\n"
        "        1  2025-11-24T13:59:00Z     2  ValueError: no\n"
        "        2  2025-11-24T14:00:00Z     3  ValueError: never\n"
        "\n"
        "traceback:\n"
        "  Traceback:\n"
        "    File x\n"
        "  ValueError: never\n"
        "\n"
        "body:\n"
        "  one\n"
        "  two\n"
    )


def test_a_dead_letter_of_which_little_is_known_is_short() -> None:
    letter: dict[str, object] = {"id": 1, "errors": [], "body": ""}

    text = render_letter(letter, NOW)

    assert text.startswith("message   1\nqueue     -\n")
    assert "accepted  -\n" in text
    assert text.count("\n\n") == 0


ESCAPES: Final = "\x1b]0;x\x07\x9b2J\u202e\r\x0b\x0c\x1c\u2028"


def test_nothing_of_a_dead_letter_drives_the_terminal() -> None:
    letter: dict[str, object] = {
        **LETTER,
        "queue": ESCAPES,
        "reason": ESCAPES,
        "options": {ESCAPES: ESCAPES, "headers": {ESCAPES: ESCAPES}},
        "errors": [{"type": ESCAPES, "text": ESCAPES, "traceback": ESCAPES}],
        "error": {"type": ESCAPES, "text": ESCAPES},
        "body": ESCAPES,
        "state": ESCAPES,
        "target": ESCAPES,
        "durability": ESCAPES,
    }

    for text in (
        render_letter(letter, NOW),
        render_letters([letter], NOW),
        render_messages([letter], NOW),
        render_queues([letter]),
    ):
        assert re.search(r"[^\n\x20-\x7e]", text) is None
        assert r"\x1b" in text


@pytest.mark.parametrize("at", [None, "x", -1, 1e300])
def test_what_is_no_time_is_a_dash(at: object) -> None:
    assert time_of(at) == "-"
