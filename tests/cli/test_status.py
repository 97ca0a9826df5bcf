import re
from typing import Final

import pytest

from pymule.cli.status import render_status

STATUS: Final[dict[str, object]] = {
    "schema": "pymule.status/1",
    "version": "0.1.0",
    "pid": 4711,
    "uptime_s": 11_523.4,
    "state": "running",
    "socket": "/run/pymule/pymule.sock",
    "config_error": None,
    "rss_bytes": 43_400_000,
    "mules": [
        {
            "id": 1,
            "name": "signal",
            "pid": 4712,
            "mode": "signal-only",
            "farms": [],
            "state": "up",
            "uptime_s": 59.9,
            "restarts": 0,
            "handled": 0,
            "in_hand": 0,
            "last_exit": None,
            "rss_bytes": 25_600_000,
        },
        {
            "id": 2,
            "name": "work.py",
            "pid": None,
            "mode": "programmed",
            "farms": ["busy", "idle"],
            "state": "backoff",
            "uptime_s": 0.0,
            "restarts": 12,
            "handled": 123_456,
            "in_hand": 3,
            "last_exit": {
                "reason": "status 1",
                "error": {"type": "ValueError", "text": "no\nsecond line"},
            },
            "rss_bytes": 0,
        },
    ],
    "queues": [
        {
            "target": "mule",
            "ready": 10,
            "leased": 2,
            "delayed": 0,
            "waiting": 0,
            "dead": 1,
            "acked": 123_456,
            "bytes": 2048,
        }
    ],
    "clients": [
        {"name": "web", "pid": 815, "uid": 1000},
        {"name": "pymule", "pid": 4800, "uid": 0},
    ],
}

# Long lines on purpose: this is what is shown.
TEXT: Final = """\
pymuled 0.1.0  running  pid 4711  up 3h 12m  41.4 MiB  /run/pymule/pymule.sock

ID  NAME     MODE         FARMS      STATE     PID   UP  RESTARTS  HANDLED  IN HAND       RSS  LAST EXIT
 1  signal   signal-only  -          up       4712  59s         0        0        0  24.4 MiB  -
 2  work.py  programmed   busy,idle  backoff     -   0s        12   123456        3       0 B  ValueError: no

QUEUE  READY  LEASED  DELAYED  WAITING  DEAD    DONE    BYTES  STATE
mule      10       2        0        0     1  123456  2.0 KiB  open

clients: web (pid 815, user 1000), pymule (pid 4800, user 0)
"""  # noqa: E501  (see above)


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


def test_a_status_is_three_calm_tables() -> None:
    assert render_status(STATUS) == TEXT


def test_colours_change_nothing_but_colours() -> None:
    text = render_status(STATUS, is_coloured=True)

    assert without_colours(text) == TEXT
    assert "\x1b[32mup\x1b[0m" in text
    assert "\x1b[31mbackoff\x1b[0m" in text


def test_the_mistakes_of_the_last_reload_are_shown_one_a_line() -> None:
    status = STATUS | {"config_error": "f:1:1: a: x\nf:2:1: b: y"}

    lines = render_status(status).splitlines()

    assert lines[1:3] == [
        "last reload failed: f:1:1: a: x",
        "last reload failed: f:2:1: b: y",
    ]


def test_what_a_daemon_does_not_tell_is_a_dash() -> None:
    text = render_status({"mules": [{}, 7], "queues": 3})

    assert text.startswith("pymuled -  -  pid -  up -  -  -\n\n")
    assert text.splitlines()[3].split() == ["-"] * 12
    assert text.endswith("clients: none\n")


def test_a_name_cannot_drive_the_terminal() -> None:
    status = STATUS | {"clients": [{"name": "a\x1b[2J\nb", "pid": 1, "uid": 2}]}

    assert r"clients: a\x1b[2J\x0ab (pid 1, user 2)" in render_status(status)


def test_a_mule_that_was_ended_without_an_error_shows_the_reason() -> None:
    mule = {"id": 1, "last_exit": {"reason": "harakiri", "error": None}}

    text = render_status({"mules": [mule]})

    assert text.splitlines()[3].endswith("  harakiri")


def test_locks_are_shown_when_there_are_any() -> None:
    lock = {
        "name": "reports",
        "holder": "web",
        "pid": 12,
        "held_s": 61.5,
        "waiting": 3,
        "token": 2**62,
    }

    shown = render_status({"locks": [lock]})

    assert "LOCK     HOLDER  PID   HELD  WAITING" in shown
    assert f"reports  web      12  1m 1s        3  {2**62}" in shown
    assert "LOCK" not in render_status({"locks": []})


def test_forkservers_are_shown_when_there_are_any() -> None:
    row = {
        "number": 1,
        "pid": 12,
        "state": "up",
        "preload": ["app", "app.models"],
        "mules": [1, 2, 3],
        "uptime_s": 61.5,
        "restarts": 0,
        "unfit": [],
        "rss_bytes": 1024,
    }
    unfit = {"number": 2, "unfit": ["thread 'a'", "thread 'b'"]}

    shown = render_status({"forkservers": [row, unfit]}).splitlines()

    head = next(n for n, line in enumerate(shown) if line.startswith("FORKSERVER"))
    assert shown[head + 1].split()[:6] == ["1", "app,app.models", "3", "up", "12", "1m"]
    assert shown[head + 2].endswith("  thread 'a'; thread 'b'")
    assert "FORKSERVER" not in render_status({"forkservers": []})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (None, "-"),
        ({"kind": "timer", "every": 60.0, "iterations": 0}, "every 60 s"),
        ({"kind": "timer", "every": 0.5, "iterations": 0}, "every 0.5 s"),
        ({"kind": "cron", "spec": "*/5 * * * *"}, "cron */5 * * * *"),
        ({"kind": "cron", "spec": [-5, -1, -1, -1, -1]}, "cron -5 -1 -1 -1 -1"),
        ({"kind": "filemon", "path": "/a\x1bb"}, r"change of /a\x1bb"),
        ({"kind": "moon"}, "-"),
    ],
)
def test_a_signal_shows_what_raises_it(source: object, text: str) -> None:
    signal = {"signal": 17, "target": "mules", "handler": "tick", "source": source}

    shown = render_status({"signals": [signal]})

    (row,) = [line for line in shown.splitlines() if line.lstrip().startswith("17")]
    assert row.startswith(f"    17  mules   tick     {text}")


def many(**more: object) -> dict[str, object]:
    mules = [{"id": number, "state": "up"} for number in range(1, 1001)]
    mules[699] = {"id": 700, "state": "backoff"}
    queues = [{"target": f"farm:{number}", "ready": 0} for number in range(10_000)]
    queues[5_000]["ready"] = 1
    queues[6_000]["paused"] = True
    clients = [{"name": f"web{n % 30}", "uid": 33, "pid": n} for n in range(10_000)]
    clients += [{"name": "cron", "uid": 0, "pid": 1}] * 500
    return STATUS | {"mules": mules, "queues": queues, "clients": clients} | more


def test_of_a_thousand_mules_those_that_are_not_up_are_shown_and_some_others() -> None:
    text = render_status(many())

    assert "1000 mules: 999 up, 1 backoff; 100 are shown, --all shows all" in text
    assert re.search(r"^ *700 .* backoff ", text, re.MULTILINE)
    assert re.search(r"^ *99 .* up ", text, re.MULTILINE)
    assert not re.search(r"^ *100 .* up ", text, re.MULTILINE)
    assert len(text.splitlines()) < 220


def test_of_many_queues_those_that_are_in_use_are_shown_and_some_others() -> None:
    text = render_status(many())

    assert "10000 queues; 100 are shown, --all shows all" in text
    assert all(f"farm:{number} " in text for number in (0, 97, 5_000, 6_000))
    assert "farm:98 " not in text


def test_of_many_clients_it_is_told_how_many_there_are_of_each_name() -> None:
    (line,) = re.findall(r"^10500 clients: .*$", render_status(many()), re.MULTILINE)

    assert "500 cron (user 0), 334 web0 (user 33)" in line
    assert line.endswith(", 11 other names")


def test_all_of_many_are_shown_to_who_asks_for_all() -> None:
    text = render_status(many(), is_long=True)

    assert len(text.splitlines()) > 11_000
    assert "--all" not in text
    assert "cron (pid 1, user 0), cron" in text
