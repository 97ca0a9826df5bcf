from pymule.sansio.alarms import AlarmKind, Alarms
from pymule.sansio.expiry import Expiry
from tests.sansio.routing import run_of


def test_a_run_without_an_end_is_not_watched() -> None:
    alarms = Alarms()
    expiry = Expiry(alarms)

    expiry.watch(run_of())
    expiry.leave(run_of())

    assert (len(expiry), alarms.take()) == (0, {})


def test_a_run_with_an_end_has_an_alarm_while_it_waits() -> None:
    alarms = Alarms()
    expiry, run = Expiry(alarms), run_of(ttl=5.0)

    expiry.watch(run)
    assert alarms.take() == {(AlarmKind.EXPIRY, 1): 5.0}
    expiry.leave(run)
    assert alarms.take() == {(AlarmKind.EXPIRY, 1): None}
    expiry.leave(run)
    assert alarms.take() == {}

    assert expiry.take(1) is None


def test_the_run_whose_time_is_over_is_given_once() -> None:
    expiry, run = Expiry(Alarms()), run_of(ttl=5.0)
    expiry.watch(run)

    assert expiry.take(1) is run
    assert expiry.take(1) is None
