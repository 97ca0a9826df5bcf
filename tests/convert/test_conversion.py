import pytest

from pymule.convert.conversion import Conversion
from pymule.convert.options import Reason
from tests.convert.harness import converted_text, options_of


def converted(*lines: str, **environ: str) -> Conversion:
    return converted_text(options_of(*lines), **environ)


def mules(conversion: Conversion) -> list[tuple[int, int, str]]:
    return [(table.first, table.count, table.program) for table in conversion.mules]


def notes(conversion: Conversion, reason: Reason) -> list[tuple[str, str]]:
    return [
        (note.option.text, note.detail)
        for note in conversion.notes
        if note.reason is reason
    ]


def test_mules_are_numbered_in_the_order_of_the_file() -> None:
    found = converted("mule = a.py", "mules = 2", "mule", "mule = b:c", "mule = a.py")

    assert mules(found) == [(1, 1, "a.py"), (2, 3, ""), (5, 1, "b:c"), (6, 1, "a.py")]
    assert found.mule_count == 6


def test_mules_alike_are_one_table_that_is_not_too_long() -> None:
    found = converted("mule=a.py", "mule=a.py", "mules=9999", "mule", "mule")

    assert mules(found) == [(1, 2, "a.py"), (3, 10_000, ""), (10_003, 1, "")]
    assert [str(origin) for origin in found.mules[0].origins] == [
        "uwsgi.ini:2",
        "uwsgi.ini:3",
    ]


@pytest.mark.parametrize("number", ["0", "-1", "many", "", "10001", "9" * 5000])
def test_a_number_of_mules_that_makes_no_sense_adds_none(number: str) -> None:
    found = converted(f"mules = {number}", "mule = a.py")

    assert mules(found) == [(1, 1, "a.py")]
    assert notes(found, Reason.DOUBT)[0][1] == (
        "adds no mules; allowed: a number from 1 to 10000"
    )


def test_a_program_that_cannot_be_ours_keeps_its_number() -> None:
    found = converted("mule = $(X).py", "mule = tasks", "mule = a.py")

    assert mules(found) == [(1, 2, ""), (3, 1, "a.py")]
    assert [detail.partition(";")[0] for _, detail in notes(found, Reason.DOUBT)] == [
        "$(X) is not set here",
        "is no script and no callable",
    ]


def test_a_mule_that_counts_only_elsewhere_is_not_counted() -> None:
    found = converted("if-env = X", "mule = a.py", "endif", "mule = b.py")

    assert mules(found) == [(1, 1, "b.py")]
    assert notes(found, Reason.DOUBT) == [
        (
            "mule = a.py",
            (
                "counts only if env = X; that does not hold here; with it, mules after"
                " it have other numbers than here"
            ),
        )
    ]
    assert notes(found, Reason.CONDITIONS) == [("if-env = X", "does not hold here")]


def test_farms_may_come_before_their_mules() -> None:
    found = converted("farm = b c:2", "farm = a:1,2", "mules = 2")

    assert [(t.farm.name, t.farm.mules) for t in found.farms] == [
        ("b_c", (2,)),
        ("a", (1, 2)),
    ]


def test_paths_are_those_after_the_chdir_wherever_that_stands() -> None:
    found = converted(
        "mule = x.py",
        "mule = /abs/y.py",
        "mule = pkg:run",
        "pythonpath = lib",
        "touch-reload = stamp",
        "wsgi-file = web/app.py",
        "chdir = /srv//shop/",
    )

    assert mules(found) == [
        (1, 1, "/srv/shop/x.py"),
        (2, 1, "/abs/y.py"),
        (3, 1, "pkg:run"),
    ]
    assert found.each == {"uwsgi": True, "cwd": "/srv/shop"}
    assert found.top == {
        "app": "app",
        "python_path": ["/srv/shop/lib", "/srv/shop/web"],
        "touch_reload": ["/srv/shop/stamp"],
    }


def test_without_a_chdir_paths_stay_relative() -> None:
    found = converted("mule = x.py", "file = app.py")

    assert mules(found) == [(1, 1, "x.py")]
    assert found.top == {"app": "app"}


def test_placeholders_and_variables_are_put_in_and_told() -> None:
    found = converted("base = jobs", "mule = $(DIR)/%(base).py", DIR="/srv")

    assert mules(found) == [(1, 1, "/srv/jobs.py")]
    assert notes(found, Reason.DOUBT) == [
        ("mule = $(DIR)/%(base).py", "$(DIR) is '/srv' here")
    ]
    assert notes(found, Reason.PLACEHOLDERS) == [("base = jobs", "")]


def test_lazy_applications_leave_their_imports_to_mules() -> None:
    lines = ("module = web:app", "import = tasks", "import = more", "mule")

    assert converted(*lines).top["app"] == "web"
    lazy = converted("lazy-apps = true", *lines)
    assert lazy.top["app"] == "tasks"
    assert notes(lazy, Reason.WEB) == [("module = web:app", "")]
    assert notes(lazy, Reason.IMPORTS) == [("import = more", "")]
    assert converted("lazy-apps = false", *lines).top["app"] == "web"


def test_every_option_is_a_key_or_a_note() -> None:
    lines = (
        "mule = a.py",
        "http = :80",
        "spooler = x",
        "chdir2 = /x",
        "hook-as-mule = exec:true",
        "blacklist = x",
        "envdir = x",
        "cron = 1 2 3 4 5 x",
        "tuch-reload = x",
        "endif-not = x",
        "log-encoder = json x",
        "mule-harakiri = 9",
        "uid = x",
    )
    found = converted(*lines)

    noted = {note.option.text for note in found.notes}
    assert set(lines) - noted == {"mule = a.py", "uid = x"}
    assert notes(found, Reason.UNKNOWN)[0] == (
        "tuch-reload = x",
        "did you mean touch-reload?",
    )
    assert all(detail for _, detail in notes(found, Reason.DOUBT))


def test_notes_stand_in_the_order_of_the_file() -> None:
    found = converted("farm = x y:1", "module = a-b", "env = X", "mule")

    lines = [note.option.origin.line for note in found.notes]

    assert lines == sorted(lines)


def test_hints_say_what_no_single_option_says() -> None:
    assert converted("master").hints == [
        "no mule was found; pymuled wants at least one [[mule]]"
    ]
    assert converted("mule", "uid = 1").hints == [
        "user and group need a pymuled that root starts",
        "a mule without a program imports app, and there is none",
    ]
    assert converted("mule = a.py", "ini = none.ini").hints == [
        "mules may be missing: none.ini was not read"
    ]
    assert converted("mule = a.py").hints == []


def test_values_that_cannot_be_keys_are_told() -> None:
    found = converted("mule = a.py", "umask = 9", "farm = $(X):1", "mules = $(X)")

    assert notes(found, Reason.DOUBT) == [
        ("umask = 9", "left out; allowed: octal, 000 to 777"),
        ("farm = $(X):1", "left out: $(X) is not set here"),
        (
            "mules = $(X)",
            (
                "left out: $(X) is not set here; with it, mules after it have other"
                " numbers than here"
            ),
        ),
    ]


def test_a_block_in_a_block_is_told() -> None:
    found = converted("for = a", "if-env = X", "mule = %(_).py", "endfor")

    assert notes(found, Reason.DOUBT) == [
        ("if-env = X", "uWSGI has no blocks in blocks and does not start")
    ]
