from datetime import UTC, datetime

import pytest
import typer

from pymule.cli.option_words import packed_words, time_of
from pymule.sansio.options import read_options, unpack_headers
from tests.cli.conftest import Daemon, run_pymule

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


def test_words_become_options() -> None:
    options = packed_words(
        at="2030-01-31T12:00:00Z",
        header=["trace=7f", "empty=", "sum=1=1"],
        words={"priority": 3, "key": "user 7", "ttl": None},
    )

    asked = read_options(options)
    assert (asked.priority, asked.key, asked.ttl) == (3, "user 7", None)
    assert asked.at == NOON.timestamp()
    assert unpack_headers(options) == {"trace": "7f", "empty": "", "sum": "1=1"}


def test_no_words_are_no_bytes() -> None:
    assert packed_words(at=None, header=None, words={"delay": 0, "priority": 0}) == b""


@pytest.mark.parametrize(
    "text",
    ["2030-01-31T12:00:00Z", "2030-01-31 14:00+02:00", "1896091200", "1896091200.0"],
)
def test_a_time_may_be_written_in_several_ways(text: str) -> None:
    when = time_of(text)

    assert NOON.timestamp() == (
        when.timestamp() if isinstance(when, datetime) else when
    )


@pytest.mark.parametrize(
    ("at", "header", "fault"),
    [
        ("tomorrow", None, "--at 'tomorrow'; allowed: as 2030-01-31T12:00:00Z"),
        ("2030-01-31", None, "--at '2030-01-31' has no time zone; allowed: as 2030"),
        ("nan", None, "at nan; allowed: 0 to"),
        (None, ["trace"], "--header 'trace'; allowed: NAME=VALUE"),
        (None, ["=7f"], "--header '=7f'; allowed: NAME=VALUE"),
    ],
)
def test_what_cannot_be_meant_is_told(
    at: str | None, header: list[str] | None, fault: str
) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        packed_words(at=at, header=header, words={})

    assert str(caught.value).startswith(fault)


@pytest.mark.slow
def test_the_options_of_send_are_those_of_the_message(ready: Daemon) -> None:
    send = ("send", "--key=k", "--priority=9", "--ttl=60", "--header=a=b", "-v")
    first = run_pymule(ready.directory, *send, "--message-id=m 1", "once")
    second = run_pymule(ready.directory, *send, "--message-id=m 1", "twice")
    run_pymule(ready.directory, "send", "--ttl=0", "expired")
    run_pymule(ready.directory, "send", "--max-attempts=1", "--delay=0.01", "late")

    assert first.stdout == second.stdout != b""
    assert ready.wait_for("<once>")
    assert ready.wait_for("<late>")
    assert "<twice>" not in ready.log
    assert "<expired>" not in ready.log
