"""Blows come by the seed, within the run, and leave one period in four alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.nemesis import BY_DURABILITY, Fault, schedule

FAULTS = st.frozensets(st.sampled_from(Fault), min_size=1)


@settings(deadline=None)
@given(st.integers(), FAULTS)
def test_a_seed_gives_the_same_blows_in_whatever_order_the_faults_are_named(
    seed: int, faults: frozenset[Fault]
) -> None:
    one = schedule(seed, 30.0, sorted(faults), (1.0, 3.0))
    other = schedule(seed, 30.0, sorted(faults, reverse=True), (1.0, 3.0))

    assert one == other


@settings(deadline=None)
@given(st.integers(), FAULTS)
def test_blows_are_in_order_within_the_run_and_of_the_faults_allowed(
    seed: int, faults: frozenset[Fault]
) -> None:
    blows = schedule(seed, 30.0, faults, (1.0, 3.0))

    assert {blow.fault for blow in blows} <= faults
    assert [blow.at for blow in blows] == sorted(blow.at for blow in blows)
    assert all(0 <= blow.at <= 30 and blow.lasts_s >= 0 for blow in blows)


@settings(deadline=None)
@given(st.integers())
def test_each_fourth_period_is_calm(seed: int) -> None:
    blows = schedule(seed, 40.0, frozenset(Fault), (1.0, 1.0))

    assert not [blow for blow in blows if int(blow.at) % 4 == 3]


def test_without_faults_there_are_no_blows() -> None:
    assert schedule(1, 30.0, [], (1.0, 3.0)) == []


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_only_memory_is_spared_the_death_of_the_master(durability: str) -> None:
    assert Fault.KILL_MASTER in BY_DURABILITY[durability]
    assert Fault.KILL_MASTER not in BY_DURABILITY["memory"]
