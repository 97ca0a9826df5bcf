"""The checker reports each planted bug, by the word for it: it can fail."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pytest

from tests.chaos.programs import SKIPPED, Ended, run_program
from tests.chaos.saboteur import BUGS
from tests.conftest import MS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180_000 * MS)]

_TRIES: Final = 3

_CALM: Final = ("tests.chaos", "--duration", 2, "--pause", 0.005, "--faults", "")
_KILLS: Final = ("tests.chaos", "--duration", 3, "--faults", "kill-mule")
_CUTS: Final = ("tests.chaos", "--duration", 2, "--faults", "cut")
_MASTER_KILLS: Final = ("tests.chaos.kill9", "--kills", 2)

CASES: Final[Mapping[str, tuple[str, tuple[object, ...]]]] = {
    "ack-early": ("lost", _KILLS),
    "forget-requeue": ("lost", _KILLS),
    "lose-on-reconnect": ("lost", _CUTS),
    "deliver-twice": ("duplicated", _CALM),
    "reorder": ("reordered", _CALM),
    "revive": ("revived", _CALM),
    "garble": ("unexpected", _CALM),
    "hurry": ("early", _CALM),
    "ignore-keys": ("overtaken", _CALM),
    "confirm-early": ("lost", (*_MASTER_KILLS, "--life", 0.5, 1)),
    "forget-attempts": ("duplicated", (*_MASTER_KILLS, "--life", 0.5, 1)),
    "forget-acks": ("duplicated", (*_MASTER_KILLS, "--life", 4, 5)),
    "skip-fsync": ("lost", ("tests.chaos.powercut", "--cuts", 2)),
}
"""By bug: the word, and the run that must find it."""


@pytest.fixture(scope="module")
def runs() -> Iterator[Mapping[str, Future[Ended]]]:
    """All runs, some at a time: each waits more than it works."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            bug: pool.submit(_find, bug, word, words)
            for bug, (word, words) in CASES.items()
        }
        pool.shutdown(cancel_futures=True)


def _find(bug: str, word: str, words: tuple[object, ...]) -> Ended:
    """Run until the bug shows: on a busy machine a run may not get that far."""
    ended = Ended(1, "", "")
    for seed in range(1, _TRIES + 1):
        ended = run_program(*map(str, words), "--seed", str(seed), "--saboteur", bug)
        if ended.status == SKIPPED:
            break
        # With some bugs a master does not start on what the last one left.
        if ended.output.startswith("{") and word in ended.breaches:
            break
    return ended


def test_each_bug_has_a_run_that_must_find_it() -> None:
    assert set(CASES) == set(BUGS)


@pytest.mark.parametrize("bug", CASES)
def test_a_planted_bug_is_reported(runs: Mapping[str, Future[Ended]], bug: str) -> None:
    word, _ = CASES[bug]

    ended = runs[bug].result()

    assert ended.breaches.get(word, 0) > 0, ended.output
    assert ended.status == 1


@pytest.mark.parametrize(
    "words",
    [_CALM, _KILLS, _MASTER_KILLS],
    ids=["calm", "kills", "kill9"],
)
def test_without_a_bug_the_same_runs_report_nothing(words: tuple[str, object]) -> None:
    run_program(*words).assert_good()
