import pytest

from pymule.convert.application import APPLICATIONS, Choice, choose_application
from pymule.convert.option import Origin, new_option
from pymule.convert.options import Meaning


def choose(*entries: tuple[Meaning, str], is_lazy: bool = False) -> Choice:
    options = [
        (meaning, new_option(meaning.value, value, Origin("f", line)))
        for line, (meaning, value) in enumerate(entries, 1)
    ]
    return choose_application(options, is_lazy=is_lazy)


@pytest.mark.parametrize(
    ("meaning", "value", "module", "directory"),
    [
        (Meaning.MODULE, "shop.wsgi:application", "shop.wsgi", ""),
        (Meaning.MODULE, "shop.build:make()", "shop.build", ""),
        (Meaning.FILE, "web.py", "web", ""),
        (Meaning.FILE, "/srv/shop/wsgi.py:app", "wsgi", "/srv/shop"),
        (Meaning.MOUNT, "/shop=shop.wsgi:app", "shop.wsgi", ""),
        (Meaning.MOUNT, "/=web/app.py", "app", "web"),
        (Meaning.IMPORT, "shop.signals", "shop.signals", ""),
        (Meaning.IMPORT, "lib/tasks.py", "tasks", "lib"),
    ],
)
def test_a_module_and_where_it_is(
    meaning: Meaning, value: str, module: str, directory: str
) -> None:
    choice = choose((meaning, value))

    assert (choice.module, choice.directory) == (module, directory)


@pytest.mark.parametrize(
    ("meaning", "value"),
    [
        (Meaning.MODULE, "shop-web:app"),
        (Meaning.MODULE, ""),
        (Meaning.FILE, "shop.wsgi"),
        (Meaning.FILE, "shop-web.py"),
        (Meaning.MOUNT, "no equals sign"),
    ],
)
def test_what_python_cannot_import_is_told(meaning: Meaning, value: str) -> None:
    choice = choose((meaning, value))

    assert choice.module == ""
    assert [option.value for option in choice.strange] == [value]


def test_what_is_served_comes_before_what_is_imported_besides() -> None:
    entries = [
        (Meaning.IMPORT, "tasks"),
        (Meaning.MODULE, "web"),
        (Meaning.FILE, "a.py"),
    ]

    choice = choose(*entries)

    assert choice.module == "web"
    assert [option.value for _, option in choice.others] == ["a.py", "tasks"]


def test_lazy_applications_are_not_in_mules() -> None:
    entries = [(Meaning.MODULE, "web"), (Meaning.IMPORT, "tasks")]

    assert choose(*entries, is_lazy=True).module == "tasks"


def test_the_same_module_twice_is_one() -> None:
    choice = choose((Meaning.MODULE, "web:app"), (Meaning.IMPORT, "web"))

    assert (choice.module, choice.others) == ("web", [])


def test_nothing_to_import_is_no_module() -> None:
    assert choose() == Choice()
    assert Meaning.MULE not in APPLICATIONS
