"""How long machines are tried against their models: in ``make check``, and for ever."""

from typing import Final
from unittest import TestCase

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine

from tests.conftest import IS_SOAK

__all__ = ("EXAMPLES", "case_of")

EXAMPLES: Final = 20_000 if IS_SOAK else 200
# Longer than other tests may take, for a loaded machine and for shrinking.
_TIMEOUT_S: Final = 12 * 3600 if IS_SOAK else 300


def case_of(machine: type[RuleBasedStateMachine]) -> type[TestCase]:
    """Return the test case of *machine*."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return pytest.mark.timeout(_TIMEOUT_S)(case)
