import pytest

from pymule.convert.options import INCLUDES, Meaning, Reason, guess, meaning_of


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("mule", Meaning.MULE),
        ("touch-mules-reload", Meaning.TOUCH_RELOAD),
        ("pp", Meaning.PYTHON_PATH),
        ("wsgi", Meaning.MODULE),
        ("limit-as", Meaning.LIMIT),
        ("limit-post", Reason.WEB),
        ("http-socket", Reason.WEB),
        ("static-map", Reason.WEB),
        ("harakiri", Reason.WEB),
        ("mule-msg-size", Reason.SIZES),
        ("spooler-max-tasks", Reason.SPOOLER),
        ("cache2", Reason.STORE),
        ("log-4xx", Reason.LOG),
        ("emperor-tyrant", Reason.FLEET),
        ("php-docroot", Reason.LANGUAGES),
        ("hook-as-mule", Reason.DOUBT),
        ("", Reason.UNKNOWN),
        ("mule-harakri", Reason.UNKNOWN),
    ],
)
def test_what_becomes_of_an_option(name: str, meaning: Meaning | Reason) -> None:
    assert meaning_of(name) is meaning


def test_every_meaning_is_the_name_of_an_option() -> None:
    assert [m for m in Meaning if meaning_of(m.value) is not m] == []


def test_includes_that_cannot_be_read_are_to_be_looked_at() -> None:
    assert {meaning_of(name) for name in INCLUDES} == {Reason.DOUBT}


def test_reasons_are_sentences() -> None:
    assert [r for r in Reason if not r.value.endswith(".")] == []


def test_a_name_that_is_nearly_right_is_guessed() -> None:
    assert guess("mule-harakri") == "mule-harakiri"
    assert guess("tuch-reload") == "touch-reload"
    assert guess("something-else-entirely") is None
