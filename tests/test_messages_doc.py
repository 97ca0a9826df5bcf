"""docs/messages.md and the code say the same."""

import re
from pathlib import Path
from typing import Final

import pymule.sync
from pymule.config import load_settings
from pymule.sansio import options
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.options import OptionWords
from pymule.sansio.ready import MAX_BYPASS

ROOT: Final = Path(__file__).parent.parent
TEXT: Final = (ROOT / "docs" / "messages.md").read_text()


def rows(first_heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this heading."""
    (table,) = re.findall(
        rf"^\| {first_heading} \|.*\n\|[ |-]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    )
    return [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in table.splitlines()
    ]


def test_every_option_is_told() -> None:
    told = [row[0].strip("`") for row in rows("option")]

    assert sorted(told) == sorted(OptionWords.__annotations__)


def test_the_values_are_those_that_senders_may_give() -> None:
    told = {row[0].strip("`"): row[1] for row in rows("option")}
    # A sender may say these in other ways than they travel.
    del told["at"], told["headers"]

    assert told == {
        name: options._RULES[name][1].removeprefix("an integer from ") for name in told
    }
    assert f"may take {options.MAX_OPTIONS_BYTES:,} bytes" in TEXT


def test_the_values_without_an_option_are_those_of_a_queue() -> None:
    policy = DeliveryPolicy()
    shared = load_settings(ROOT / "configs" / "minimal.toml").shared

    told = {row[0].strip("`"): row[2] for row in rows("option") if "queue's" in row[2]}

    assert told == {
        name: f"the queue's, {getattr(policy, name):g}"
        for name in (
            *("max_attempts", "max_crashes", "backoff_s", "backoff_max_s", "jitter"),
        )
    }
    assert f"`dedupe_s` ({shared.dedupe_s / 60:g} minutes)" in TEXT
    assert f"`dead_max_messages` ({shared.dead_max_messages:,})" in TEXT
    assert f"passed over {MAX_BYPASS} times at most" in TEXT


def test_what_the_options_are_given_to_exists() -> None:
    for name in re.findall(r"`(mule_msgs?|farm_msgs?)`", TEXT):
        assert callable(getattr(pymule, name))
        assert callable(getattr(pymule.sync, name))
