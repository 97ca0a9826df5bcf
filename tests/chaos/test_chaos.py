"""Under faults at random nothing confirmed is lost, and nothing else goes wrong."""

import pytest

from tests.chaos.programs import run_program
from tests.conftest import MS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180_000 * MS)]


@pytest.mark.parametrize(
    ("durability", "seed", "duration"),
    [("memory", 1, 14), ("process", 2, 16), ("disk", 3, 20)],
)
def test_chaos_loses_nothing(durability: str, seed: int, duration: int) -> None:
    told = run_program(
        "tests.chaos",
        *("--durability", durability, "--seed", seed, "--duration", duration),
    ).assert_good()

    # The faults did meet messages, or all this was for nothing.
    assert int(str(told["confirmed"])) > 100
    assert int(str(told["redelivered"])) > 0


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_killing_the_master_loses_nothing(durability: str) -> None:
    told = run_program(
        "tests.chaos.kill9", "--kills", 10, "--durability", durability
    ).assert_good()

    assert told["starts"] == 11
    assert int(str(told["confirmed"])) > 100


def test_power_cuts_lose_nothing() -> None:
    told = run_program("tests.chaos.powercut", "--cuts", 4).assert_good()

    assert int(str(told["confirmed"])) > 50


@pytest.mark.parametrize("name", ["fsync", "write"])
def test_after_an_error_of_the_disk_the_next_start_rebuilds_the_journal(
    name: str,
) -> None:
    run_program("tests.chaos.injection", name).assert_good()


def test_what_could_not_be_synced_was_not_confirmed() -> None:
    run_program("tests.chaos.injection", "fsync", "--cut").assert_good()


def test_a_slow_disk_keeps_nobody_else_waiting() -> None:
    run_program("tests.chaos.injection", "slow").assert_good()
