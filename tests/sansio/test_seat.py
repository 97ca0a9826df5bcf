import pytest

from pymule.sansio.seat import ReceiverId, Seat, Signal
from pymule.sansio.signal_words import Overlap
from pymule.sansio.target import Target


def a_signal(target: str = "mules", overlap: Overlap = Overlap.SKIP) -> Signal:
    return Signal(17, Target.for_signal(target), "i", "handler", "p:1", overlap, 0)


@pytest.mark.parametrize(
    ("due", "running", "overlap", "can_run"),
    [
        (0, 0, Overlap.SKIP, False),
        (1, 0, Overlap.SKIP, True),
        (1, 1, Overlap.SKIP, False),
        (2, 1, Overlap.QUEUE, False),
        (2, 1, Overlap.ALLOW, True),
        (0, 1, Overlap.ALLOW, False),
    ],
)
def test_a_seat_runs_what_is_due_and_one_at_a_time_unless_it_may_overlap(
    *, due: int, running: int, overlap: Overlap, can_run: bool
) -> None:
    seat = Seat(a_signal(overlap=overlap), "mule1", due=due)
    seat.running = [ReceiverId(1)] * running

    assert seat.can_run is can_run


def test_a_seat_keeps_each_changed_path_once_until_it_is_taken() -> None:
    seat = Seat(a_signal(), "mule1")
    seat.add_paths(["a", "b"], is_complete=True)
    seat.add_paths(["b", "c"], is_complete=False)

    assert seat.take_paths() == (("a", "b", "c"), False)
    assert seat.take_paths() == ((), True)


def test_a_seat_keeps_no_more_paths_than_fit_in_a_frame() -> None:
    seat = Seat(a_signal(), "mule1")
    seat.add_paths((f"{number:01000}" for number in range(2000)), is_complete=True)

    paths, is_complete = seat.take_paths()

    assert not is_complete
    assert sum(map(len, paths)) <= 1024 * 1024


@pytest.mark.parametrize(
    ("target", "is_for_all"), [("mules", True), ("workers", True), ("mule", False)]
)
def test_a_signal_for_all_has_a_seat_for_each(*, target: str, is_for_all: bool) -> None:
    assert a_signal(target).is_for_all is is_for_all


def test_a_signal_counts_over_its_seats() -> None:
    signal = a_signal()
    for name, due in (("mule1", 2), ("mule2", 1)):
        signal.seats[name] = Seat(signal, name, due=due)
        signal.seats[name].running.append(ReceiverId(due))

    assert (signal.due, signal.running) == (3, 2)
