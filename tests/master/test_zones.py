import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from pymule.master.zones import local_zone, zone_of

BERLIN: Final = next(
    path
    for folder in zoneinfo.TZPATH
    if (path := Path(folder, "Europe/Berlin")).exists()
)


def offsets(zone: tzinfo) -> tuple[float, float]:
    """Return the hours from UTC in winter and in summer."""
    winter, summer = (
        datetime(2040, month, 1, tzinfo=zone).utcoffset() for month in (1, 7)
    )
    assert winter is not None
    assert summer is not None
    return winter / timedelta(hours=1), summer / timedelta(hours=1)


@pytest.fixture
def _no_zone_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=[tmp_path])
    ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()


def test_a_zone_has_its_name_and_its_summer() -> None:
    zone = zone_of("Europe/Berlin")

    assert str(zone) == "Europe/Berlin"
    assert offsets(zone) == (1, 2)
    assert zone_of("Europe/Berlin") is zone


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (
            "Europe/Berln",
            "^unknown time zone 'Europe/Berln'; did you mean Europe/Berlin",
        ),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("new york", "did you mean America/New_York"),
        ("", "unknown time zone ''; allowed: as 'Europe/Berlin'"),
        ("Europe", "unknown time zone 'Europe'"),
        ("../Europe/Berlin", "unknown time zone '../Europe/Berlin'"),
        ("/etc/localtime", "unknown time zone '/etc/localtime'; allowed"),
        ("a\0b", r"unknown time zone 'a\\x00b'; allowed"),
        ("x" * 100_000, "unknown time zone 'x{64}'; allowed"),
        ("\udcff", r"unknown time zone '\\udcff'; allowed"),
    ],
)
def test_an_unknown_zone_is_refused_with_names_like_it(
    name: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        zone_of(name)


@pytest.mark.usefixtures("_no_zone_data")
def test_without_zone_data_the_error_says_what_to_install() -> None:
    with pytest.raises(
        ValueError, match=r"no data about .*; install .* tzdata, or use"
    ):
        zone_of("Europe/Berlin")


@pytest.mark.usefixtures("_no_zone_data")
def test_utc_needs_no_data() -> None:
    assert zone_of("UTC") is UTC


def test_the_zone_of_the_machine_is_found_once() -> None:
    assert zone_of(None) is zone_of(None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Europe/Berlin", (1, 2)),
        (":Europe/Berlin", (1, 2)),
        (str(BERLIN), (1, 2)),
        (f":{BERLIN}", (1, 2)),
        ("EST5EDT", (-5, -4)),
        ("CET-1CEST,M3.5.0,M10.5.0/3", (1, 2)),
        ("<+0330>-3:30", (3.5, 3.5)),
        ("UTC0", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_variable_tz_comes_first(
    text: str, expected: tuple[float, float], tmp_path: Path
) -> None:
    localtime = tmp_path / "localtime"
    localtime.symlink_to(BERLIN.with_name("Moscow"))

    assert offsets(local_zone({"TZ": text}, localtime)) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "Europe/Berln",
            r"^environment variable TZ='Europe/Berln': unknown time zone ",
        ),
        ("CET-1CEST,M99", "^environment variable TZ='CET-1CEST,M99': "),
        ("/no/such/file", "^environment variable TZ='/no/such/file': .*No such file"),
        (__file__, "is no time zone: "),
    ],
)
def test_a_wrong_variable_tz_is_told(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        local_zone({"TZ": text})


def test_the_link_of_the_machine_names_its_zone(tmp_path: Path) -> None:
    localtime = tmp_path / "localtime"
    localtime.symlink_to(BERLIN)

    zone = local_zone({}, localtime)

    assert str(zone) == "Europe/Berlin"
    assert offsets(zone) == (1, 2)


def test_a_copy_instead_of_a_link_has_the_same_rules(tmp_path: Path) -> None:
    localtime = tmp_path / "localtime"
    localtime.write_bytes(BERLIN.read_bytes())

    zone = local_zone({}, localtime)

    assert str(zone) == str(localtime)
    assert offsets(zone) == (1, 2)


def test_a_machine_without_a_zone_lives_in_utc(tmp_path: Path) -> None:
    assert local_zone({}, tmp_path / "localtime") is UTC


def test_a_link_to_data_elsewhere_is_followed_by_its_name(tmp_path: Path) -> None:
    localtime = tmp_path / "localtime"
    localtime.symlink_to(tmp_path / "zoneinfo/Europe/Berlin")

    assert local_zone({}, localtime) is zone_of("Europe/Berlin")


@pytest.mark.usefixtures("_no_zone_data")
def test_a_link_to_missing_data_is_told(tmp_path: Path) -> None:
    localtime = tmp_path / "localtime"
    localtime.symlink_to(tmp_path / "zoneinfo/Europe/Berlin")

    with pytest.raises(ValueError, match=r"localtime leads to Europe/Berlin: .*tzdata"):
        local_zone({}, localtime)


def test_a_file_of_the_machine_that_is_no_zone_is_told(tmp_path: Path) -> None:
    localtime = tmp_path / "localtime"
    localtime.write_bytes(b"TZif2")

    with pytest.raises(ValueError, match="localtime is no time zone: "):
        local_zone({}, localtime)
