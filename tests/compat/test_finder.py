"""Where the old names are found, and where not."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str) -> str:
    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        # -S: without the packages that are installed, among which uWSGI's may be.
        [sys.executable, "-S", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


def test_without_install_there_is_no_such_module() -> None:
    script = """
        import pymule.compat
        for name in ("uwsgi", "uwsgidecorators"):
            try:
                __import__(name)
            except ImportError:
                print("none")
    """

    assert run(script).split() == ["none", "none"]


def test_after_it_both_are_our_modules() -> None:
    script = """
        import sys, pymule.compat
        pymule.compat.install()
        pymule.compat.install()
        print("pymule.compat.uwsgi" in sys.modules)
        import uwsgi, uwsgidecorators
        print(uwsgi is sys.modules["pymule.compat.uwsgi"])
        print(uwsgi.__spec__.name, uwsgidecorators.__spec__.name)
        print(sum("compat" in type(finder).__module__ for finder in sys.meta_path))
    """

    assert run(script).split() == [
        "False",
        "True",
        "pymule.compat.uwsgi",
        "pymule.compat.uwsgidecorators",
        "1",
    ]


def test_a_star_import_gives_what_old_programs_rely_on() -> None:
    script = """
        import pymule.compat
        pymule.compat.install()
        from uwsgidecorators import *
        print(uwsgi.__name__, sys.__name__, partial, Thread, pickle.__name__)
        print(mulefunc, timer, signal, lock, mule_msg_dispatcher)
    """

    assert run(script).startswith("pymule.compat.uwsgi sys")
