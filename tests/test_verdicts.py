import pytest

from pymule.verdicts import Reject, Retry, check_delay, verdict_behind, verdict_in


def raised_from(cause: BaseException) -> BaseException:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


def test_a_retry_says_when_or_why() -> None:
    assert str(Retry()) == "try again"
    assert str(Retry(2.5)) == "try again in 2.5 seconds"
    assert str(Retry(2.5, "the shop is closed")) == "the shop is closed"
    assert (Retry(2.5, "x").delay, Retry(2.5, "x").reason) == (2.5, "x")
    assert Retry().delay is None


def test_a_reject_says_why() -> None:
    error = Reject("no such customer")

    assert str(error) == error.reason == "no such customer"


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_a_delay_that_cannot_be_waited_for_is_refused(delay: float) -> None:
    for use in (check_delay, Retry):
        with pytest.raises(ValueError, match=f"delay {delay} seconds; allowed: from 0"):
            use(delay)


def test_a_verdict_is_found_alone_and_in_a_group_of_verdicts() -> None:
    retry, reject = Retry(1), Reject("no")

    assert verdict_in(retry) is retry
    assert verdict_in(reject) is reject
    assert verdict_in(ExceptionGroup("one task", [retry])) is retry
    inner = ExceptionGroup("inner", [Retry(2), reject])
    assert verdict_in(ExceptionGroup("tasks", [retry, inner])) is reject
    assert verdict_in(ExceptionGroup("tasks", [retry, Retry(2)])) is retry


def test_a_verdict_beside_an_error_is_none() -> None:
    assert verdict_in(None) is None
    assert verdict_in(ValueError("x")) is None
    assert verdict_in(ExceptionGroup("tasks", [Retry(1), ValueError("x")])) is None


def test_a_verdict_is_found_behind_what_was_raised_from_it() -> None:
    retry = Retry(1)
    group = ExceptionGroup("tasks", [retry])

    assert verdict_behind(retry) is retry
    assert verdict_behind(raised_from(raised_from(group))) is retry
    assert verdict_in(raised_from(retry)) is None
    assert verdict_behind(raised_from(ValueError("x"))) is None
    assert verdict_behind(None) is None


def test_an_error_that_is_its_own_cause_is_no_verdict() -> None:
    first, second = ValueError("x"), ValueError("y")
    first.__cause__, second.__cause__ = second, first

    assert verdict_behind(first) is None
    second.__cause__ = second
    assert verdict_behind(first) is None
