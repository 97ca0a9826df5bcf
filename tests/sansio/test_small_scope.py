"""All histories of a small world: breadth first, each state once."""

import gc
import io
import pickle
from collections.abc import Callable, Hashable, Iterator
from typing import Final

import pytest

from pymule.sansio.delivery import DeadLetter, DeliveryPolicy
from pymule.sansio.options import MessageOptions, OptionWords
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Buried, Changed, DeadGone, Gone, RowGone, Stored
from tests.sansio.small_world import Event, Plan, World

# What never changes is not copied: that takes most of the time.
CONSTANT: Final = (
    Buried, Changed, DeadGone, DeadLetter, DeliveryPolicy, Gone, Keeping, Limits,
    MessageOptions, Plan, RowGone, Stored,
)  # fmt: skip
_constants: list[object] = []


@pytest.fixture(autouse=True)
def _few_collections() -> Iterator[None]:
    """Let the collector not walk through all states again and again."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 1_000, 1_000)
    yield
    gc.set_threshold(*before)


def _constant(index: int) -> object:
    return _constants[index]


def _keep(value: object) -> tuple[Callable[[int], object], tuple[int]]:
    _constants.append(value)
    return _constant, (len(_constants) - 1,)


def freeze(world: World) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = dict.fromkeys(CONSTANT, _keep)
    pickler.dump(world)
    return buffer.getvalue()


def explore(plan: Plan) -> int:
    """Visit every state; return how many there are."""
    world = World(plan)
    seen: dict[Hashable, Hashable] = {world.fingerprint(): None}
    front = [(world, world.fingerprint())]
    while front:
        found = []
        for world, here in front:
            _constants.clear()
            frozen = freeze(world)
            for event in list(world.events()):
                after: World = pickle.loads(frozen)  # noqa: S301  (our own)
                try:
                    after.apply(event)
                except Exception as exc:
                    exc.add_note(history(seen, here, event))
                    raise
                there = after.fingerprint()
                if there not in seen:
                    seen[there] = here, event
                    found.append((after, there))
        front = found
    return len(seen)


def history(seen: dict[Hashable, Hashable], here: Hashable, event: Event) -> str:
    """Return the shortest way to what went wrong."""
    events = [event]
    while (step := seen[here]) is not None:
        assert isinstance(step, tuple)
        here, before = step
        events.insert(0, before)
    return "\n".join(map(repr, events))


def plan(
    first: OptionWords, second: OptionWords, *acts: str, is_batch: bool = False
) -> Plan:
    return Plan((first, second), is_batch=is_batch, acts=frozenset(acts))


KEYED: Final[OptionWords] = {"key": "k"}
IN_MEMORY: Final = Plan(
    ({}, {}),
    is_durable=False,
    acts=frozenset({"nack", "retry", "reject", "return", "replay"}),
)
EVERYTHING: Final = Plan(
    ({"key": "k", "ttl": 5.0}, {}),
    is_one=True,
    acts=frozenset({"nack", "retry", "reject", "return", "replay", "refuse"}),
)
WITH_A_LOCK: Final = Plan(
    (KEYED, KEYED), is_durable=False, has_lock=True, acts=frozenset({"nack"})
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("small", "least"),
    [
        pytest.param(IN_MEMORY, 1_000, id="in memory"),
        pytest.param(EVERYTHING, 1_000, id="one message and everything"),
        pytest.param(WITH_A_LOCK, 1_200, id="two that want a lock"),
        pytest.param(plan(KEYED, KEYED, "nack"), 9_000, id="one key"),
        pytest.param(
            plan(KEYED, KEYED, "retry", "refuse", is_batch=True),
            5_000,
            id="one key and batch, a full disk",
        ),
        pytest.param(plan({}, {}, is_batch=True), 5_000, id="one batch"),
        pytest.param(plan({"ttl": 5.0}, {}), 5_000, id="one expires"),
    ],
)
def test_in_every_state_each_message_is_where_it_must_be(
    small: Plan, least: int
) -> None:
    count = explore(small)

    assert count >= least, f"{count} states"
    print(f"{count} states")  # noqa: T201  (pytest shows it when asked)


def test_another_start_with_the_same_history_is_the_same_state() -> None:
    one, other = World(WITH_A_LOCK), World(WITH_A_LOCK)
    for event in (("die", 0), ("start", 0)):
        other.apply(event)

    assert other.fingerprint() != one.fingerprint()  # who waited longest differs
    for event in (("die", 1), ("start", 1)):
        other.apply(event)
    assert other.fingerprint() == one.fingerprint()
