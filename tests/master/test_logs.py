import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.master import logs
from pymule.master.logs import (
    JsonFormatter,
    LogSink,
    TextFormatter,
    escape_controls,
    log,
)
from tests.conftest import MS

CONTROLS = re.compile(
    "[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]+)(?: |$)')


def a_record(event: str = "mule exited", **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "pymule.master",
            "levelname": "INFO",
            "levelno": logging.INFO,
            "msg": event,
            "created": 1795541431.123,
            "fields": fields,
        }
    )


class PipeStream:
    """A text stream into a pipe, and what came out of it."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.stream: TextIO = os.fdopen(self.write_fd, "w")

    def fill(self) -> int:
        """Fill the pipe so that the next write blocks; return how much it took."""
        os.set_blocking(self.write_fd, False)
        written = 0
        try:
            while True:
                written += os.write(self.write_fd, b"#" * 4096)
        except BlockingIOError:
            os.set_blocking(self.write_fd, True)
        return written

    def read_until(self, end: bytes) -> str:
        data = b""
        while not data.endswith(end):
            data += os.read(self.read_fd, 65536)
        return data.decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self.read_fd)


@pytest.fixture
def pipe() -> Iterator[PipeStream]:
    pipe = PipeStream()
    yield pipe
    pipe.close()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("pymule.test")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def a_sink(pipe: PipeStream, logger: logging.Logger, pending: int = 4096) -> LogSink:
    sink = LogSink(pipe.stream, TextFormatter(), max_pending_bytes=pending)
    logger.addHandler(sink)
    return sink


# What a record looks like


def test_a_record_is_a_line_of_text() -> None:
    line = TextFormatter().format(a_record(mule=2, status=1))

    assert line == (
        "2026-11-24T17:30:31.123Z INFO pymule.master mule exited mule=2 status=1"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a=b", '"a=b"'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\nbreak", '"line\\x0abreak"'),
        ("\x1b[31m", "\\x1b[31m"),
        (True, "true"),
        (None, "none"),
        (12.34567, "12.346"),
        (-9, "-9"),
    ],
)
def test_a_value_is_quoted_when_it_needs_to_be(value: object, text: str) -> None:
    line = TextFormatter().format(a_record(key=value))

    assert line.endswith(f"mule exited key={text}")


@given(values=st.lists(st.text(), min_size=1, max_size=4))
def test_no_value_can_forge_a_line_or_a_field(values: list[str]) -> None:
    fields = {f"k{number}": value for number, value in enumerate(values)}

    line = TextFormatter().format(a_record(**fields))

    assert not CONTROLS.search(line)
    start = line.index("mule exited ") + len("mule exited ")
    assert [match[1] for match in FIELD.finditer(line, start)] == list(fields)


@given(event=st.text())
def test_no_event_can_forge_a_line(event: str) -> None:
    line = TextFormatter().format(a_record(event))

    assert not CONTROLS.search(line)


@given(text=st.text())
def test_what_is_escaped_stays_as_it_is(text: str) -> None:
    once = escape_controls(text)

    assert escape_controls(once) == once


def test_controls_are_shown_and_other_scripts_are_kept() -> None:
    text = "\x1b]0;\u202e\u2069\r\n\x85\tgrüß 猫"

    assert escape_controls(text) == "\\x1b]0;\\u202e\\u2069\\x0d\\x0a\\x85\tgrüß 猫"


def test_a_traceback_is_marked_and_cannot_pretend_to_be_a_record() -> None:
    error = ValueError("bad\n2026-11-24T17:30:31.123Z INFO forged")
    record = a_record()
    record.exc_info = (ValueError, error, None)

    first, *rest = TextFormatter().format(record).split("\n")

    assert first.endswith("mule exited")
    assert rest[-1] == "  | 2026-11-24T17:30:31.123Z INFO forged"
    assert all(line.startswith("  | ") for line in rest)


def test_a_record_of_another_library_has_no_fields() -> None:
    record = logging.makeLogRecord({"name": "asyncio", "msg": "took %d", "args": (3,)})

    line = TextFormatter().format(record)

    assert line.endswith("asyncio took 3")


def test_a_stack_is_shown_when_asked_for() -> None:
    record = a_record()
    record.stack_info = "Stack:\n  here"

    assert TextFormatter().format(record).endswith("\n  | Stack:\n  |   here")


def test_a_record_is_an_object_of_json() -> None:
    line = JsonFormatter().format(a_record(mule=2, path=os.PathLike, text="a\nb"))

    assert json.loads(line) == {
        "ts": "2026-11-24T17:30:31.123Z",
        "level": "INFO",
        "logger": "pymule.master",
        "event": "mule exited",
        "mule": 2,
        "path": str(os.PathLike),
        "text": "a\nb",
    }
    assert "\n" not in line


def test_a_field_cannot_replace_a_fixed_key_of_json() -> None:
    line = JsonFormatter().format(a_record(level="low", exc="none"))

    assert json.loads(line)["level"] == "INFO"
    assert json.loads(line)["level_"] == "low"
    assert json.loads(line)["exc_"] == "none"


def test_an_exception_is_a_key_of_json() -> None:
    record = a_record()
    record.exc_info = (ValueError, ValueError("bad"), None)

    line = JsonFormatter().format(record)

    assert json.loads(line)["exc"] == "ValueError: bad"


def test_log_carries_fields_the_place_and_the_exception(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.addHandler(caplog.handler)
    error = ValueError("bad")

    log(logger, logging.ERROR, "50 % wrong", exc=error, level="x", event="y")

    (record,) = caplog.records
    assert record.getMessage() == "50 % wrong"
    assert record.__dict__["fields"] == {"level": "x", "event": "y"}
    assert record.filename == "test_logs.py"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_log_costs_nothing_below_the_level(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.addHandler(caplog.handler)

    log(logger, logging.DEBUG, "frame in", size=3)

    assert caplog.records == []


# The sink


def test_records_are_written_in_order(pipe: PipeStream, logger: logging.Logger) -> None:
    a_sink(pipe, logger)

    for number in range(3):
        log(logger, logging.INFO, "line", number=number)

    lines = pipe.read_until(b"number=2\n").splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [
        "number=0",
        "number=1",
        "number=2",
    ]


def test_text_that_is_not_unicode_is_written_escaped(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    a_sink(pipe, logger)

    log(logger, logging.INFO, os.fsdecode(b"caf\xe9"))

    assert "caf\\udce9" in pipe.read_until(b"\n")


def test_the_caller_never_waits_and_is_told_what_was_dropped(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger, pending=1000)
    filled = pipe.fill()

    for _ in range(100):
        log(logger, logging.INFO, "x" * 100)

    assert sink.is_congested()
    text, written, dropped = "", 0, 0
    # Reported in one or several records, as the thread came to take them.
    while written + dropped < 100:
        text += pipe.read_until(b"\n")
        written = text.count("x" * 100)
        dropped = sum(map(int, re.findall("too slow count=(.*)", text)))
    assert text.startswith("#" * filled)
    assert written + dropped == 100
    assert 0 < written < 10


def test_a_sink_with_room_is_not_congested(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger)

    log(logger, logging.INFO, "one")

    assert not sink.is_congested()


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(
    pipe: PipeStream, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_waiting = threading.Event()
    wait_writable = logs._wait_writable

    def announce(fd: int) -> None:
        is_waiting.set()
        wait_writable(fd)

    monkeypatch.setattr(logs, "_wait_writable", announce)
    pipe.fill()
    os.set_blocking(pipe.write_fd, False)
    sink = a_sink(pipe, logger)
    log(logger, logging.INFO, "kept")
    assert is_waiting.wait(5000 * MS)

    text = pipe.read_until(b"kept\n")
    sink.close()

    assert text.endswith("kept\n")


def test_a_reader_that_left_is_no_error(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger)
    os.dup2(pipe.write_fd, pipe.read_fd)

    log(logger, logging.INFO, "unheard")
    sink.close()

    assert len(sink.tail(1)) == 1


def test_close_writes_what_waits_and_later_records_are_not_written(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger)
    log(logger, logging.INFO, "before")

    sink.close()
    log(logger, logging.INFO, "after")

    pipe.stream.close()
    assert os.read(pipe.read_fd, 4096).endswith(b"before\n")


def test_close_gives_up_on_a_reader_that_stopped(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger)
    pipe.fill()
    log(logger, logging.INFO, "stuck")

    sink.close(timeout=1 * MS)

    assert pipe.read_until(b"stuck\n").endswith("stuck\n")
    sink.close()
    assert "pymule-log" not in {thread.name for thread in threading.enumerate()}


def test_the_last_lines_can_be_read_again(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger, pending=1 << 20)
    for number in range(1010):
        log(logger, logging.INFO, "line", number=number)

    assert [line.rpartition("=")[2] for line in sink.tail(2)] == ["1008", "1009"]
    assert len(sink.tail(5000)) == 1000
    assert sink.tail(0) == []


def test_a_subscriber_gets_each_line_as_it_is_logged(
    pipe: PipeStream, logger: logging.Logger
) -> None:
    sink = a_sink(pipe, logger)
    first: list[str] = []
    second: list[str] = []
    sink.subscribe(first.append)
    sink.subscribe(second.append)

    log(logger, logging.INFO, "one")
    sink.unsubscribe(first.append)
    sink.unsubscribe(first.append)
    log(logger, logging.INFO, "two")

    assert [line.rpartition(" ")[2] for line in first] == ["one"]
    assert [line.rpartition(" ")[2] for line in second] == ["one", "two"]


def test_a_wrong_call_of_the_logger_does_not_reach_its_caller(
    pipe: PipeStream,
    logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sink = a_sink(pipe, logger)

    sink.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))

    assert "no number" in capsys.readouterr().err
    assert sink.tail(1) == []


def test_what_a_mule_printed_comes_last_and_behind_a_bar() -> None:
    record = logging.makeLogRecord(
        {
            "name": "pymule.mule",
            "levelname": "INFO",
            "msg": "mule output",
            "fields": {"mule": 3, "stream": "stdout", "line": 'a="1" \x1b[2J'},
        }
    )

    text = TextFormatter().format(record)

    assert text.endswith('INFO pymule.mule mule=3 stream=stdout | a="1" \\x1b[2J')
