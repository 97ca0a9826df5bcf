import configparser
import os
import pickle
import pwd
import re
import resource
import tomllib
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from pymule.config import load_settings
from pymule.sansio.target import MuleId
from pymule.settings import (
    LIMITS,
    FarmConfig,
    MuleConfig,
    QueueConfig,
    Settings,
    group_id,
    user_id,
)

CONFIGS: Final = Path(__file__).parent.parent / "configs"
REFERENCE: Final = CONFIGS / "reference.toml"
SECTIONS: Final[dict[str, type[QueueConfig]]] = {
    "mule": MuleConfig,
    "farm": FarmConfig,
    "shared": QueueConfig,
}
ME: Final = pwd.getpwuid(os.getuid()).pw_name


def mule(**keys: object) -> MuleConfig:
    return MuleConfig.model_validate(keys)


def read(data: dict[str, object], base_dir: Path) -> Settings:
    return Settings.model_validate(data, context={"base_dir": base_dir})


def refusal(section: type[QueueConfig | Settings], **keys: object) -> str:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(keys)
    return caught.value.errors()[0]["msg"]


def test_a_mule_alone_is_signal_only_and_has_every_default() -> None:
    config = mule()

    assert config.program is None
    assert config.name == "signal"
    assert config.cwd == Path.cwd()
    assert (config.stop_timeout_s, config.start_timeout_s) == (10.0, 30.0)
    assert config.queue == QueueConfig()


def test_a_mule_is_named_after_its_script_or_callable(tmp_path: Path) -> None:
    script = tmp_path / "somaro.py"
    script.touch()

    assert mule(program=str(script)).name == "somaro.py"
    assert mule(program="pkg.app:run_mule").name == "run_mule"
    assert mule(program="pkg.app:run_mule", name="Bianca").name == "Bianca"


def test_a_computed_name_is_short_and_printable_too(tmp_path: Path) -> None:
    script = tmp_path / f"a\n{'b' * 80}.py"
    script.touch()

    assert mule(program=str(script)).name == f"a?{'b' * 62}"


@pytest.mark.parametrize("name", ["x" * 65, "two\nlines", "\x1b[31m"])
def test_a_name_that_would_spoil_a_table_is_refused(name: str) -> None:
    assert "at most 64 printable characters" in refusal(MuleConfig, name=name)


def test_relative_paths_are_resolved_against_the_directory_of_the_file(
    socket_dir: Path,
) -> None:
    (socket_dir / "work").mkdir()
    (socket_dir / "somaro.py").touch()
    data: dict[str, object] = {
        "socket": "p.sock",
        "python_path": ["work", str(socket_dir)],
        "touch_reload": ["not/yet", "/etc/app"],
        "mule": [{"program": "somaro.py", "cwd": "work"}, {}],
    }

    settings = read(data, socket_dir)

    assert settings.base_dir == socket_dir
    assert settings.socket == socket_dir / "p.sock"
    assert settings.python_path == (socket_dir / "work", socket_dir)
    assert settings.touch_reload == (socket_dir / "not/yet", Path("/etc/app"))
    assert settings.mule[0].program == str(socket_dir / "somaro.py")
    assert settings.mule[0].cwd == socket_dir / "work"
    assert settings.mule[1].cwd == socket_dir


def test_without_a_file_paths_are_resolved_against_the_current_directory() -> None:
    settings = Settings.model_validate({"socket": "p.sock"})

    assert settings.base_dir == Path.cwd()
    assert settings.socket == Path.cwd() / "p.sock"


def test_a_mule_starts_as_its_table_says_or_else_the_whole_file(
    tmp_path: Path,
) -> None:
    tables: list[dict[str, object]] = [
        {},
        {"start_method": "spawn"},
        {"preload": ["c"]},
        {"preload": []},
    ]
    whole: dict[str, object] = {
        "start_method": "forkserver",
        "preload": ["a", "b.c"],
        "mule": tables,
    }
    settings = read(whole, tmp_path)
    plain = read({"mule": [{}, {"start_method": "forkserver"}]}, tmp_path)

    def ways(settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (settings.start_method_of(mule), settings.preload_of(mule))
            for mule in settings.mule
        ]

    assert ways(settings) == [
        ("forkserver", ("a", "b.c")),
        ("spawn", ()),
        ("forkserver", ("c",)),
        ("forkserver", ()),
    ]
    assert ways(plain) == [("spawn", ()), ("forkserver", ())]


@pytest.mark.parametrize(
    "program",
    ["somaro", "pkg.app", "pkg:", ":run", "pkg.:run", "pkg:1x", "a-b:run", "", "a:b:c"],
)
def test_a_program_is_a_script_or_a_dotted_callable(program: str) -> None:
    message = refusal(MuleConfig, program=program)

    assert f"found {program!r}" in message
    assert "'NAME.py'" in message
    assert "'pkg.mod:callable'" in message


def test_a_callable_may_be_an_attribute_of_a_class() -> None:
    assert mule(program="pkg.app:Mule.run").program == "pkg.app:Mule.run"


def test_a_script_must_exist_and_the_error_says_where_it_was_looked_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValidationError) as caught:
        read({"mule": [{"program": "sub/none.py"}]}, tmp_path)

    assert f"there is no file '{tmp_path}/sub/none.py'" in str(caught.value)


@pytest.mark.parametrize(
    ("section", "key", "value", "allowed"),
    [
        (MuleConfig, "cwd", "/does/not/exist", "a directory that exists"),
        (MuleConfig, "env", {"": "x"}, "without '='"),
        (MuleConfig, "env", {"A=B": "x"}, "without '='"),
        (MuleConfig, "env", {"A": "\0"}, "without NUL"),
        (Settings, "python_path", ["/does/not/exist"], "a path that exists"),
        (Settings, "touch_reload", ["a\0b"], "a path, there or not"),
        (Settings, "socket", f"/{'x' * 107}", "at most 107"),
        (Settings, "socket", "/", "a file's path"),
        (Settings, "socket", "/a\0b", "a file's path"),
        (Settings, "app", "my app", "'pkg.mod'"),
        (Settings, "allow_users", ["no such user"], "its name or number"),
        (Settings, "allow_users", [True], "a user's name or number"),
        (Settings, "allow_groups", ["no such group"], "its name or number"),
        (Settings, "socket_group", -1, "a group's name or number"),
        (Settings, "socket_mode", "0888", '"0000" to "0777"'),
        (Settings, "socket_mode", 660, '"0000" to "0777"'),
        (Settings, "socket_mode", True, '"0000" to "0777"'),
        (Settings, "max_frame_bytes", 262_143, ""),
        (Settings, "max_frame_bytes", 2**30 + 1, ""),
        (Settings, "max_clients", 0, ""),
        (Settings, "max_clients", 1_000_001, ""),
        (Settings, "log_level", "loud", "'debug'"),
        (MuleConfig, "umask", 0o1000, '"0000" to "0777"'),
        (MuleConfig, "count", 0, ""),
        (MuleConfig, "count", 10_001, ""),
        (MuleConfig, "count", True, ""),
        (MuleConfig, "credit", 16_385, ""),
        (MuleConfig, "nice", 20, ""),
        (MuleConfig, "harakiri_s", 0, ""),
        (MuleConfig, "harakiri_s", float("inf"), ""),
        (MuleConfig, "stop_timeout_s", "10", ""),
        (QueueConfig, "durability", "dsik", "'memory', 'process' or 'disk'"),
        (QueueConfig, "jitter", 1.1, "less than or equal to 1"),
        (QueueConfig, "dead_max_messages", -1, ""),
        (QueueConfig, "when_full", "drop", "'wait' or 'refuse'"),
        (QueueConfig, "max_messages", 0, ""),
        (QueueConfig, "backoff_s", -0.1, ""),
        (QueueConfig, "backoff_s", 61, "backoff_s (61) or more"),
        (QueueConfig, "backoff_max_s", 0.4, "backoff_s (0.5) or more"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_what_is_allowed(
    section: type[QueueConfig | Settings], key: str, value: object, allowed: str
) -> None:
    assert allowed in refusal(section, **{key: value})


@pytest.mark.parametrize("written", ["0660", "660", "0o660", 0o660])
def test_permissions_are_octal_text_or_an_octal_number(written: object) -> None:
    assert Settings.model_validate({"socket_mode": written}).socket_mode == 0o660


def test_users_and_groups_stay_as_written_and_have_an_id() -> None:
    settings = Settings.model_validate(
        {"allow_users": [ME, 4711], "allow_groups": [12]}
    )

    assert settings.allow_users == (ME, 4711)
    assert [user_id(user) for user in settings.allow_users] == [os.getuid(), 4711]
    assert [group_id(group) for group in settings.allow_groups] == [12]


def test_the_id_of_a_group_is_found_by_its_name() -> None:
    assert group_id("root") == 0
    assert mule(group="root", user="root").group == "root"


def test_limits_become_pairs_of_a_soft_and_a_hard_limit() -> None:
    config = mule(
        limits={"nofile": 64, "core": "unlimited", "as": [2**30, "unlimited"]}
    )

    assert config.limits == {
        "nofile": (64, 64),
        "core": (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
        "as": (2**30, resource.RLIM_INFINITY),
    }
    assert LIMITS["nofile"] == resource.RLIMIT_NOFILE


@pytest.mark.parametrize(
    "limit",
    [-2, True, "many", 1.5, [1], [1, 2, 3], [2, 1], ["unlimited", 1], 2**63, []],
)
def test_a_limit_that_the_kernel_would_not_take_is_refused(limit: object) -> None:
    assert "soft at most hard" in refusal(MuleConfig, limits={"nofile": limit})


def test_an_unknown_limit_is_refused_with_those_that_exist() -> None:
    message = refusal(MuleConfig, limits={"nofiles": 1})

    assert "unknown limit" in message
    assert "nofile," in message


@pytest.mark.parametrize("name", ["9x", "", "a/b", "a" * 65, "a b"])
def test_a_farm_has_a_name_that_can_be_a_target(name: str) -> None:
    assert "a letter or '_'" in refusal(FarmConfig, name=name, mules=[1])


def test_a_farm_has_at_least_one_mule_and_none_twice() -> None:
    assert "at least one" in refusal(FarmConfig, name="busy", mules=[])
    assert "found mule 2 twice" in refusal(FarmConfig, name="busy", mules=[1, 2, 2])


def test_mules_are_numbered_from_one_with_count_unrolled() -> None:
    two, one = {"count": 2}, {"program": "pkg.app:run"}
    settings = Settings.model_validate({"mule": [two, one]})

    mules = settings.mules()

    assert [number for number, _ in mules] == [MuleId(1), MuleId(2), MuleId(3)]
    assert [config.name for _, config in mules] == ["signal", "signal", "run"]
    assert mules[0][1] is mules[1][1] is settings.mule[0]


def test_the_queue_of_a_mule_or_farm_is_told_apart_from_the_rest() -> None:
    farm = FarmConfig(name="busy", mules=(MuleId(1),), max_messages=7)

    assert farm.queue == QueueConfig(max_messages=7)
    assert farm.queue == mule(max_messages=7, nice=3).queue


def test_settings_that_mean_the_same_are_equal_and_others_are_not(
    tmp_path: Path,
) -> None:
    plain: dict[str, object] = {"mule": [{}]}
    spelled_out: dict[str, object] = {
        "socket_mode": "0660",
        "mule": [{"cwd": str(tmp_path), "stop_timeout_s": 10}],
    }

    assert read(plain, tmp_path) == read(spelled_out, tmp_path)
    assert read(plain, tmp_path) != read({"mule": [{"nice": 1}]}, tmp_path)
    assert read({}, tmp_path) != read({}, tmp_path.parent)


def test_settings_survive_pickling(tmp_path: Path) -> None:
    settings = read({"mule": [{"env": {"A": "1"}, "limits": {"cpu": 3}}]}, tmp_path)

    again = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes

    assert again == settings
    assert again.base_dir == tmp_path


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        QueueConfig().max_messages = 1  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.name)
def test_every_configuration_that_we_ship_is_valid(path: Path) -> None:
    assert load_settings(path).mules()


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)


def reference_tables(document: dict[str, object]) -> dict[str, dict[str, object]]:
    """Return the tables of the reference by name; '' is the top level."""
    tables = {"": {k: v for k, v in document.items() if k not in SECTIONS}}
    for name in SECTIONS:
        table = document[name]
        tables[name] = table[0] if isinstance(table, list) else table  # type: ignore[assignment]  # the file's shape
    return tables


def test_the_reference_has_every_key_and_no_other() -> None:
    tables = reference_tables(tomllib.loads(uncommented(REFERENCE.read_text())))

    assert set(tables.pop("")) == set(Settings.model_fields) - set(SECTIONS)
    assert {name: set(table) for name, table in tables.items()} == {
        name: set(model.model_fields) for name, model in SECTIONS.items()
    }


def test_the_reference_states_the_defaults() -> None:
    written = reference_tables(tomllib.loads(REFERENCE.read_text()))

    required = {"name": "busy", "mules": [1]}
    least = {"mule": [{}], "farm": [required]}
    assert load_settings(REFERENCE) == Settings.model_validate(
        least, context={"base_dir": CONFIGS}
    )
    # A key that stands behind "#" has no default, or one that the machine decides.
    models: dict[str, type[Settings | QueueConfig]] = {"": Settings, **SECTIONS}
    for name, model in models.items():
        fixed = {
            key
            for key, field in model.model_fields.items()
            if field.default is not None and not field.default_factory
        }
        assert set(written[name]) == fixed - set(SECTIONS)


def test_the_examples_in_the_reference_are_valid_values(tmp_path: Path) -> None:
    file = tmp_path / "pymule.toml"
    text = uncommented(REFERENCE.read_text())
    file.write_text(text.replace('"pymule.sock"', '"/run/p.sock"'))

    assert load_settings(file).mule[0].program == "pkg.mod:callable"


def test_each_key_of_the_reference_has_one_comment() -> None:
    keys = re.findall(r"^#?\w+ = .*", REFERENCE.read_text(), flags=re.MULTILINE)

    assert len(keys) >= 50
    assert [key for key in keys if not re.search(r"\S +# \S", key)] == []


def test_the_unit_does_not_restart_what_a_restart_cannot_help() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as documented
    unit.read(CONFIGS / "pymuled.service")

    assert unit["Service"]["RestartPreventExitStatus"] == "64 78"
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["ExecStartPre"] == f"{unit['Service']['ExecStart']} --check"
