from pymule.sansio.alarms import AlarmKind, Alarms


def test_only_what_changed_since_the_last_time_is_told() -> None:
    alarms = Alarms()
    alarms.arm(AlarmKind.DUE, 7, 1.5)

    assert alarms.take() == {(AlarmKind.DUE, 7): 1.5}
    assert alarms.take() == {}


def test_of_one_alarm_the_last_word_counts() -> None:
    alarms = Alarms()
    alarms.arm(AlarmKind.DUE, 7, 1.5)
    alarms.arm(AlarmKind.DUE, 7, 2.5)
    alarms.arm(AlarmKind.EXPIRY, 7, 3.5)
    alarms.disarm(AlarmKind.EXPIRY, 7)

    assert alarms.take() == {(AlarmKind.DUE, 7): 2.5, (AlarmKind.EXPIRY, 7): None}
