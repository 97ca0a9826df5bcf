"""The table of signals against a naive model: who has to run what once more.

Three mules, mules 1 and 2 in the farm, have the same three handlers: one for all
mules, one for the first available, one for the farm.
"""

from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.sansio.signals import Outcome, ReceiverId, SignalTable, Wanted
from pymule.sansio.target import Target

TARGETS: Final = ("mules", "mule", "farm:busy")
"""By number of the signal."""

MULES: Final = (1, 2, 3)
SEAT = tuple[int, int]
"""Signal, and the mule of which it is the seat; 0 where one seat is for all."""


class SignalsAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = SignalTable()
        self.process: dict[int, ReceiverId] = {}
        self.last_process = 0
        # Seats that must run after something that happened.
        self.owed: set[SEAT] = set()
        self.running: dict[SEAT, ReceiverId] = {}
        self.deaths: dict[SEAT, int] = {}
        self.raised = 0
        self.runs = 0

    def _seat(self, number: int, mule: int) -> SEAT:
        return number, mule if TARGETS[number] == "mules" else 0

    def _mule(self, receiver: ReceiverId) -> int:
        return next(mule for mule, one in self.process.items() if one == receiver)

    def _start(self, mule: int) -> None:
        self.last_process += 1
        receiver = self.process[mule] = ReceiverId(self.last_process)
        farms = ["busy"] if mule < MULES[-1] else []
        self.table.add_receiver(receiver, f"mule{mule}", farms, 0)
        for number, target in enumerate(TARGETS):
            wanted = Wanted(number, Target.for_signal(target), target, "h", "p")
            assert self.table.register(receiver, wanted)[0] == number
        self.table.arrived(receiver)
        assert self.table.settled(receiver) == []

    def _collect(self) -> None:
        for out in self.table.take_dispatches(0.0):
            seat = self._seat(out.number, self._mule(out.receiver))
            assert seat not in self.running, "one at a time"
            assert seat in self.owed, "only what was raised"
            assert out.number != 2 or self._mule(out.receiver) != MULES[-1], "its farm"
            self.owed.discard(seat)
            self.running[seat] = out.receiver
            self.runs += 1

    @initialize()
    def start(self) -> None:
        for mule in MULES:
            self._start(mule)

    @rule(number=st.integers(0, 2))
    def raise_it(self, number: int) -> None:
        self.table.raise_signal(number)
        self.raised += 1
        self.owed |= {self._seat(number, mule) for mule in MULES}
        self._collect()

    @rule(number=st.integers(0, 2))
    def tick(self, number: int) -> None:
        self.table.tick(number)
        for seat in {self._seat(number, mule) for mule in MULES}:
            if seat not in self.running:
                self.owed.add(seat)
        self._collect()

    @rule(mule=st.sampled_from(MULES), is_listening=st.booleans())
    def listen(self, mule: int, *, is_listening: bool) -> None:
        if mule in self.process:
            self.table.listen(self.process[mule], is_listening=is_listening)
            self._collect()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        seat = data.draw(st.sampled_from(sorted(self.running)))
        receiver = self.running.pop(seat)
        if outcome is Outcome.RETURNED:
            self.owed.add(seat)
        else:
            self.deaths[seat] = 0
        self.table.handled(receiver, seat[0], outcome)
        self._collect()

    @rule(mule=st.sampled_from(MULES))
    def die(self, mule: int) -> None:
        receiver = self.process.get(mule)
        if receiver is None:
            return
        given_up = []
        for seat in [s for s, one in self.running.items() if one == receiver]:
            del self.running[seat]
            self.deaths[seat] = self.deaths.get(seat, 0) + 1
            if self.deaths[seat] == 3:
                self.deaths[seat] = 0
                given_up.append(seat[0])
            else:
                self.owed.add(seat)
        forgotten, dropped = self.table.receiver_gone(receiver, returns=True)
        assert forgotten == []
        assert sorted(dropped) == sorted(given_up)
        del self.process[mule]
        self._collect()

    @rule(mule=st.sampled_from(MULES))
    def come_back(self, mule: int) -> None:
        if mule not in self.process:
            self._start(mule)
            self._collect()

    @invariant()
    def the_table_knows_what_is_owed_and_what_runs(self) -> None:
        for signal in self.table.signals.values():
            number = signal.number
            assert signal.due == sum(seat[0] == number for seat in self.owed)
            assert signal.running == sum(seat[0] == number for seat in self.running)

    def teardown(self) -> None:
        """Whatever happened, each target runs what was raised last."""
        for mule in MULES:
            self.come_back(mule)
        while self.owed or self.running:
            before = self.runs
            for mule in MULES:
                self.listen(mule, is_listening=True)
            for seat, receiver in list(self.running.items()):
                del self.running[seat]
                self.table.handled(receiver, seat[0], Outcome.DONE)
                self._collect()
            assert self.runs > before or not self.owed, "somebody runs what is owed"


TestSignalsAgainstModel = SignalsAgainstModel.TestCase
TestSignalsAgainstModel.settings = settings(max_examples=100)
