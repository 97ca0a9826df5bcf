import pytest

from pymule.convert.programs import is_dotted, program_of


@pytest.mark.parametrize("value", ["", "true", "True", "1", "yes", "on"])
def test_a_mule_without_a_program_says_so(value: str) -> None:
    assert program_of(value) == ("", "")


@pytest.mark.parametrize("value", ["x.py", "dir/a b.py", "pkg.mod:run", "m:a.b"])
def test_scripts_and_callables_stay_as_they_are(value: str) -> None:
    assert program_of(value) == (value, "")


@pytest.mark.parametrize("value", ["script", "a-b:run", "dir/x", "func()", "a:b:c"])
def test_other_programs_are_none_and_the_reason_is_told(value: str) -> None:
    program, problem = program_of(value)

    assert program == ""
    assert problem.startswith("is no script and no callable")


def test_a_factory_is_told_apart() -> None:
    assert program_of("pkg:make()") == (
        "",
        "a mule here calls what is named, and not what that returns",
    )


def test_a_dotted_name_is_made_of_identifiers() -> None:
    assert is_dotted("a.b_1")
    assert not any(map(is_dotted, ["", ".", "a.", "a-b", "1a"]))
