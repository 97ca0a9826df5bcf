import pytest

from pymule.convert.options import Meaning
from pymule.convert.schedule import SCHEDULES, decorator_of


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "cron",
            "59 2 -1 -1 -1 /bin/backup --all",
            (
                '@cron(59, 2, -1, -1, -1, target="mule") on a function that runs:'
                " /bin/backup --all"
            ),
        ),
        (
            "unique-cron",
            " -5  -1 -1 -1 -1  x",
            (
                '@cron(-5, -1, -1, -1, -1, target="mule", overlap="skip") on a function'
                " that runs: x"
            ),
        ),
        (
            "legion-cron",
            "one 0 0 1 -1 -1 x",
            '@cron(0, 0, 1, -1, -1, target="mule") on a function that runs: x',
        ),
        (
            "cron2",
            "minute=-2,week=7,unique=1 x y",
            (
                '@cron(-2, -1, -1, -1, 7, target="mule", overlap="skip") on a function'
                " that runs: x y"
            ),
        ),
        (
            "cron2",
            "hour=04,unique=0 x",
            '@cron(-1, 4, -1, -1, -1, target="mule") on a function that runs: x',
        ),
        (
            "cron2",
            "run it",
            '@cron(-1, -1, -1, -1, -1, target="mule") on a function that runs: run it',
        ),
        ("timer", "17 30", "@timer(30) on the handler of 17"),
        ("signal-rbtimer", "17  030 ", "@rbtimer(30) on the handler of 17"),
        ("touch-signal", "/a b 3", '@filemon("/a b") on the handler of 3'),
        ("fs-signal", 'say "x" 3', '@filemon("say \\"x\\"") on the handler of 3'),
    ],
)
def test_the_decorator_that_does_the_same(name: str, value: str, line: str) -> None:
    meanings = {
        "unique-cron": Meaning.CRON,
        "signal-rbtimer": Meaning.RBTIMER,
        "fs-signal": Meaning.FILE_SIGNAL,
    }
    meaning = meanings.get(name) or Meaning(name)

    assert decorator_of(meaning, name, value) == line


@pytest.mark.parametrize("meaning", SCHEDULES)
@pytest.mark.parametrize(
    "value", ["", "x", "1 2 3 4 x", "minute=x y", "minute=1", "1 ", "9" * 5000]
)
def test_a_value_that_makes_no_sense_is_said_to_make_none(
    meaning: Meaning, value: str
) -> None:
    line = decorator_of(meaning, meaning.value, value)

    if not (meaning is Meaning.CRON2 and "=" not in value and value.strip()):
        assert line == f"makes no sense; allowed: {SCHEDULES[meaning][1]}"
