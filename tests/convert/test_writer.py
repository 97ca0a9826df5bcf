"""Also the whole way, from a text of uWSGI to a file that pymuled takes."""

import re
import tomllib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.config import load_settings
from pymule.convert.conversion import Conversion
from pymule.convert.options import Meaning, Reason
from pymule.convert.writer import write_toml
from tests.convert.harness import (
    SAMPLES,
    converted_sample,
    converted_text,
    options_of,
    refusal,
)

# What a machine lacks, not what is wrong in a file.
MACHINE = re.compile(
    r"but there is no file|a directory that exists|a path that exists|no user of|"
    r"no group of|no mule; add"
)


def written(*lines: str, **environ: str) -> str:
    return write_toml(converted_text(options_of(*lines), **environ), "uwsgi.ini")


@pytest.mark.parametrize(("name", "golden"), SAMPLES.items())
def test_a_sample_becomes_what_was_approved(
    name: str, golden: str, tmp_path: Path
) -> None:
    expected = (Path(__file__).parent / "samples" / golden).read_text()

    assert converted_sample(name, tmp_path) == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_pymuled_takes_every_sample(name: str, tmp_path: Path) -> None:
    text = converted_sample(name, tmp_path).replace('"/', f'"{tmp_path}/')
    data = tomllib.loads(text)
    for mule in data["mule"]:
        script = tmp_path / mule.get("program", "")
        if script.suffix == ".py":
            script.parent.mkdir(parents=True, exist_ok=True)
            script.touch()
        Path(mule.get("cwd", tmp_path)).mkdir(parents=True, exist_ok=True)
    for path in data.get("python_path", ()):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    (tmp_path / "pymule.toml").write_text(text)

    loaded = load_settings(tmp_path / "pymule.toml")

    assert len(loaded.mules()) == sum(mule.get("count", 1) for mule in data["mule"])
    assert all(mule.uwsgi for mule in loaded.mule)


def test_nothing_at_all_is_a_file_that_says_what_is_missing() -> None:
    text = write_toml(Conversion(hints=["no mule"]), "x.ini")

    assert tomllib.loads(text) == {}
    assert "#   no mule\n" in text
    assert "#[[mule]]\n" in text


def test_each_reason_is_a_group_with_the_place_of_each_option() -> None:
    text = written("mule = a.py", "http = :80", "processes = 4", "locks = 2")

    assert text.endswith(
        "# Web server: belongs to the command line of gunicorn, uvicorn or what serves"
        " the\n# application.\n"
        "#   uwsgi.ini:3: http = :80\n"
        "#   uwsgi.ini:4: processes = 4\n"
        "\n"
        f"# {Reason.LOCKS.value}\n"
        "#   uwsgi.ini:5: locks = 2\n"
    )


def test_a_comment_is_one_line_whatever_the_option_holds() -> None:
    section = '{"mule": "a.py", "http": "a\\nb\\u0007\\u001b[31m"}'
    found = converted_text(f'{{"uwsgi": {section}}}', form="json")

    text = write_toml(found, "f\n.json")

    assert "http = a\\nb\\x07\\x1b[31m\n" in text
    assert "from f\\n.json." in text
    assert tomllib.loads(text)["mule"] == [{"program": "a.py", "uwsgi": True}]


def test_a_long_option_is_cut_in_comments_alone() -> None:
    text = written("mule = a.py", f"http = {'x' * 300}", f"env = A={'y' * 300}")

    assert f"{'x' * 150}" in text
    assert "x" * 200 not in text
    assert tomllib.loads(text)["mule"][0]["env"] == {"A": "y" * 300}


def test_texts_of_every_kind_are_kept() -> None:
    value = "quote \" back \\ tab \t bell \a delete \x7f \xe4 \U0001f40e '"

    text = written("mule = a.py", f"env = A={value}", f"env = sp ace={value}")

    assert tomllib.loads(text)["mule"][0]["env"] == {"A": value, "sp ace": value}


def test_many_paths_have_a_line_each() -> None:
    paths = [f"/srv/{'x' * 30}/{number}" for number in range(3)]

    text = written("mule", *(f"touch-reload = {path}" for path in paths))

    assert f'touch_reload = [\n    "{paths[0]}",\n' in text
    assert tomllib.loads(text)["touch_reload"] == paths


def test_many_mules_with_many_variables_keep_their_keys_apart() -> None:
    text = written(
        "mule = a.py",
        "mule = b.py",
        f"env = A={'x' * 80}",
        "limit-as = 1",
        "farm = f:2",
    )

    data = tomllib.loads(text)

    assert [mule["program"] for mule in data["mule"]] == ["a.py", "b.py"]
    assert all(mule["env"] == {"A": "x" * 80} for mule in data["mule"])
    assert data["farm"] == [{"name": "f", "mules": [2]}]


NAMES = st.sampled_from(
    [meaning.value for meaning in Meaning]
    + ["wsgi", "ienv", "set", "set-ph", "max-fd", "for", "endfor", "if-env", "else"]
    + ["if-opt", "endif", "http", "chdir2", "name", "ini", "inherit", "unknown"]
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "x.py",
            "pkg.mod:run",
            "pkg:make()",
            "busy:1,2",
            "busy people:1",
            "2",
            "-1",
            "0",
            "A=B",
            "true",
            "%(name)",
            "$(A)",
            "%(name + 1)",
            "%d/%n",
            "/a=b.py",
            "1 2",
            "0 0 -1 -1 -1 run",
            "json {}",
            "mule=x.py",
            ":other",
        ]
    ),
)
SOUP = st.lists(st.tuples(NAMES, VALUES), max_size=12)


@settings(deadline=None)
@given(SOUP)
def test_any_soup_of_options_is_toml_that_only_lacks_a_machine(
    soup: list[tuple[str, str]],
) -> None:
    lines = [f"{name} = {value}".replace("\n", " ") for name, value in soup]
    said = refusal(partial(written, "master = true", *lines, A="here"))
    if said:
        assert re.match(r"uwsgi\.ini:\d+: found ", said)
        return

    text = written("master = true", *lines, A="here")

    tomllib.loads(text)
    path = Path("soup.toml")
    path.write_text(text, encoding="utf-8")
    problems = refusal(partial(load_settings, path)).splitlines()
    assert [line for line in problems if not MACHINE.search(line)] == []


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("soup"))
