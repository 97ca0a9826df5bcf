"""The house is in order: mirrors, names, and nothing of a machine."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
CODE: Final = ROOT / "pymule"
TESTS: Final = ROOT / "tests"

# Written in pieces, so that this file does not name them either.
FOREIGN: Final = re.compile(
    rb"py" + rb"pi\.org|python" + rb"hosted|npm" + rb"js\.|anaconda" + rb"\.org"
    rb"|(?<![\w.~])/(?:home|root|Users|work)/\w"
)
"""Hosts of package registries, and paths that only one machine has."""


def modules() -> list[Path]:
    return [path for path in CODE.rglob("*.py") if not path.name.startswith("__")]


def own_files() -> Iterator[Path]:
    """Yield what a checkout holds: no environment, no cache, no history."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name in {".ci", ".github"}
            or not (name.startswith(".") or name in {"__pycache__", "build", "dist"})
        ]
        paths = (Path(folder, name) for name in files)
        # A socket of a running demonstration is no file.
        yield from (
            path
            for path in paths
            if path.is_file() and not path.name.startswith(".coverage")
        )


def defines_all(path: Path) -> bool:
    targets = (
        target
        for node in ast.parse(path.read_text()).body
        for target in getattr(node, "targets", [getattr(node, "target", None)])
    )
    return any(isinstance(name, ast.Name) and name.id == "__all__" for name in targets)


def test_every_module_has_its_test_file() -> None:
    mirrored = {
        path.relative_to(TESTS).with_name(path.name.removeprefix("test_"))
        for path in TESTS.rglob("test_*.py")
    }

    alone = {path.relative_to(CODE) for path in modules()} - mirrored

    assert sorted(map(str, alone)) == []


def test_every_module_says_what_it_offers() -> None:
    silent = [path for path in modules() if not defines_all(path)]

    assert silent == []


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = {
        str(path.relative_to(ROOT)): FOREIGN.findall(path.read_bytes())
        for path in own_files()
    }

    assert {name: hits for name, hits in found.items() if hits} == {}
