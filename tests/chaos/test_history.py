"""The checker sees what went wrong, calls it by its name, and nothing else."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.history import (
    Attempt,
    Confirm,
    Entry,
    History,
    Kind,
    Refuse,
    Report,
    Settle,
    Take,
    check,
)

QUEUE = "farm:line"
SENDER_PID = 9
MULE = 100
OTHER = 200


@dataclass
class Story:
    """A history that is told sentence by sentence, in the order of time."""

    entries: list[Entry] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    master_deaths: list[int] = field(default_factory=list)
    power_cuts: list[tuple[int, int]] = field(default_factory=list)
    overlapping: set[int] = field(default_factory=set)
    now: int = 0

    def attempted(
        self,
        first: int,
        count: int = 1,
        sender: str = "a",
        *,
        kind: Kind = Kind.PLAIN,
        delay_ns: int = 0,
    ) -> "Story":
        what = QUEUE, kind, delay_ns, SENDER_PID
        self.entries.append(Attempt(sender, first, count, *what, self._tick()))
        return self

    def sent(
        self,
        first: int,
        count: int = 1,
        sender: str = "a",
        *,
        kind: Kind = Kind.PLAIN,
        delay_ns: int = 0,
    ) -> "Story":
        self.attempted(first, count, sender, kind=kind, delay_ns=delay_ns)
        self.entries.append(Confirm(sender, first, count, self._tick()))
        return self

    def refused(self, counter: int) -> "Story":
        self.attempted(counter)
        self.entries.append(Refuse("a", counter, 1, "QueueFullError", self._tick()))
        return self

    def taken(
        self,
        counter: int,
        *,
        attempt: int = 1,
        pid: int = MULE,
        number: int | None = None,
        sender: str = "a",
    ) -> "Story":
        number = counter if number is None else number
        self.entries.append(
            Take(
                sender,
                counter,
                QUEUE,
                number,
                attempt,
                pid,
                0,
                is_intact=True,
                at=self._tick(),
            )
        )
        return self

    def settled(
        self,
        counter: int,
        *,
        attempt: int = 1,
        pid: int = MULE,
        is_done: bool = True,
    ) -> "Story":
        self.entries.append(Settle(counter, attempt, pid, is_done, self._tick()))
        return self

    def done(self, counter: int, *, attempt: int = 1, pid: int = MULE) -> "Story":
        self.taken(counter, attempt=attempt, pid=pid)
        return self.settled(counter, attempt=attempt, pid=pid)

    def died(self, pid: int) -> "Story":
        self.dead.add(pid)
        return self

    def master_died(self) -> "Story":
        self.master_deaths.append(self._tick())
        return self

    def power_was_cut(self) -> "Story":
        self.power_cuts.append((self._tick(), self._tick()))
        return self

    def report(self) -> Report:
        return check(
            History(
                self.entries,
                frozenset(self.dead),
                tuple(self.master_deaths),
                tuple(self.power_cuts),
                frozenset({QUEUE}),
                frozenset(self.overlapping),
            )
        )

    def _tick(self) -> int:
        self.now += 1
        return self.now


def test_each_message_is_counted_for_what_became_of_it() -> None:
    story = Story().sent(1, 3).refused(4).attempted(5)
    for counter in (1, 2, 3):
        story.done(counter)

    report = story.report()

    assert not report.breaches
    assert (report.attempted, report.confirmed, report.refused) == (5, 3, 1)
    assert (report.indeterminate, report.delivered, report.finished) == (1, 3, 3)


def test_what_is_indeterminate_may_be_delivered_or_not() -> None:
    assert not Story().attempted(1, 2).done(2).report().breaches


def test_a_confirmed_message_that_nobody_took_is_lost_by_its_place() -> None:
    story = Story().sent(1, 5).done(2).done(4)

    lost = story.report().lost

    assert (lost.prefix, lost.middle, lost.tail) == ([("a", 1)], [("a", 3)], [("a", 5)])


def test_a_message_that_was_taken_and_never_finished_is_lost() -> None:
    assert Story().sent(1).taken(1).report().breaches == {"lost": 1}


def test_all_messages_of_a_sender_can_be_lost() -> None:
    story = Story().sent(1, 2).sent(1, sender="b").taken(1, sender="b", number=7)

    assert len(story.settled(7).report().lost.prefix) == 2


def test_a_retry_after_its_mule_died_is_no_duplicate() -> None:
    story = Story().sent(1).taken(1).died(MULE).done(1, attempt=2, pid=OTHER)

    report = story.report()

    assert not report.breaches
    assert report.redelivered == 1


def test_a_retry_after_it_was_given_back_is_no_duplicate() -> None:
    story = Story().sent(1).taken(1).settled(1, is_done=False).done(1, attempt=2)

    assert not story.report().breaches


def test_a_retry_for_no_reason_is_a_duplicate() -> None:
    story = Story().sent(1).done(1).done(1, attempt=2, pid=OTHER)

    assert story.report().breaches == {"duplicated": 1}


def test_what_a_mule_had_finished_before_it_died_is_not_for_another() -> None:
    story = Story().sent(1, 2).done(1).taken(2).died(MULE)
    story.done(2, attempt=2, pid=OTHER).done(1, attempt=2, pid=OTHER)

    report = story.report()

    assert report.duplicated == [("a", 1)]


def test_the_same_attempt_twice_is_a_duplicate_whatever_died() -> None:
    story = Story().sent(1).taken(1).died(MULE).master_died().done(1, pid=OTHER)

    assert story.report().breaches == {"duplicated": 1}


def test_an_attempt_may_be_forgotten_in_a_power_cut() -> None:
    story = Story().sent(1).taken(1).power_was_cut().done(1, pid=OTHER)

    assert not story.report().breaches


def test_what_is_confirmed_during_a_power_cut_is_in_doubt() -> None:
    story = Story().sent(1).attempted(2).power_was_cut().done(1)
    story.entries.append(Confirm("a", 2, 1, story.power_cuts[0][0]))

    report = story.report()

    assert not report.breaches
    assert (report.confirmed, report.indeterminate) == (1, 1)


def test_of_a_batch_any_part_may_be_confirmed_during_a_power_cut() -> None:
    story = Story().attempted(1, 2).power_was_cut().done(2)
    story.entries.append(Confirm("a", 1, 2, story._tick()))

    assert story.report().confirmed == 0


def test_a_power_cut_of_an_instant_leaves_nothing_in_doubt() -> None:
    story = Story().attempted(1, 2)
    story.power_cuts.append((story.now, story.now))
    story.entries.append(Confirm("a", 1, 2, story._tick()))

    assert story.done(2).report().breaches == {"lost": 1}


def test_a_retry_after_the_master_died_is_no_duplicate() -> None:
    story = Story().sent(1).done(1).master_died().done(1, attempt=2, pid=OTHER)

    assert not story.report().breaches


def test_a_mule_that_outlives_its_master_may_be_later_than_its_successor() -> None:
    story = Story().sent(1).master_died().done(1, attempt=2, pid=OTHER).done(1)

    assert not story.report().breaches


def test_a_copy_is_a_duplicate_unless_the_sender_lost_its_master() -> None:
    story = Story().sent(1).done(1)
    copied = replace(story, entries=[*story.entries]).taken(1, number=50)
    story.attempted(2).master_died().done(2).taken(2, number=51)

    assert copied.report().breaches == {"duplicated": 1}
    assert not story.report().breaches


def test_a_refused_message_that_is_delivered_is_revived() -> None:
    assert Story().refused(1).done(1).report().breaches == {"revived": 1}


def test_what_was_finished_long_before_the_master_died_stays_finished() -> None:
    story = Story().sent(1, 2).done(1)
    story.now += 6 * 10**9
    story.done(2).master_died()
    story.done(1, attempt=2, pid=OTHER).done(2, attempt=2, pid=OTHER)

    assert story.report().duplicated == [("a", 1)]


def test_a_message_with_an_id_of_its_sender_has_no_copy_whatever_died() -> None:
    story = Story().attempted(1, kind=Kind.NAMED).master_died().done(1)

    assert story.taken(1, number=51).report().breaches == {"duplicated": 1}


def test_a_delayed_message_is_not_taken_before_its_time() -> None:
    story = Story().sent(1, kind=Kind.DELAYED, delay_ns=10**9)
    early = replace(story, entries=[*story.entries]).done(1)
    story.now += 10**9

    assert early.report().breaches == {"early": 1}
    assert not story.done(1).report().breaches


def test_a_delayed_message_has_no_place_in_the_order() -> None:
    story = Story().sent(1, kind=Kind.DELAYED).sent(2).done(2).done(1)

    assert not story.report().breaches


def test_a_message_waits_until_the_one_before_with_its_key_is_finished() -> None:
    story = Story().sent(1, kind=Kind.KEYED).sent(2, kind=Kind.KEYED).taken(1)
    overtaking = replace(story, entries=[*story.entries]).done(2).settled(1)

    assert overtaking.report().breaches == {"overtaken": 1}
    assert not story.settled(1).done(2).report().breaches


def test_a_message_whose_fate_is_not_known_holds_nobody_up() -> None:
    story = Story().attempted(1, kind=Kind.KEYED).sent(2, kind=Kind.KEYED)

    assert not story.done(2).done(1).report().breaches


def test_what_was_never_sent_is_unexpected() -> None:
    assert Story().sent(1).done(1).done(2).report().breaches == {"unexpected": 1}


@pytest.mark.parametrize(
    "wrong", [{"is_intact": False}, {"queue": "mule"}, {"sender": "b"}]
)
def test_what_differs_from_what_was_sent_is_unexpected(
    wrong: dict[str, object],
) -> None:
    story = Story().sent(1).done(1)
    take = next(entry for entry in story.entries if isinstance(entry, Take))
    story.entries.append(replace(take, at=99, attempt=2, **wrong))  # type: ignore[arg-type]

    assert story.report().breaches == {"unexpected": 1}


def test_an_id_stands_for_one_message_for_ever() -> None:
    story = Story().sent(1, 2).done(1).done(2).taken(2, number=1, attempt=2)

    assert "unexpected" in story.report().breaches


def test_an_older_message_after_a_younger_one_is_reordered() -> None:
    story = Story().sent(1, 3).done(1).done(3).done(2)

    assert story.report().reordered == [("a", 2)]


def test_what_was_tried_before_may_come_later() -> None:
    story = Story().sent(1, 3).done(1).taken(2).settled(2, is_done=False).done(3)

    assert not story.done(2, attempt=2).report().breaches


def test_a_mule_that_takes_the_place_of_another_gets_what_that_one_returned() -> None:
    story = Story().sent(1, 3).done(1).done(3, pid=OTHER).done(2, pid=OTHER)

    assert story.report().breaches == {"reordered": 1}
    story.overlapping.add(OTHER)
    assert not story.report().breaches


def test_only_few_examples_are_told() -> None:
    told = Story().sent(1, 100).done(1).report().describe()

    assert told["breaches"] == {"lost": 99}
    assert "a:2" in str(told["lost"])
    assert "a:50" not in str(told["lost"])


@st.composite
def _good_stories(draw: st.DrawFn) -> Story:
    """A run of something that keeps its promises, with deaths at will."""
    story = Story()
    count = draw(st.integers(1, 8))
    story.sent(1, count)
    pid = MULE
    for counter in range(1, count + 1):
        attempt = 1
        for end in draw(st.lists(st.sampled_from(["mule", "master", "back"]))):
            story.taken(counter, attempt=attempt, pid=pid)
            if end == "back":
                story.settled(counter, attempt=attempt, pid=pid, is_done=False)
            elif end == "mule":
                story.died(pid)
                pid += 1
            else:
                story.master_died()
                pid += 1
            attempt += 1
        story.done(counter, attempt=attempt, pid=pid)
    return story


@settings(deadline=None)
@given(_good_stories())
def test_a_run_that_keeps_its_promises_has_no_fault(story: Story) -> None:
    assert not story.report().breaches


@settings(deadline=None)
@given(_good_stories(), st.data())
def test_whatever_is_not_finished_is_lost(story: Story, data: st.DataObject) -> None:
    ends = [e for e in story.entries if isinstance(e, Settle) and e.is_done]
    missing = data.draw(st.sampled_from(ends))
    story.entries.remove(missing)

    report = story.report()

    assert len(report.lost) == 1
    assert report.breaches == {"lost": 1}


@settings(deadline=None)
@given(_good_stories(), st.data())
def test_whatever_is_done_twice_in_a_row_is_a_duplicate(
    story: Story, data: st.DataObject
) -> None:
    takes = [entry for entry in story.entries if isinstance(entry, Take)]
    again = data.draw(st.sampled_from(takes))
    story.entries.append(replace(again, pid=10_000, at=story._tick()))

    assert len(story.report().duplicated) == 1


@settings(deadline=None)
@given(_good_stories())
def test_the_order_of_the_files_does_not_matter(story: Story) -> None:
    before = story.report()
    by_file: dict[str, list[Entry]] = {}
    for entry in story.entries:
        kind = "sender" if isinstance(entry, Attempt | Confirm | Refuse) else "mules"
        by_file.setdefault(kind, []).append(entry)
    story.entries = [*by_file.get("mules", []), *by_file.get("sender", [])]

    assert story.report() == before
