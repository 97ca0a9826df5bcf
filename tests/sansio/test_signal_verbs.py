import pytest

from pymule.errors import RemoteProtocolError
from pymule.sansio.signal_verbs import Handled, Listen, Signal
from pymule.sansio.verbs import VERBS, Verb
from tests.sansio.test_verbs import body_of


def test_a_signal_without_paths_carries_none() -> None:
    assert body_of(Signal(17)) == b"\x11\x01{}"
    assert Signal.unpack(b"\x11\x01{}") == Signal(17)


@pytest.mark.parametrize(
    "verb",
    [
        Handled(17, 3),
        Listen(is_listening=2),  # type: ignore[arg-type]  # what a peer may send
        Signal(17, is_complete=2),  # type: ignore[arg-type]  # as above
        Signal(17, paths=(1,)),  # type: ignore[arg-type]  # as above
    ],
    ids=repr,
)
def test_what_a_verb_of_signals_does_not_know_is_refused(verb: Verb) -> None:
    with pytest.raises(RemoteProtocolError, match="allowed"):
        VERBS[verb.opcode](body_of(verb))
