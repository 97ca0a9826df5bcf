"""The module ``uwsgi``: what each call returns, as programs test for it."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from pymule.compat import hooks, uwsgi, uwsgidecorators
from pymule.compat.host import host
from pymule.compat.options import Options
from pymule.compat.refused import REFUSED
from pymule.errors import (
    MessageTooBigError,
    NoHandlerError,
    QueueFullError,
    UnknownTargetError,
)
from pymule.handlers import registry
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer
from tests.compat.conftest import Answers

Said = tuple[Answers, list[JsonObject]]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "uwsgi.md"
ATTRIBUTES: Final = {"atexit", "mule_msg_hook", "opt", "post_fork_hook"}


def handle(signum: int) -> None:
    """Do nothing, as a handler."""


# Messages


@pytest.mark.parametrize(
    ("target", "queue"),
    [
        ((), "mule"),
        ((0,), "mule"),
        ((2,), "mule2"),
        (("busy",), "farm:busy"),
        ((b"busy",), "farm:busy"),
    ],
)
@pytest.mark.parametrize("message", ["ü", "ü".encode(), bytearray("ü".encode())])
def test_a_message_that_was_sent_is_true(
    master: FakeMaster,
    message: str | bytes,
    target: tuple[int | str | bytes, ...],
    queue: str,
) -> None:
    assert uwsgi.mule_msg(message, *target) is True

    assert master.received == [(queue, "ü".encode())]


@pytest.mark.parametrize("error", [QueueFullError("mule", 5), MessageTooBigError(9, 5)])
def test_one_that_was_refused_is_false(
    master: FakeMaster,
    error: QueueFullError | MessageTooBigError,
    capsys: pytest.CaptureFixture[str],
) -> None:
    master.refusals["mule"] = error

    assert uwsgi.mule_msg("x") is False

    assert "mule_msg: not sent: " in capsys.readouterr().err


def test_without_a_master_it_is_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", "/nowhere")

    assert uwsgi.mule_msg("x") is False


@pytest.mark.parametrize(
    ("target", "queue", "text"),
    [
        (0, "mule", "no mule configured"),
        (9, "mule9", "invalid mule number"),
        ("lazy", "farm:lazy", "unknown farm"),
    ],
)
def test_a_target_that_is_not_there_is_an_error(
    master: FakeMaster, target: int | str, queue: str, text: str
) -> None:
    master.refusals[queue] = UnknownTargetError(queue, [])

    with pytest.raises(ValueError, match=text):
        uwsgi.mule_msg("x", target)


def test_so_are_a_target_and_a_message_that_cannot_be(master: FakeMaster) -> None:
    with pytest.raises(ValueError, match="invalid mule"):
        uwsgi.mule_msg("x", None)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="-1"):
        uwsgi.mule_msg("x", -1)
    with pytest.raises(TypeError, match="not int"):
        uwsgi.mule_msg(5)  # type: ignore[arg-type]  # wrong on purpose
    assert master.received == []


def test_a_message_to_a_farm_returns_none_whatever_happens(
    master: FakeMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    master.refusals["farm:lazy"] = UnknownTargetError("farm:lazy", [])
    send: Callable[[str, str], object] = uwsgi.farm_msg

    assert send("busy", "x") is None
    assert capsys.readouterr().err == ""
    assert send("lazy", "x") is None

    assert master.received == [("farm:busy", b"x")]
    assert "farm_msg: not sent: " in capsys.readouterr().err


def test_outside_of_a_mule_there_are_no_messages() -> None:
    for receive in (uwsgi.mule_get_msg, uwsgi.farm_get_msg):
        with pytest.raises(ValueError, match="only in a mule !!!"):
            receive()
    with pytest.raises(ValueError, match="only a mule"):
        uwsgi.signal_wait()


def test_the_size_of_a_message_is_that_of_the_master(master: FakeMaster) -> None:
    limit = uwsgi.mule_msg_recv_size()

    assert 65_536 < limit <= int(str(master.welcome["max_frame_bytes"]))


def test_a_hook_that_was_not_set_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="mule_msg_hook"):
        uwsgi.mule_msg_hook  # noqa: B018  (reading it is the test)
    with pytest.raises(TypeError, match="is no hook"):
        uwsgi.install_mule_msg_hook(5)  # type: ignore[arg-type]  # wrong on purpose

    setattr(uwsgi, "mule_msg_hook", print)  # noqa: B010  (as programs do)
    uwsgi.install_mule_msg_hook(repr)

    assert hooks.hooks() == [print, repr]
    assert uwsgi.mule_msg_extra_hooks == [repr]


# Identity


def test_a_client_is_no_mule(answers: Said) -> None:
    answers[0]["status"] = {"pid": 77}

    assert (uwsgi.mule_id(), uwsgi.worker_id(), uwsgi.masterpid()) == (0, 0, 77)
    assert uwsgi.in_farm() is None
    assert uwsgi.in_farm("busy") is None


def test_a_mule_is_true_or_none_in_a_farm(be_a_mule: Callable[..., None]) -> None:
    be_a_mule(3, "busy")

    assert (uwsgi.mule_id(), uwsgi.masterpid()) == (3, os.getppid())
    assert uwsgi.in_farm() is True
    assert uwsgi.in_farm("busy") is True
    assert uwsgi.in_farm(b"busy") is True
    assert uwsgi.in_farm("idle") is None


def test_the_constants_are_of_the_types_of_uwsgi() -> None:
    spooler: Callable[[], object] = uwsgi.i_am_the_spooler

    assert spooler() is None
    assert uwsgi.ready() is True
    assert uwsgi.version.startswith(b"2.")
    assert isinstance(uwsgi.hostname, bytes)
    assert uwsgi.micros() // 1_000_000 >= uwsgi.started_on


def test_the_options_are_asked_for_once(answers: Said) -> None:
    answers[0]["status"] = {"mules": [{"id": 1, "program": None, "farms": ["busy"]}]}

    options = uwsgi.opt

    assert isinstance(options, Options)
    assert options[b"farm"] == b"busy:1"
    assert uwsgi.opt is options
    assert len(answers[1]) == 1


# Signals


def refuse_raises(master: FakeMaster) -> None:
    error = NoHandlerError(5, "", [])

    def refuse(peer: Peer, call: Call) -> None:
        value: JsonObject = {"code": error.code, "detail": error.to_detail()}
        peer.send(Reply(call.id, ReplyKind.ERROR, value))

    master.on_call = refuse


def test_a_raise_returns_none_and_a_wrong_number_is_an_error(
    answers: Said, master: FakeMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_it: Callable[[int], object] = uwsgi.signal

    assert raise_it(5) is None
    assert answers[1] == [{"method": "raise", "signal": 5}]
    refuse_raises(master)
    assert raise_it(5) is None
    assert "signal: " in capsys.readouterr().err
    with pytest.raises(ValueError, match="300"):
        uwsgi.signal(300)
    with pytest.raises(NotImplementedError, match="another machine"):
        uwsgi.signal(5, "host:3031")


def test_a_registered_signal_is_true_or_none(
    answers: Said, be_a_mule: Callable[..., None]
) -> None:
    assert answers
    be_a_mule()
    register: Callable[..., object] = uwsgi.register_signal

    assert uwsgi.signal_registered(5) is None
    assert register(5, "mule", handle) is None
    assert register(5, "mule", handle) is None
    assert uwsgi.signal_registered(5) is True
    with pytest.raises(ValueError, match="unable to register signal"):
        register(5, "mule2", handle)
    with pytest.raises(ValueError, match="256"):
        register(256, "", handle)
    with pytest.raises(ValueError, match="spooler"):
        register(6, "spooler", handle)


def test_before_a_wait_no_signal_was_received() -> None:
    assert uwsgi.signal_received() == -1


# Timers and the like


def test_endless_timers_are_handlers_of_their_own(
    answers: Said, be_a_mule: Callable[..., None]
) -> None:
    assert answers
    be_a_mule()

    uwsgi.add_timer(5, 1)
    uwsgi.add_ms_timer(5, 20)
    uwsgi.add_rb_timer(5, 2)
    uwsgi.add_timer(5, 0)
    uwsgi.add_ms_timer(5, 0)

    sources = [handler.source for handler in registry.handlers]
    assert [source["every"] for source in sources if source] == [1.0, 0.02, 2.0]


def test_a_timer_with_an_end_is_asked_for(answers: Said) -> None:
    answers[0]["timer_add"] = {"timer": 1}

    uwsgi.add_rb_timer(5, 0, 1)
    uwsgi.add_rb_timer(5, 2, 3)

    assert answers[1] == [
        {"method": "timer_add", "signal": 5, "every": 0, "iterations": 1},
        {"method": "timer_add", "signal": 5, "every": 2, "iterations": 3},
    ]
    with pytest.raises(ValueError, match="0 seconds"):
        uwsgi.add_rb_timer(5, 0, 0)


def test_cron_entries_and_file_monitors_are_sources(
    answers: Said, be_a_mule: Callable[..., None]
) -> None:
    assert answers
    be_a_mule()
    monitor: Callable[..., object] = uwsgi.add_file_monitor

    assert uwsgi.add_cron(5, 0, -2, -1, -1, 7) is True
    assert monitor(5, b"/etc") is None

    cron, watch = [handler.source for handler in registry.handlers]
    assert cron is not None
    assert watch is not None
    assert (cron["kind"], cron["misfire"], watch["path"]) == ("cron", "once", "/etc")
    with pytest.raises(ValueError, match="99"):
        uwsgi.add_cron(5, 99, -1, -1, -1, -1)


# The daemon


@pytest.mark.parametrize(
    ("ask", "signum"), [(uwsgi.reload, signal.SIGHUP), (uwsgi.stop, signal.SIGTERM)]
)
def test_the_master_is_asked_by_a_unix_signal(
    monkeypatch: pytest.MonkeyPatch,
    be_a_mule: Callable[..., None],
    ask: Callable[[], bool],
    signum: signal.Signals,
) -> None:
    be_a_mule()
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))

    assert ask() is True

    assert sent == [(os.getppid(), signum)]


def test_a_line_goes_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert uwsgi.log("text") is True
    assert uwsgi.log(b"bytes") is True

    assert capsys.readouterr().err == "text\nbytes\n"


def test_a_harakiri_can_be_called_off() -> None:
    uwsgi.set_user_harakiri(1000)
    uwsgi.set_user_harakiri(0)

    assert host.mule_id == 0


# The document


def rows_of(section: str) -> dict[str, tuple[str, str]]:
    """Return status and remark of each name in the tables of *section*."""
    text = DOCUMENT.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 3 and cells[0].startswith("`"):
            for name in re.findall(r"`(\w+)`", cells[0]):
                assert name not in found, name
                found[name] = (cells[1], cells[2])
    return found


def test_the_document_has_each_name_of_the_module_and_what_became_of_it() -> None:
    rows = rows_of("`import uwsgi`")

    assert set(rows) == {*uwsgi.__all__, *REFUSED, *ATTRIBUTES}
    for name, (status, remark) in rows.items():
        if name in REFUSED:
            assert (status, remark) == ("`NotImplementedError`", REFUSED[name])
        else:
            assert status in {"as in uWSGI", "differs"}, name
            assert remark or status == "as in uWSGI", name


def test_the_document_has_each_decorator() -> None:
    rows = rows_of("`import uwsgidecorators`")

    assert set(rows) == set(uwsgidecorators.__all__)
    for name, (status, _) in rows.items():
        refused = name in {"erlang", "rpc", "spool", "spoolforever", "spoolraw"}
        assert (status == "`NotImplementedError`") is refused, name
