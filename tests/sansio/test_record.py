from typing import get_args, get_type_hints

from pymule.sansio.record import Changed, Durability, Fact, Recovered, Share, Stored
from pymule.settings import QueueConfig


def test_a_queue_may_be_as_durable_as_a_file_can_say() -> None:
    words = get_args(get_type_hints(QueueConfig)["durability"])

    assert {durability.value for durability in Durability} == set(words)


def test_a_journal_can_tell_all_facts_apart() -> None:
    assert len({kind.__name__ for kind in get_args(Fact)}) == 7


def test_a_share_has_the_history_that_a_change_told() -> None:
    history = {"attempts", "crashes", "due_at", "errors"}

    assert history <= set(Changed.__dataclass_fields__)
    assert history <= set(Share.__dataclass_fields__)


def test_what_is_stored_is_synced_and_may_be_refused_unless_it_says_otherwise() -> None:
    stored = Stored(1, "a", 1, 1, b"", b"", 0.0)

    assert stored.is_synced
    assert not stored.is_kept


def test_a_new_journal_gives_nothing_and_begins_at_one() -> None:
    recovered = Recovered()

    assert (recovered.epoch, recovered.next_id, recovered.next_row) == (1, 1, 1)
    assert [*recovered.rows, *recovered.dead, *recovered.seen] == []
