from pathlib import Path

import pytest

from pymule.convert.formats import FORMS, form_of, read_file, read_text, split_section
from pymule.convert.magic import Magic
from pymule.convert.surroundings import Surroundings
from pymule.errors import ConfigError

TEXTS = {
    "ini": "[uwsgi]\nmule = a.py\n",
    "xml": "\n<uwsgi><mule>a.py</mule></uwsgi>",
    "yaml": "# x\nuwsgi:\n  mule: a.py\n",
    "json": ' {"uwsgi": {"mule": "a.py"}}',
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_told_by_the_text_or_by_the_name(form: str) -> None:
    assert form_of("-", TEXTS[form]) == form
    assert form_of(f"x.{form.upper()}", "") == form


def test_other_suffixes_of_a_form_are_known() -> None:
    assert (form_of("a.yml", ""), form_of("a.js", "")) == ("yaml", "json")
    assert form_of("a.conf", "anything") == "ini"
    assert form_of("a.conf", "[uwsgi]\nuwsgi: x\n") == "ini"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str) -> None:
    magic = Magic(None)

    (option,) = read_text(TEXTS[form], "f", form=form, magic=magic)
    (guessed,) = read_text(TEXTS[form], "f", magic=magic)

    assert option == guessed
    assert (option.name, option.value) == ("mule", "a.py")


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        ("ini", "", "found no section [uwsgi] with options;"),
        ("ini", "[app:main]\nx=1\n[b]", "; there are: [app:main], [b];"),
        ("ini", "[uwsgi]\n", "; there are: [uwsgi];"),
        ("xml", "<x/>", "found no element <uwsgi> with options;"),
        ("yaml", "x: 1", "found no key 'uwsgi' with options;"),
        ("json", "{}", "found no key 'uwsgi' with options;"),
    ],
)
def test_another_file_is_no_configuration_of_uwsgi(
    form: str, text: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(text, "f.x", form=form, magic=Magic(None))

    message = str(caught.value)
    assert message.startswith("f.x:1: not a configuration of uWSGI: ")
    assert reason in message
    assert message.endswith("another form is --format, another section FILE:SECTION")


def test_a_section_is_asked_for_behind_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text("[uwsgi]\nmule=a.py\n[dev]\nmule = %n-%x.py\n")
    (tmp_path / "b:c.ini").write_text("[uwsgi]\nmule = %n.py\n")
    surroundings = Surroundings({}, tmp_path)

    assert split_section("a.ini:dev", surroundings) == ("a.ini", "dev")
    assert split_section("b:c.ini", surroundings) == ("b:c.ini", "")
    assert [o.value for o in read_file("a.ini:dev", surroundings)] == ["a-dev.py"]
    assert [o.value for o in read_file("b:c.ini", surroundings)] == ["b:c.py"]


def test_what_uwsgi_lists_is_complete() -> None:
    text = (
        "[uWSGI] getting INI configuration from a.ini\n"
        "\n;uWSGI instance configuration\n[uwsgi]\n"
        "ini = a.ini\nfor = 1 2\nmule = 1.py\nmule = %n.py\nendfor = \n"
        "set-ph = a=b\na = b\n"
        ";end of configuration\n\nmule = 3.py\n"
    )

    options = read_text(text, "stdin", magic=Magic(None))

    assert [(str(o.origin), o.value) for o in options] == [
        ("stdin:7", "1.py"),
        ("stdin:8", "%n.py"),
        ("stdin:11", "b"),
    ]


def test_a_value_with_a_variable_of_the_start_is_in_doubt() -> None:
    (option,) = read_text("[uwsgi]\nmule=%h.py", "f.ini", magic=Magic({}))

    assert option.doubt == "%h is known only where and when uWSGI starts"
    assert option.text == "mule = %h.py"
