import pytest

from pymule.convert.keys import Keys
from pymule.convert.options import Meaning


def keys(*options: tuple[Meaning, str, str]) -> Keys:
    keys = Keys()
    for meaning, name, value in options:
        keys.use(meaning, name, value)
    return keys


def test_single_values_are_in_our_words_and_the_last_counts() -> None:
    found = keys(
        (Meaning.HARAKIRI, "mule-harakiri", "5"),
        (Meaning.HARAKIRI, "mule-harakiri", "030"),
        (Meaning.STOP_TIMEOUT, "mule-reload-mercy", "60"),
        (Meaning.CWD, "chdir", "/srv"),
        (Meaning.USER, "uid", "www-data"),
        (Meaning.GROUP, "gid", "33"),
        (Meaning.UMASK, "umask", "022"),
        (Meaning.NICE, "prio", "-20"),
    )

    assert found.cwd == "/srv"
    assert found.each == {
        "harakiri_s": 30,
        "stop_timeout_s": 60,
        "cwd": "/srv",
        "user": "www-data",
        "group": 33,
        "umask": "0022",
        "nice": -20,
    }


def test_variables_and_limits_are_collected_and_come_last() -> None:
    found = keys(
        (Meaning.ENV, "env", "A=1"),
        (Meaning.LIMIT, "limit-as", "512"),
        (Meaning.LIMIT, "max-fd", "4096"),
        (Meaning.ENV, "env", "B=x=y"),
        (Meaning.ENV, "env", "A="),
        (Meaning.NICE, "prio", "1"),
    )

    assert list(found.each) == ["nice", "limits", "env"]
    assert found.each["limits"] == {"as": 512 * 1024 * 1024, "nofile": 4096}
    assert found.each["env"] == {"A": "", "B": "x=y"}


def test_paths_are_kept_once_each_in_their_order() -> None:
    found = keys(
        (Meaning.PYTHON_PATH, "pp", "b"),
        (Meaning.PYTHON_PATH, "pp", "a"),
        (Meaning.PYTHON_PATH, "pythonpath", "b"),
        (Meaning.TOUCH_RELOAD, "touch-reload", "stamp"),
    )

    assert (found.python_path, found.touch_reload) == (["b", "a"], ["stamp"])


def test_a_log_in_json_stays_one() -> None:
    found = keys(
        (Meaning.LOG_ENCODER, "log-encoder", "json {}"),
        (Meaning.LOG_ENCODER, "log-encoder", "prefix x"),
    )

    assert found.log_format == "json"


@pytest.mark.parametrize(
    ("meaning", "value"),
    [
        (Meaning.HARAKIRI, "0"),
        (Meaning.HARAKIRI, "-1"),
        (Meaning.STOP_TIMEOUT, "1.5"),
        (Meaning.STOP_TIMEOUT, "1000000001"),
        (Meaning.CWD, ""),
        (Meaning.USER, ""),
        (Meaning.GROUP, "4294967295"),
        (Meaning.GROUP, "9" * 5000),
        (Meaning.UMASK, "8"),
        (Meaning.UMASK, "1777"),
        (Meaning.NICE, "20"),
        (Meaning.NICE, "x"),
        (Meaning.LIMIT, "0"),
        (Meaning.LIMIT, "1 GB"),
        (Meaning.PYTHON_PATH, "lib/*"),
        (Meaning.TOUCH_RELOAD, ""),
        (Meaning.ENV, "A"),
        (Meaning.ENV, "=1"),
    ],
)
def test_a_value_that_cannot_be_a_key_is_refused(meaning: Meaning, value: str) -> None:
    found = Keys()

    with pytest.raises(ValueError, match=r"allowed: |patterns: "):
        found.use(meaning, meaning.value, value)

    assert (found.each, found.python_path, found.touch_reload) == ({}, [], [])


def test_what_has_no_value_of_its_own_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        Keys().use(Meaning.MULE, "mule", "x.py")
