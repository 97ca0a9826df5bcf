"""What the documents and the files in ``configs/`` say is so.

The lines of the README that start or ask a daemon are run for real, by the tests of the
demonstration, which read them with :func:`section_of`.
"""

import ast
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

import pymule
import pymule.sync
from pymule.cli import pymule as control
from pymule.cli import pymuled as daemon
from pymule.cli.words import with_values
from pymule.config import load_settings

__all__ = ("ROOT", "Block", "blocks_of", "section_of")

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
DEMO: Final = ROOT / "configs" / "demo"
DOCUMENTS: Final = (README, *sorted((ROOT / "docs").glob("*.md")))
CONFIGS: Final = sorted((ROOT / "configs").glob("*.toml"))

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TARGET: Final = re.compile(r"^([a-z-]+):", re.MULTILINE)
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)`|`(test_\w+)`")
# What the shell, the system or another project answers for.
_FOREIGN: Final = frozenset(
    {
        "cat", "cd", "curl", "echo", "export", "grep", "head", "jq", "journalctl",
        "kill", "printf", "ps", "python", "sudo", "systemctl", "tail", "uvicorn",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and where it is."""

    document: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines, without those that are empty or only a comment."""
        lines = [line.strip() for line in self.text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def file_name(self) -> str | None:
        """What a first line that is only a comment with a file's name says."""
        found = re.match(r"# ([\w.]+\.(?:py|toml))\n", self.text)
        return found[1] if found else None


def blocks_of(text: str, document: str = "README.md") -> list[Block]:
    """Return the fenced blocks of *text*, in order."""
    return [Block(document, *found) for found in _FENCE.findall(text)]


def section_of(heading: str) -> list[Block]:
    """Return the blocks of the README between ``## heading`` and the next one."""
    _, _, rest = README.read_text().partition(f"\n## {heading}\n")
    assert rest, f"README has no section {heading!r}"
    return blocks_of(rest.partition("\n## ")[0])


def all_blocks(*languages: str) -> list[Block]:
    return [
        block
        for document in DOCUMENTS
        for block in blocks_of(document.read_text(), document.name)
        if block.language in languages
    ]


def test_the_readme_begins_with_the_two_commands_and_stays_short() -> None:
    text = README.read_text()

    first, *_ = blocks_of(text)

    assert text.startswith("```sh\n")
    assert [line.split("#")[0].strip() for line in first.lines] == [
        "make run",
        "make test",
    ]
    assert text.count("\n") < 250


def test_every_python_block_compiles() -> None:
    for block in all_blocks("python"):
        compile(block.text, block.document, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_name_that_a_block_imports_from_us_exists() -> None:
    sources = [block.text for block in all_blocks("python")]
    sources += [path.read_text() for path in DEMO.glob("*.py")]
    offered = {"pymule": pymule, "pymule.sync": pymule.sync}

    asked = {
        (node.module, alias.name)
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module in offered
        for alias in node.names
    }

    assert ("pymule", "mule_get_msg") in asked
    assert [name for name in asked if not hasattr(offered[name[0]], name[1])] == []


def test_every_toml_block_loads(tmp_path: Path) -> None:
    blocks = [block for block in all_blocks("toml") if "[[mule]]" in block.text]

    for number, block in enumerate(blocks):
        home = tmp_path / str(number)
        home.mkdir()
        for mule in tomllib.loads(block.text)["mule"]:
            if mule.get("program", "").endswith(".py"):
                (home / mule["program"]).touch()
        (home / "pymule.toml").write_text(block.text)
        assert load_settings(home / "pymule.toml").mules()

    assert blocks


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_loads(path: Path) -> None:
    assert load_settings(path).mules()


def test_the_demonstration_has_one_of_each_kind() -> None:
    settings = load_settings(ROOT / "configs" / "demo.toml")

    programs = {mule.program for mule in settings.mule}

    assert programs == {
        "demo.words:main",
        str(DEMO / "stretch.py"),
        "demo.trouble:main",
        None,
    }
    assert "async def main()" in (DEMO / "words.py").read_text()
    assert "\ndef main()" in (DEMO / "trouble.py").read_text()
    assert [farm.name for farm in settings.farm] == ["slow", "trouble"]


def test_the_programs_of_the_demonstration_are_short() -> None:
    lengths = {path.name: path.read_text().count("\n") for path in DEMO.glob("*.py")}

    assert len(lengths) == 5
    assert [name for name, length in lengths.items() if length >= 30] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(path: Path) -> None:
    links = [link for link in _LINK.findall(path.read_text()) if "://" not in link]

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_line_for_the_shell_is_a_command_that_exists() -> None:
    blocks = all_blocks("sh", "shell", "bash")

    for block in blocks:
        for line in block.lines:
            for words in commands_of(line):
                check_command(words, f"{block.document}: {line}")

    assert len(blocks) > 5


def commands_of(line: str) -> list[list[str]]:
    """Return the words of each command of a line, without its comment."""
    words = shlex.split(line, comments=True)
    commands: list[list[str]] = [[]]
    for word in words:
        if word in {"|", "&&", "&"}:
            commands.append([])
        else:
            commands[-1].append(word.removesuffix(";"))
    return [command for command in commands if command]


def check_command(words: list[str], where: str) -> None:
    name, *arguments = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if name == "make":
        targets = _TARGET.findall((ROOT / "Makefile").read_text())
        assert set(arguments) <= set(targets), where
    elif name == "pymuled":
        parse(typer.main.get_command(daemon.app), name, with_values(arguments))
    elif name == "pymule":
        parse(typer.main.get_command(control.app), name, arguments)
    else:
        assert Path(name).name in _FOREIGN, where


def parse(command: object, name: str, arguments: list[str]) -> None:
    """Let *command* read *arguments* without acting; what it has not raises."""
    assert isinstance(command, TyperCommand | TyperGroup)
    context = command.make_context(name, list(arguments))
    if isinstance(command, TyperGroup):
        _, chosen, rest = command.resolve_command(context, arguments)
        parse(chosen, name, rest)


@pytest.mark.parametrize("name", ["design.md", "guarantees.md", "security.md"])
def test_a_document_names_only_tests_that_exist(name: str) -> None:
    named = _TEST.findall((ROOT / "docs" / name).read_text())
    files = {file for file, _ in named if file}
    tests = {test for _, test in named if test}

    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"(?:def|class) (test_\w+|Test\w+)", path.read_text())
    }

    assert [file for file in files if not (ROOT / file).exists()] == []
    assert sorted(tests - defined) == []
    assert len(tests) > 10
