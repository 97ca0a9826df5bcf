import os
import stat
from pathlib import Path

import pytest

from pymule.config import (
    QueueConfig,
    check_privileges,
    load_settings,
    settings_from_options,
)
from pymule.config import _refuse_if_anyone_writes as refuse_if_anyone_writes
from pymule.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pymule.toml"


def problems(file: Path, text: str) -> list[str]:
    """Return the lines of the error that *text* is refused with."""
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    return str(caught.value).replace(str(file), "FILE").splitlines()


def option_problems(
    mules: list[str | None], farms: list[str], **options: str
) -> list[str]:
    socket = Path(options.pop("socket", "p.sock"))
    with pytest.raises(ConfigError) as caught:
        settings_from_options(mules=mules, farms=farms, socket=socket, **options)
    return str(caught.value).splitlines()


def test_the_example_of_the_design_is_read(file: Path) -> None:
    (file.parent / "somaro.py").touch()
    file.write_text(
        """
        socket = "/run/p.sock"
        app = "myapp"

        [[mule]]
        count = 2

        [[mule]]
        program = "somaro.py"

        [[mule]]
        program = "mypkg.myapp:run_mule"
        count = 2
        env = { OMP_NUM_THREADS = "1" }
        harakiri_s = 30

        [[farm]]
        name = "busy"
        mules = [3, 4]

        [shared]
        max_messages = 10
        """
    )

    settings = load_settings(file)

    assert settings.socket == Path("/run/p.sock")
    assert [config.name for _, config in settings.mules()] == [
        "signal",
        "signal",
        "somaro.py",
        "run_mule",
        "run_mule",
    ]
    assert settings.mule[2].env == {"OMP_NUM_THREADS": "1"}
    assert settings.mule[2].harakiri_s == 30.0
    assert settings.farm[0].mules == (3, 4)
    assert settings.shared == QueueConfig(max_messages=10)
    assert settings.base_dir == file.parent


def test_a_relative_file_has_an_absolute_base_dir(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[[mule]]\n")
    monkeypatch.chdir(file.parent)

    assert load_settings(Path(file.name)).base_dir == file.parent


def test_an_unknown_key_is_pointed_at_with_those_allowed_and_a_guess(
    file: Path,
) -> None:
    (line,) = problems(file, "[[mule]]\n  stop_timeout = 3\n")

    assert line.startswith(
        "FILE:2:3: mule.0.stop_timeout: unknown key; allowed: backoff_max_s, backoff_s,"
        " count, credit, cwd, "
    )
    assert line.endswith(" (did you mean stop_timeout_s?)")


def test_an_unknown_key_is_compared_with_the_keys_of_its_own_table(
    file: Path,
) -> None:
    text = "sokcet = 'x'\n[shared]\nmax_mesages = 1\n[[mule]]\n[[farm]]\nmule = [1]\n"
    top, shared, missing_name, missing_mules, farm = problems(file, text)

    assert top.endswith("touch_reload (did you mean socket?)")
    assert "base_dir" not in top
    assert shared.startswith("FILE:3:1: shared.max_mesages: unknown key; allowed: ")
    assert shared.endswith("when_full (did you mean max_messages?)")
    assert (
        missing_name == "FILE:5:1: farm.0.name: found nothing; required in this table"
    )
    assert missing_mules.startswith("FILE:5:1: farm.0.mules: found nothing; ")
    assert farm.endswith("name, when_full (did you mean mules?)")


def test_a_key_without_a_likeness_gets_no_guess(file: Path) -> None:
    (line,) = problems(file, "zzz = 1\n[[mule]]\n")

    assert "did you mean" not in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[[mule]]\ncount = 0",
            "FILE:2:9: mule.0.count: found 0; allowed: greater than or equal to 1",
        ),
        (
            "[[mule]]\ncount = true",
            "FILE:2:9: mule.0.count: found true; allowed: an integer",
        ),
        ("[[mule]]\ncwd = 1", "FILE:2:7: mule.0.cwd: found 1; allowed: a path"),
        (
            "[[mule]]\nname = {}",
            "FILE:2:8: mule.0.name: found a table; allowed: a string",
        ),
        (
            "[[mule]]\nenv = 3",
            "FILE:2:7: mule.0.env: found what is not shown; allowed: a table",
        ),
        (
            "[[mule]]\nenv.A = 1",
            "FILE:2:9: mule.0.env.A: found what is not shown; allowed: a string",
        ),
        (
            "[[mule]]\nenv.'A=B' = 'x'",
            (
                "FILE:2:5: mule.0.env.\"A=B\": found 'A=B'; allowed: a variable's name,"
                " not empty and without '='"
            ),
        ),
        (
            "[[mule]]\nstop_timeout_s = inf",
            "FILE:2:18: mule.0.stop_timeout_s: found inf; allowed: a finite number",
        ),
        (
            "log_format = 'xml'\n[[mule]]",
            "FILE:1:14: log_format: found 'xml'; allowed: 'text' or 'json'",
        ),
        (
            "[[mule]]\ndurability = 'disk'",
            (
                "FILE:2:14: mule.0.durability: found 'disk' without a state_dir;"
                " allowed: 'memory', or any with state_dir = \"DIR\" at the top of the"
                " file"
            ),
        ),
        (
            "start_method = 'fork'\n[[mule]]",
            ("FILE:1:16: start_method: found 'fork'; allowed: 'spawn' or 'forkserver'"),
        ),
        (
            "preload = ['a.b', 'c:d']\nstart_method = 'forkserver'\n[[mule]]",
            "FILE:1:19: preload.1: found 'c:d'; allowed: a module, 'pkg.mod'",
        ),
        (
            "preload = ['a']\n[[mule]]",
            (
                "FILE:1:11: preload: found modules, and no forkserver that imports"
                ' them; allowed: none, or start_method = "forkserver"'
            ),
        ),
        (
            (
                "start_method = 'forkserver'\n"
                "[[mule]]\nstart_method = 'spawn'\npreload = ['a']"
            ),
            (
                "FILE:4:11: mule.0.preload: found modules, and no forkserver that"
                ' imports them; allowed: none, or start_method = "forkserver"'
            ),
        ),
        (
            "python_path = 'x'\n[[mule]]",
            "FILE:1:15: python_path: found 'x'; allowed: an array",
        ),
        (
            "[mule]\ncount = 2",
            "FILE:1:1: mule: found a table; allowed: an array of tables, [[mule]]",
        ),
        (
            "farm = 3\n[[mule]]",
            "FILE:1:8: farm: found 3; allowed: an array of tables, [[farm]]",
        ),
        ("mule = [1]", "FILE:1:9: mule.0: found 1; allowed: a table"),
        (
            "shared = 'x'\n[[mule]]",
            "FILE:1:10: shared: found 'x'; allowed: a table",
        ),
        (
            "[[mule]]\n[[farm]]\nname = 'busy'\nmules = [ 0 ]",
            "FILE:4:11: farm.0.mules.0: found 0; allowed: greater than or equal to 1",
        ),
        ("", "FILE:1:1: mule: no mule; add [[mule]]"),
        ("\nmule = []", "FILE:2:8: mule: no mule; add [[mule]]"),
    ],
)
def test_a_wrong_value_is_pointed_at_with_what_was_found_and_is_allowed(
    file: Path, text: str, line: str
) -> None:
    assert problems(file, text) == [line]


def test_an_unknown_limit_is_pointed_at_with_a_guess(file: Path) -> None:
    (line,) = problems(file, "[[mule]]\nlimits = { nofiles = 3 }\n")

    assert line.startswith(
        "FILE:2:12: mule.0.limits.nofiles: unknown limit; allowed: as,"
    )
    assert line.endswith("(did you mean nofile?)")


def test_a_long_value_is_shown_shortened(file: Path) -> None:
    (line,) = problems(file, f"log_format = '{'x' * 500}'\n[[mule]]\n")

    assert f"found '{'x' * 79}...; allowed: 'text' or 'json'" in line


def test_a_missing_script_is_named_where_it_was_looked_for(file: Path) -> None:
    (line,) = problems(file, '[[mule]]\nprogram = "none.py"\n')

    assert line == (
        "FILE:2:11: mule.0.program: found 'none.py', but there is no file"
        f" '{file.parent}/none.py'; allowed: a script that exists"
    )


def test_a_farm_of_mules_that_do_not_exist_is_refused(file: Path) -> None:
    text = "[[mule]]\ncount = 5\n[[farm]]\nname = 'a'\nmules = [5, 9, 6]\n"

    assert problems(file, text) == [
        "FILE:5:9: farm.0.mules: mule 9 does not exist; there are 1 to 5",
        "FILE:5:9: farm.0.mules: mule 6 does not exist; there are 1 to 5",
    ]


def test_two_farms_cannot_have_one_name(file: Path) -> None:
    farm = "[[farm]]\nname = 'busy'\nmules = [1]\n"

    assert problems(file, f"[[mule]]\n{farm}{farm}") == [
        (
            "FILE:6:8: farm.1.name: found 'busy', which another farm has;"
            " allowed: a name of its own"
        ),
    ]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = (
        "[[farm]]\nname = 'a'\nmules = [7]\n"
        "[[farm]]\nname = 'a'\nmules = []\n"
        "[[mule]]\ncolour = 'grey'\nnice = 30\n"
    )

    found = [line.split(": ")[:2] for line in problems(file, text)]

    assert found == [
        ["FILE:3:9", "farm.0.mules"],
        ["FILE:5:8", "farm.1.name"],
        ["FILE:6:9", "farm.1.mules"],
        ["FILE:8:1", "mule.0.colour"],
        ["FILE:9:8", "mule.0.nice"],
    ]


def test_mules_that_cannot_be_counted_make_no_farm_wrong(file: Path) -> None:
    text = "[[mule]]\ncount = 'two'\n[[farm]]\nname = 'a'\nmules = [2]\n"

    assert problems(file, text) == [
        "FILE:2:9: mule.0.count: found 'two'; allowed: an integer",
    ]


def test_a_farm_may_be_of_signal_only_mules(file: Path) -> None:
    file.write_text("[[mule]]\n[[farm]]\nname = 'a'\nmules = [1]\n")

    assert load_settings(file).farm[0].name == "a"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = ?\n", "FILE:2:5: not TOML: Invalid value"),
        ("a = 1\r\nb = [1,\r\n", "FILE:3:1: not TOML: Invalid value"),
        ("\ufeffa = 1", "FILE:1:1: not TOML: Invalid statement"),
        (f"a = {'1' * 5000}", "FILE:1:1: not TOML: Exceeds the limit"),
        (f"a = {'[' * 9999}", "FILE:1:1: not TOML: brackets nested too deeply"),
    ],
)
def test_what_is_not_toml_is_refused_where_it_goes_wrong(
    file: Path, text: str, line: str
) -> None:
    (found,) = problems(file, text)

    assert found.startswith(line)


def test_what_is_not_utf_8_is_refused_where_it_goes_wrong(file: Path) -> None:
    file.write_bytes(b"# latin-1\nname = '\xe9'")

    with pytest.raises(ConfigError) as caught:
        load_settings(file)

    assert str(caught.value) == (
        f"{file}:2:9: not TOML: found byte 0xe9; allowed: UTF-8"
    )


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_root_refuses_a_file_that_anyone_can_write() -> None:
    file = Path("pymule.toml")

    with pytest.raises(ConfigError, match=r"found mode 0666, .* \(chmod o-w\)"):
        refuse_if_anyone_writes(file, stat.S_IFREG | 0o666, 0)
    refuse_if_anyone_writes(file, stat.S_IFREG | 0o664, 0)
    refuse_if_anyone_writes(file, stat.S_IFREG | 0o666, 1000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is so careful")
def test_loading_as_root_looks_at_the_mode_of_the_file(file: Path) -> None:
    file.write_text("[[mule]]\n")
    file.chmod(0o646)

    with pytest.raises(ConfigError, match="anyone can write it"):
        load_settings(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is so careful")
@pytest.mark.parametrize(("mode", "is_refused"), [(0o777, True), (0o1777, False)])
def test_root_refuses_a_file_that_anyone_can_replace(
    file: Path, mode: int, *, is_refused: bool
) -> None:
    file.write_text("[[mule]]\n")
    file.parent.chmod(mode)

    if is_refused:
        with pytest.raises(ConfigError, match="mode 0777, so anyone can replace it"):
            load_settings(file)
    else:
        assert load_settings(file).mules()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is so careful")
def test_root_takes_a_file_of_another_user_only_by_its_name(file: Path) -> None:
    file.write_text("[[mule]]\n")
    os.chown(file, 65534, -1)

    with pytest.raises(ConfigError, match=r"a file of user 65534; .* -c .*pymule.toml"):
        load_settings(file, is_named=False)
    assert load_settings(file).mules()


@pytest.mark.parametrize(
    "text", ["env.A = 81549300", "env = 'A=81549300'", 'env.A = "81549300\\u0000"']
)
def test_a_variable_that_is_wrong_is_not_shown(file: Path, text: str) -> None:
    (line,) = problems(file, f"[[mule]]\n{text}\n")

    assert "81549300" not in line


def test_only_root_can_change_the_user_of_a_mule(file: Path) -> None:
    file.write_text("[[mule]]\n[[mule]]\nuser = 33\ngroup = 'root'\n")
    settings = load_settings(file)

    check_privileges(settings, uid=0)
    with pytest.raises(ConfigError) as caught:
        check_privileges(settings, uid=1000)

    assert str(caught.value).splitlines() == [
        (
            "mule.1.user: found 33, which only root can set; allowed: no user,"
            " or pymuled started as root (it is user 1000)"
        ),
        (
            "mule.1.group: found 'root', which only root can set; allowed: no group,"
            " or pymuled started as root (it is user 1000)"
        ),
    ]


def test_settings_without_users_need_no_privileges() -> None:
    check_privileges(settings_from_options(mules=[None]), uid=1000)


def test_options_mean_what_the_same_file_means(file: Path) -> None:
    (file.parent / "somaro.py").touch()
    script = str(file.parent / "somaro.py")
    file.write_text(
        "socket = '/run/p.sock'\napp = 'myapp'\nlog_format = 'json'\n"
        "log_level = 'debug'\n"
        f"[[mule]]\n[[mule]]\nprogram = '{script}'\n"
        "[[mule]]\nprogram = 'mypkg.myapp:run_mule'\n"
        "[[farm]]\nname = 'busy'\nmules = [2, 3]\n"
    )
    from_file = load_settings(file)

    settings = settings_from_options(
        mules=[None, script, "mypkg.myapp:run_mule"],
        farms=["busy:2,3"],
        app="myapp",
        socket=Path("/run/p.sock"),
        log_format="json",
        log_level="debug",
    )

    assert settings.base_dir == Path.cwd()
    assert settings.farm == from_file.farm
    assert [config.program for config in settings.mule] == [
        config.program for config in from_file.mule
    ]
    assert settings.model_dump(exclude={"mule"}) == from_file.model_dump(
        exclude={"mule"}
    )


def test_paths_of_options_are_against_the_current_directory(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(socket_dir)
    Path("somaro.py").touch()

    settings = settings_from_options(mules=["somaro.py"], socket=Path("p.sock"))

    assert settings.socket == socket_dir / "p.sock"
    assert settings.mule[0].program == str(socket_dir / "somaro.py")
    assert settings.mule[0].cwd == socket_dir


def test_errors_of_options_name_the_option() -> None:
    found = option_problems(
        [None, "somaro"],
        ["busy:1,9", "idle", "9x:1", "busy:2,2"],
        app="my app",
        log_format="xml",
    )

    assert sorted(line.partition(": ")[0::2] for line in found) == [
        (
            "--app",
            "found 'my app'; allowed: a module, 'pkg.mod'",
        ),
        (
            "--farm 9x:1",
            (
                "found '9x'; allowed: a letter or '_', then up to 63 letters, digits,"
                " '_', '.' or '-'"
            ),
        ),
        ("--farm busy:1,9", "mule 9 does not exist; there are 1 to 2"),
        (
            "--farm busy:2,2",
            "found 'busy', which another farm has; allowed: a name of its own",
        ),
        ("--farm busy:2,2", "found mule 2 twice; allowed: each mule once"),
        ("--farm idle", "found 'idle'; allowed: NAME:1,2 with the numbers of mules"),
        ("--log-format", "found 'xml'; allowed: 'text' or 'json'"),
        (
            "--mule=somaro",
            (
                "found 'somaro'; allowed: a script, 'NAME.py', or a callable,"
                " 'pkg.mod:callable'"
            ),
        ),
    ]


@pytest.mark.parametrize("farm", ["busy:", "busy:x", "busy:1,", "busy:1;2", ":1:2", ""])
def test_a_farm_option_that_cannot_be_read_is_refused(farm: str) -> None:
    assert option_problems([None], [farm]) == [
        f"--farm {farm}: found {farm!r}; allowed: NAME:1,2 with the numbers of mules"
    ]


def test_options_without_a_mule_are_refused() -> None:
    assert option_problems([], []) == ["--mule: no mule; add --mule or --mule=PROGRAM"]


def test_a_socket_path_that_is_too_long_is_refused_with_the_limit() -> None:
    (line,) = option_problems([None], [], socket=f"/{'x' * 107}")

    assert line.startswith("--socket: found a path of 108 bytes, '/xxx")
    assert line.endswith("allowed: at most 107, the kernel's limit")
