from pymule.convert.names import FLAGS, LETTERS, OPTIONAL
from pymule.convert.options import Reason, meaning_of


def test_no_option_is_of_two_kinds() -> None:
    assert not FLAGS & OPTIONAL
    assert "mule" in OPTIONAL
    assert not (FLAGS | OPTIONAL) & {"mules", "farm", "chdir", "socket"}


def test_every_name_is_known_to_the_table_of_options() -> None:
    names = FLAGS | OPTIONAL | set(LETTERS.values())

    assert [name for name in names if meaning_of(name) is Reason.UNKNOWN] == []
