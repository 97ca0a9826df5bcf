import pytest

from pymule.errors import (
    NoFreeSignalError,
    NoHandlerError,
    RemoteProtocolError,
    SignalConflictError,
)
from pymule.sansio.signals import (
    SIGNALS,
    Dispatch,
    Outcome,
    Overlap,
    ReceiverId,
    SignalTable,
    Wanted,
)
from pymule.sansio.target import Target

ONE, TWO, THREE = ReceiverId(1), ReceiverId(2), ReceiverId(3)
WORKER = ReceiverId(-1)


def wanted(
    number: int | None = 17,
    target: str = "mules",
    *,
    identity: str = "app:handler",
    overlap: Overlap = Overlap.SKIP,
    place: str = "app.py:3",
) -> Wanted:
    return Wanted(
        number, Target.for_signal(target), identity, "handler", place, overlap
    )


class Table(SignalTable):
    """A table with short words for what tests do all the time."""

    def mule(self, receiver: ReceiverId, *, number: int = 0, epoch: int = 0) -> None:
        farms = ["busy"] if receiver in (ONE, TWO) else []
        self.add_receiver(receiver, f"mule{number or receiver}", farms, epoch)

    def hear(self, *receivers: ReceiverId) -> None:
        for receiver in receivers:
            self.listen(receiver, is_listening=True)

    def sent(self) -> list[tuple[int, int]]:
        return [(out.receiver, out.number) for out in self.take_dispatches(0.0)]

    def done(self, receiver: ReceiverId, number: int = 17) -> None:
        self.handled(receiver, number, Outcome.DONE)


@pytest.fixture
def table() -> Table:
    """Two mules with the same application, and a third without it."""
    table = Table()
    for receiver in (ONE, TWO, THREE):
        table.mule(receiver)
    return table


def both(table: Table, target: str, overlap: Overlap = Overlap.SKIP) -> None:
    for receiver in (ONE, TWO):
        table.register(receiver, wanted(target=target, overlap=overlap))


# Targets


def test_a_signal_for_all_mules_runs_in_each_that_has_the_handler(table: Table) -> None:
    both(table, "mules")
    table.hear(ONE, TWO, THREE)

    table.raise_signal(17)

    assert table.sent() == [(ONE, 17), (TWO, 17)]


@pytest.mark.parametrize("target", ["", "mule", "farm:busy"])
def test_a_signal_for_the_first_available_runs_once_where_it_was_quiet_for_longest(
    table: Table, target: str
) -> None:
    both(table, target)
    table.hear(TWO, ONE)

    table.raise_signal(17)
    table.done(TWO)
    table.hear(TWO)
    table.raise_signal(17)

    assert table.sent() == [(TWO, 17), (ONE, 17)]


def test_who_does_not_have_the_handler_is_passed_over(table: Table) -> None:
    table.register(ONE, wanted(target="mule"))
    table.hear(THREE, ONE)

    table.raise_signal(17)

    assert table.sent() == [(ONE, 17)]


def test_a_signal_for_one_mule_waits_for_that_one(table: Table) -> None:
    both(table, "mule2")
    table.hear(ONE)

    table.raise_signal(17)
    before = table.sent()
    table.hear(TWO)

    assert before == []
    assert table.sent() == [(TWO, 17)]


def test_a_mule_outside_of_the_farm_is_not_meant(table: Table) -> None:
    table.register(THREE, wanted(target="farm:busy"))
    table.register(ONE, wanted(target="farm:busy"))
    table.hear(THREE)

    table.raise_signal(17)
    before = table.sent()
    table.hear(ONE)

    assert before == []
    assert table.sent() == [(ONE, 17)]


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("worker", [WORKER]),
        ("workers", [WORKER]),
        ("worker1", [WORKER]),
        ("mule", [ONE]),
        ("mules", [ONE]),
        ("", [ONE]),
    ],
)
def test_workers_run_what_is_for_workers_and_mules_the_rest(
    table: Table, target: str, runs: list[ReceiverId]
) -> None:
    table.add_receiver(WORKER, "worker1", (), 0)
    table.register(WORKER, wanted(target=target))
    table.register(ONE, wanted(target=target))
    table.hear(WORKER, ONE)

    table.raise_signal(17)

    assert table.sent() == [(receiver, 17) for receiver in runs]


def test_without_a_mule_that_has_it_a_signal_for_anybody_runs_in_a_worker(
    table: Table,
) -> None:
    table.add_receiver(WORKER, "worker1", (), 0)
    table.register(WORKER, wanted(target=""))
    table.hear(WORKER)

    table.raise_signal(17)

    assert table.sent() == [(WORKER, 17)]


# Raises


def test_raises_of_a_signal_that_is_due_become_one(table: Table) -> None:
    both(table, "mules")
    for _ in range(1000):
        table.raise_signal(17)

    table.hear(ONE, TWO)

    assert table.sent() == [(ONE, 17), (TWO, 17)]
    signal = table.signals[17]
    assert (signal.raised, signal.coalesced) == (1000, 1998)


def test_a_raise_while_the_handler_runs_runs_it_once_more_and_not_beside(
    table: Table,
) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)
    table.hear(ONE)
    table.raise_signal(17)
    table.raise_signal(17)
    before = table.sent()

    table.done(ONE)

    assert before == [(ONE, 17)]
    assert table.sent() == [(ONE, 17)]


def test_a_process_gets_one_signal_each_time_it_listens_and_all_in_turn(
    table: Table,
) -> None:
    for number in (1, 2):
        table.register(ONE, wanted(number, identity=f"app:{number}"))
    order = []
    for _ in range(3):
        table.raise_signal(1)
        table.raise_signal(2)
        table.hear(ONE)
        ((_, number),) = table.sent()
        order.append(number)
        table.done(ONE, number)

    assert order == [1, 2, 1]


def test_what_nobody_has_is_refused_with_what_there_is(table: Table) -> None:
    table.register(ONE, wanted(3, identity="a"))
    table.register(ONE, wanted(4, "mule2", identity="b"))

    with pytest.raises(NoHandlerError, match="there are handlers for: 3, 4"):
        table.raise_signal(17)
    with pytest.raises(NoHandlerError, match="at its target 'mule2'"):
        table.raise_signal(4)
    with pytest.raises(NoHandlerError):
        table.tick(17)


@pytest.mark.parametrize("target", ["worker", "worker3", "mule2"])
def test_a_handler_counts_only_where_its_target_is(table: Table, target: str) -> None:
    table.register(ONE, wanted(target=target))

    with pytest.raises(NoHandlerError):
        table.raise_signal(17)


def test_a_signal_for_a_mule_that_is_started_waits_for_its_handler(
    table: Table,
) -> None:
    table.register(ONE, wanted(target="mule2"))
    table.expect("mule2")
    table.raise_signal(17)

    table.register(TWO, wanted(target="mule2"))
    table.arrived(TWO)
    table.hear(TWO)

    assert table.sent() == [(TWO, 17)]
    assert not table.is_expecting


# How it went


def test_what_a_process_cannot_run_now_goes_to_another(table: Table) -> None:
    both(table, "mule")
    table.hear(ONE)
    table.raise_signal(17, ["a"])
    table.hear(TWO)

    table.handled(ONE, 17, Outcome.RETURNED)

    assert [(d.receiver, d.paths) for d in table.take_dispatches(0.0)] == [
        (ONE, ("a",)),
        (TWO, ("a",)),
    ]
    assert table.signals[17].handled == 0


def test_what_comes_back_waits_until_the_process_listens(table: Table) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)
    table.hear(ONE)
    table.handled(ONE, 17, Outcome.RETURNED)
    before = table.sent()

    table.hear(ONE)

    assert before == [(ONE, 17)]
    assert table.sent() == [(ONE, 17)]


def test_a_handler_that_raised_is_counted(table: Table) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)

    table.handled(ONE, 17, Outcome.FAILED)

    signal = table.signals[17]
    assert (signal.handled, signal.failed, signal.running) == (1, 1, 0)


def test_what_was_not_sent_cannot_be_handled(table: Table) -> None:
    table.register(ONE, wanted())

    with pytest.raises(RemoteProtocolError, match="signal 17 was handled"):
        table.done(ONE)


def test_who_runs_what_since_when(table: Table) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    idle = table.running_since(ONE), table.is_idle(ONE)
    table.raise_signal(17)
    table.take_dispatches(5.0)

    assert idle == (None, True)
    assert table.running_since(ONE) == (5.0, 17)
    assert not table.is_idle(ONE)
    assert table.signals[17].running == 1


# Deaths


def test_a_mule_that_dies_runs_what_it_had_once_more_when_it_is_back(
    table: Table,
) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)
    table.take_dispatches(0.0)

    assert table.receiver_gone(ONE, returns=True) == ([], [])
    table.raise_signal(17)
    table.mule(ReceiverId(11), number=1)
    table.register(ReceiverId(11), wanted())
    table.hear(ReceiverId(11))

    assert table.sent() == [(11, 17)]
    table.done(ReceiverId(11))
    assert table.signals[17].due == 0


def test_another_runs_what_was_for_the_first_available(table: Table) -> None:
    both(table, "mule")
    table.hear(ONE)
    table.raise_signal(17)
    table.hear(TWO)
    table.take_dispatches(0.0)

    table.receiver_gone(ONE, returns=True)

    assert table.sent() == [(TWO, 17)]


def test_a_handler_that_ends_its_process_three_times_is_given_up(table: Table) -> None:
    table.register(TWO, wanted())
    dropped = []
    for process in (ONE, ReceiverId(11), ReceiverId(21)):
        table.mule(process, number=1)
        table.register(process, wanted())
        table.hear(process)
        if process == ONE:
            table.raise_signal(17)
        dropped.append(table.receiver_gone(process, returns=True)[1])

    assert dropped == [[], [], [17]]
    assert table.signals[17].dropped == 1
    table.mule(ReceiverId(31), number=1)
    table.register(ReceiverId(31), wanted())
    table.hear(ReceiverId(31))
    assert (31, 17) not in table.sent()


def test_only_deaths_in_a_row_count(table: Table) -> None:
    dropped: list[int] = []
    for number in range(1, 7):
        process = ReceiverId(number * 10 + 1)
        table.mule(process, number=1)
        table.register(process, wanted())
        table.raise_signal(17)
        table.hear(process)
        if number == 3:
            table.done(process)
            table.raise_signal(17)
            table.hear(process)
        dropped += table.receiver_gone(process, returns=True)[1]

    assert dropped == [17]
    assert table.signals[17].handled == 1


def test_a_mule_that_is_not_coming_back_takes_its_registrations_along(
    table: Table,
) -> None:
    both(table, "mules")
    table.raise_signal(17)

    gone_one = table.receiver_gone(ONE, returns=False)
    table.receiver_gone(TWO, returns=True)
    gone_two = table.holder_gone("mule2")

    assert gone_one == ([], [])
    assert gone_two == [17]
    assert table.signals == {}
    assert table.holder_gone("mule2") == []


def test_the_last_holder_that_leaves_is_told(table: Table) -> None:
    table.register(ONE, wanted())

    assert table.receiver_gone(ONE, returns=False) == ([17], [])


def test_what_runs_while_its_signal_is_forgotten_ends_quietly(table: Table) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)
    table.take_dispatches(0.0)

    assert table.receiver_gone(ONE, returns=False) == ([17], [])

    assert table.signals == {}


def test_what_a_successor_does_not_register_again_is_gone(table: Table) -> None:
    for number in (1, 2):
        table.register(ONE, wanted(number, identity=str(number)))
    table.receiver_gone(ONE, returns=True)
    successor = ReceiverId(11)
    table.mule(successor, number=1)
    table.register(successor, wanted(1, identity="1"))

    assert table.settled(successor) == [2]

    assert list(table.signals) == [1]


def test_a_mule_that_drains_finishes_and_gets_nothing_more(table: Table) -> None:
    both(table, "mule")
    table.hear(ONE)
    table.raise_signal(17)
    table.take_dispatches(0.0)

    table.drain(ONE)
    table.hear(ONE)
    table.done(ONE)
    table.raise_signal(17)

    assert table.sent() == []
    table.hear(TWO)
    assert table.sent() == [(TWO, 17)]


def test_in_a_reload_the_new_process_has_the_seat_and_the_old_one_finishes(
    table: Table,
) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)
    new = ReceiverId(11)
    table.mule(new, number=1, epoch=1)
    table.register(new, wanted())
    table.drain(ONE)
    table.hear(new)
    table.raise_signal(17)
    before = table.sent()

    table.done(ONE)
    table.receiver_gone(ONE, returns=True)

    assert before == [(ONE, 17)]
    assert table.sent() == [(new, 17)]
    assert table.settled(new) == []
    assert table.signals[17].holders == {"mule1": new}


# Registrations


def test_the_same_registration_of_many_mules_is_one(table: Table) -> None:
    first = table.register(ONE, wanted(None))
    second = table.register(TWO, wanted(None))

    assert (first, second) == ((0, True), (0, False))
    assert list(table.signals[0].holders) == ["mule1", "mule2"]


def test_a_different_one_of_the_same_number_names_both_places(table: Table) -> None:
    table.register(ONE, wanted(place="app.py:3"))

    with pytest.raises(SignalConflictError, match=r"app\.py:3.* other\.py:9"):
        table.register(TWO, wanted(identity="other", place="other.py:9"))

    assert list(table.signals[17].holders) == ["mule1"]


def test_a_mule_alone_may_change_its_mind(table: Table) -> None:
    table.register(ONE, wanted())
    table.raise_signal(17)

    assert table.register(ONE, wanted(identity="other")) == (17, True)

    assert table.signals[17].due == 0


def test_newer_code_takes_the_number_of_older_code(table: Table) -> None:
    both(table, "mules")
    new = ReceiverId(11)
    table.mule(new, number=1, epoch=1)

    assert table.register(new, wanted(identity="new")) == (17, True)

    assert table.signals[17].holders == {"mule1": new}
    table.hear(ONE, TWO, new)
    table.raise_signal(17)
    assert table.sent() == [(new, 17)]
    with pytest.raises(SignalConflictError):
        table.register(TWO, wanted())


def test_a_run_of_replaced_code_that_dies_is_not_run_again(table: Table) -> None:
    table.register(ONE, wanted())
    table.hear(ONE)
    table.raise_signal(17)
    new = ReceiverId(12)
    table.mule(new, number=2, epoch=1)
    table.register(new, wanted(identity="new"))
    table.hear(new)

    table.receiver_gone(ONE, returns=True)

    assert table.sent() == [(ONE, 17)]


def test_numbers_are_the_lowest_free_and_end(table: Table) -> None:
    table.register(ONE, wanted(0, identity="zero"))
    for number in range(1, SIGNALS):
        assert table.register(ONE, wanted(None, identity=str(number)))[0] == number

    with pytest.raises(NoFreeSignalError, match="256"):
        table.register(ONE, wanted(None, identity="one more"))


def test_a_forgotten_number_is_free_again(table: Table) -> None:
    table.register(ONE, wanted(0, identity="a"))
    table.register(ONE, wanted(1, identity="a"))
    table.receiver_gone(ONE, returns=False)

    assert table.free_number() == 0
    assert table.register(TWO, wanted(None, identity="a")) == (0, True)


def test_a_return_of_a_holder_that_left_is_dropped(table: Table) -> None:
    both(table, "mules")
    table.hear(ONE)
    table.raise_signal(17)
    successor = ReceiverId(11)
    table.mule(successor, number=1, epoch=1)
    table.settled(successor)

    table.handled(ONE, 17, Outcome.RETURNED)

    assert table.signals[17].dropped == 1
    assert list(table.signals[17].holders) == ["mule2"]


# Ticks


def test_a_tick_is_skipped_while_the_one_before_is_due_or_runs(table: Table) -> None:
    table.register(ONE, wanted())
    table.tick(17)
    table.tick(17)
    table.hear(ONE)
    table.tick(17)
    table.done(ONE)
    table.hear(ONE)
    table.tick(17)

    assert table.sent() == [(ONE, 17), (ONE, 17)]
    assert table.signals[17].skipped == 2


def test_ticks_queue_where_they_are_asked_to_and_not_without_end(table: Table) -> None:
    table.register(ONE, wanted(overlap=Overlap.QUEUE))
    for _ in range(1100):
        table.tick(17)

    runs = 0
    table.hear(ONE)
    while table.sent():
        table.hear(ONE)
        runs += 1
        table.done(ONE)

    assert runs == 1000
    assert table.signals[17].skipped == 100


def test_ticks_overlap_where_they_are_allowed_to(table: Table) -> None:
    both(table, "mule", Overlap.ALLOW)
    table.hear(ONE, TWO)

    table.tick(17)
    table.tick(17)
    table.hear(ONE)
    table.tick(17)

    assert table.sent() == [(ONE, 17), (TWO, 17), (ONE, 17)]
    table.done(ONE)
    assert table.signals[17].running == 2
    assert table.receiver_gone(ONE, returns=True) == ([], [])
    assert table.signals[17].due == 1


# Changed files


def test_a_run_gets_the_files_that_changed_since_the_last(table: Table) -> None:
    table.register(ONE, wanted())
    table.raise_signal(17, ["a", "b"])
    table.raise_signal(17, ["b", "c"])
    table.hear(ONE)
    table.raise_signal(17, ["d"])
    table.done(ONE)
    table.hear(ONE)

    assert table.take_dispatches(0.0) == [
        Dispatch(ONE, 17, ("a", "b", "c"), is_complete=True),
        Dispatch(ONE, 17, ("d",), is_complete=True),
    ]


def test_too_many_files_are_told_in_part_and_as_a_part(table: Table) -> None:
    table.register(ONE, wanted())
    names = [f"{number:0100}" for number in range(20_000)]
    table.raise_signal(17, names[:10])
    table.raise_signal(17, names)
    table.hear(ONE)

    (dispatch,) = table.take_dispatches(0.0)

    assert not dispatch.is_complete
    assert 10_000 < len(dispatch.paths) < 20_000


def test_what_the_monitor_could_not_tell_is_not_complete(table: Table) -> None:
    table.register(ONE, wanted())
    table.raise_signal(17, ["a"], is_complete=False)
    table.hear(ONE)

    (dispatch,) = table.take_dispatches(0.0)

    assert not dispatch.is_complete


# What is left behind


def test_a_seat_of_one_mule_goes_with_it_while_others_have_the_handler(
    table: Table,
) -> None:
    both(table, "mule2")
    table.raise_signal(17)

    assert table.receiver_gone(TWO, returns=False) == ([], [])
    table.receiver_gone(ONE, returns=True)
    table.holder_gone("mule1")

    assert table.signals == {}


def test_a_process_passes_over_what_newer_code_has_taken_away(table: Table) -> None:
    table.register(ONE, wanted(1, identity="one"))
    table.register(ONE, wanted(2, identity="two"))
    new = ReceiverId(11)
    table.mule(new, number=1, epoch=1)
    table.register(new, wanted(3, identity="three"))
    assert table.settled(new) == [1, 2]

    table.hear(ONE)

    assert table.sent() == []


def test_a_mule_without_a_seat_leaves_without_a_trace(table: Table) -> None:
    both(table, "worker")

    assert table.receiver_gone(ONE, returns=False) == ([], [])

    assert list(table.signals[17].holders) == ["mule2"]


def test_a_mule_that_registers_what_is_for_another_leaves_no_seat(
    table: Table,
) -> None:
    both(table, "mule2")

    assert table.receiver_gone(ONE, returns=False) == ([], [])

    table.hear(TWO)
    table.raise_signal(17)
    assert table.sent() == [(TWO, 17)]
