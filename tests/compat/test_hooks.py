"""The hooks of a mule without a program."""

import pytest

from pymule.compat import hooks, uwsgi
from pymule.compat.host import host


def fail(_message: bytes) -> None:
    raise ValueError("not mine")


def leave(_message: bytes) -> None:
    raise SystemExit


def test_the_attribute_comes_before_what_was_installed() -> None:
    seen: list[str] = []
    uwsgi.install_mule_msg_hook(lambda _message: seen.append("extra"))
    uwsgi.install_mule_msg_hook(lambda _message: seen.append("another"))
    vars(uwsgi)["mule_msg_hook"] = lambda _message: seen.append("first")

    hooks.dispatch(b"x")

    assert seen == ["first", "extra", "another"]


def test_a_hook_that_is_no_function_is_none() -> None:
    vars(uwsgi)["mule_msg_hook"] = None

    assert hooks.hooks() == []


def test_what_a_hook_raises_is_printed_and_the_next_one_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[bytes] = []
    hooks.extra_hooks.extend([fail, seen.append])

    hooks.dispatch(b"x")

    assert seen == [b"x"]
    assert "ValueError: not mine" in capsys.readouterr().err


def test_a_hook_may_end_the_mule() -> None:
    hooks.extra_hooks.append(leave)

    with pytest.raises(SystemExit):
        hooks.dispatch(b"x")


def test_the_hook_of_the_fork_runs_when_the_application_is_loaded() -> None:
    seen: list[str] = []
    host.mule = {"id": 1, "farms": []}
    host.after_registration(lambda: seen.append("deferred"))
    vars(uwsgi)["post_fork_hook"] = lambda: seen.append("forked")

    hooks.begin(is_loaded=False)
    assert seen == ["deferred"]
    hooks.begin(is_loaded=True)

    assert seen == ["deferred", "forked"]


def test_a_hook_of_the_fork_that_raises_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    vars(uwsgi)["post_fork_hook"] = lambda: fail(b"")

    hooks.begin(is_loaded=True)

    assert "ValueError: not mine" in capsys.readouterr().err


def test_the_hook_of_the_end_runs_if_there_is_one() -> None:
    seen: list[str] = []

    hooks._at_exit()
    vars(uwsgi)["atexit"] = lambda: seen.append("end")
    hooks._at_exit()

    assert seen == ["end"]
