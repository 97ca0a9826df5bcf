"""Locks: one holder, a line, tokens that grow, and nothing left behind."""

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.errors import BadCallError, NotHolderError
from pymule.sansio.locks import (
    MAX_LOCKS,
    Grant,
    LockTable,
    PeerId,
)

ANN, BOB, CID = PeerId(1), PeerId(2), PeerId(3)
FIRST = 1000


@pytest.fixture
def table() -> LockTable:
    return LockTable(FIRST)


def test_a_free_lock_is_granted_at_once(table: LockTable) -> None:
    assert table.acquire("a", ANN, 1, None, 5.0) == Grant("a", FIRST, ANN, 1, None)
    assert table.is_locked("a")
    assert not table.is_locked("b")


def test_the_line_is_first_come_first_served(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    waiting = [table.acquire("a", peer, 7, 2.0, 0.0) for peer in (BOB, CID)]

    first = table.release("a", ANN, FIRST, 10.0)
    second = table.release("a", BOB, FIRST + 1, 20.0)

    assert waiting == [None, None]
    assert first == Grant("a", FIRST + 1, BOB, 7, 12.0)
    assert second == Grant("a", FIRST + 2, CID, 7, 22.0)
    assert table.release("a", CID, FIRST + 2, 30.0) is None
    assert not table.is_locked("a")


def test_each_acquire_is_a_holder_of_its_own(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)

    assert table.acquire("a", ANN, 2, None, 0.0) is None

    heir = table.release("a", ANN, FIRST, 0.0)
    assert heir is not None
    assert (heir.peer, heir.call) == (ANN, 2)


def test_who_does_not_wait_stands_in_no_line(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)

    assert table.acquire("a", BOB, 1, None, 0.0, wait=False) is None

    assert table.release("a", ANN, FIRST, 0.0) is None


@pytest.mark.parametrize(
    ("name", "peer", "token"),
    [("a", BOB, FIRST), ("b", ANN, FIRST), ("a", ANN, FIRST + 1), ("c", CID, 0)],
)
def test_only_its_holder_releases_a_lock(
    table: LockTable, name: str, peer: PeerId, token: int
) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("b", BOB, 1, None, 0.0)

    with pytest.raises(NotHolderError, match=f"'{name}'"):
        table.release(name, peer, token, 0.0)

    assert table.is_locked("a")


def test_one_connection_has_only_so_many_locks(table: LockTable) -> None:
    table.acquire("0", BOB, 0, None, 0.0)
    for number in range(MAX_LOCKS):
        table.acquire(str(number // 2), ANN, number, None, 0.0)

    with pytest.raises(BadCallError, match="10000 locks are held and waited for"):
        table.acquire("free", ANN, MAX_LOCKS, None, 0.0)

    assert table.acquire("free", BOB, 1, None, 0.0) is not None


def test_a_call_waits_once(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("a", BOB, 1, None, 0.0)

    with pytest.raises(BadCallError, match="call 1 is waiting"):
        table.acquire("b", BOB, 1, None, 0.0)


def test_who_withdraws_is_passed_over(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("a", BOB, 1, None, 0.0)
    table.acquire("a", CID, 1, None, 0.0)

    assert table.withdraw(BOB, 1, 0.0) is None

    heir = table.release("a", ANN, FIRST, 0.0)
    assert heir is not None
    assert heir.peer == CID


def test_a_withdrawal_that_crosses_the_grant_releases(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("a", BOB, 1, None, 0.0)

    heir = table.withdraw(ANN, 1, 0.0)

    assert heir is not None
    assert heir.peer == BOB
    assert table.withdraw(ANN, 1, 0.0) is None


def test_the_number_of_an_answered_call_may_be_used_again(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("b", ANN, 1, None, 0.0)

    table.release("a", ANN, FIRST, 0.0)
    table.withdraw(ANN, 1, 0.0)

    assert list(table.held()) == []


def test_locks_of_calls_with_one_number_end_one_by_one(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("b", ANN, 1, None, 0.0)

    table.release("b", ANN, FIRST + 1, 0.0)
    table.release("a", ANN, FIRST, 0.0)

    assert not table.is_locked("a")
    assert not table.is_locked("b")


def test_none_of_those_that_end_together_is_an_heir(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 0.0)
    table.acquire("b", BOB, 1, None, 0.0)
    table.acquire("a", BOB, 2, None, 0.0)
    table.acquire("a", CID, 3, None, 0.0)

    heirs = table.peers_gone([ANN, BOB, PeerId(99)], 0.0)

    assert heirs == [Grant("a", FIRST + 2, CID, 3, None)]
    assert not table.is_locked("b")


def test_a_lock_is_taken_away_when_its_time_is_over(table: LockTable) -> None:
    table.acquire("a", ANN, 1, 10.0, 100.0)
    table.acquire("a", BOB, 1, None, 100.0)

    early = table.expired(FIRST, 109.9)
    heir = table.expired(FIRST, 110.0)

    assert early is None
    assert heir == Grant("a", FIRST + 1, BOB, 1, None)
    assert table.expired(FIRST, 200.0) is None, "it is gone"
    assert table.expired(FIRST + 1, 200.0) is None, "it has no end"
    with pytest.raises(NotHolderError):
        table.release("a", ANN, FIRST, 200.0)


def test_the_shell_is_told_which_deadlines_are_over(table: LockTable) -> None:
    table.acquire("a", ANN, 1, 10.0, 0.0)
    table.acquire("b", ANN, 2, None, 0.0)
    table.acquire("c", BOB, 1, 10.0, 0.0)

    table.peers_gone([ANN], 1.0)

    assert table.take_ended() == [FIRST]
    assert table.take_ended() == []


def test_the_status_says_who_holds_and_how_many_wait(table: LockTable) -> None:
    table.acquire("a", ANN, 1, None, 3.0)
    table.acquire("a", BOB, 1, None, 4.0)

    (held,) = table.held()

    assert (held.name, held.token, held.peer) == ("a", FIRST, ANN)
    assert (held.since, held.waiting) == (3.0, 1)


NAMES = st.sampled_from(["a", "b", "c"])
PEERS = st.sampled_from([ANN, BOB, CID])

Asked = tuple[PeerId, int]


class LocksAgainstModel(RuleBasedStateMachine):
    """The table against lines in lists, searched from end to end."""

    @initialize()
    def start(self) -> None:
        self.table = LockTable(FIRST)
        # The holder is the first of each line.
        self.lines: dict[str, deque[tuple[Asked, float | None]]] = {
            name: deque() for name in "abc"
        }
        self.grants: dict[str, Grant] = {}
        self.last_token = FIRST - 1
        self.last_call = 0
        self.used_again: set[int] = set()
        self.now = 0.0

    def granted(self, grant: Grant) -> None:
        """*grant* is right, and newer than all before."""
        (asked, ttl), *_ = self.lines[grant.name]
        assert (grant.peer, grant.call) == asked
        assert grant.expires_at == (None if ttl is None else self.now + ttl)
        assert grant.token > self.last_token
        self.last_token = grant.token
        self.grants[grant.name] = grant

    def answered_call(self, peer: PeerId) -> int | None:
        """Return a call of *peer* that has its answer: its number is free again."""
        waiting = {asked for line in self.lines.values() for asked, _ in list(line)[1:]}
        for grant in self.grants.values():
            if grant.peer == peer and (peer, grant.call) not in waiting:
                # Which of the two a withdrawal means is no matter of the model.
                self.used_again.add(grant.call)
                return grant.call
        return None

    def dropped(self, name: str, heir: Grant | None) -> None:
        """The holder of *name* is gone from the model."""
        del self.grants[name]
        assert (heir is not None) == bool(self.lines[name])
        if heir is not None:
            assert heir.name == name
            self.granted(heir)

    @rule(
        name=NAMES,
        peer=PEERS,
        ttl=st.sampled_from([None, 1.0, 3.0]),
        wait=st.booleans(),
        again=st.booleans(),
    )
    def acquire(
        self,
        name: str,
        peer: PeerId,
        ttl: float | None,
        wait: bool,  # noqa: FBT001  (hypothesis passes names)
        again: bool,  # noqa: FBT001  (hypothesis passes names)
    ) -> None:
        line = self.lines[name]
        call = self.answered_call(peer) if again else None
        if call is None:
            self.last_call += 1
            call = self.last_call
        grant = self.table.acquire(name, peer, call, ttl, self.now, wait=wait)
        assert (grant is not None) == (not line)
        if grant is not None or wait:
            line.append(((peer, call), ttl))
        if grant is not None:
            self.granted(grant)

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        if (grant := self.grants.get(name)) is not None:
            self.lines[name].popleft()
            heir = self.table.release(name, grant.peer, grant.token, self.now)
            self.dropped(name, heir)

    @precondition(lambda self: self.grants)
    @rule(name=NAMES, peer=PEERS, off=st.sampled_from([-1, 1]))
    def release_of_another(self, name: str, peer: PeerId, off: int) -> None:
        grant = next(iter(self.grants.values()))
        if name != grant.name or peer != grant.peer:
            with pytest.raises(NotHolderError):
                self.table.release(name, peer, grant.token, self.now)
        with pytest.raises(NotHolderError):
            self.table.release(grant.name, grant.peer, grant.token + off * 10**9, 0.0)

    @precondition(lambda self: self.last_call)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        call = data.draw(st.integers(1, self.last_call))
        if call in self.used_again:
            return
        for name, line in self.lines.items():
            for place, entry in enumerate(line):
                if entry[0][1] == call:
                    line.remove(entry)
                    heir = self.table.withdraw(entry[0][0], call, self.now)
                    if place == 0:
                        self.dropped(name, heir)
                    else:
                        assert heir is None
                    return
        assert self.table.withdraw(ANN, call, self.now) is None

    @rule(peers=st.sets(PEERS))
    def peers_gone(self, peers: set[PeerId]) -> None:
        heirs = self.table.peers_gone(sorted(peers), self.now)
        by_name = {heir.name: heir for heir in heirs}
        assert len(by_name) == len(heirs)
        lost = {n for n, grant in self.grants.items() if grant.peer in peers}
        for name, line in self.lines.items():
            self.lines[name] = deque(e for e in line if e[0][0] not in peers)
        for heir in heirs:
            assert heir.name in lost
        for name in sorted(lost, key=lambda n: by_name[n].token if n in by_name else 0):
            self.dropped(name, by_name.get(name))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=NAMES)
    def expired(self, name: str) -> None:
        if (grant := self.grants.get(name)) is None:
            return
        is_over = grant.expires_at is not None and grant.expires_at <= self.now
        if is_over:
            self.lines[name].popleft()
        heir = self.table.expired(grant.token, self.now)
        if is_over:
            self.dropped(name, heir)
        else:
            assert heir is None

    @invariant()
    def the_table_shows_what_the_model_has(self) -> None:
        held = {lock.name: lock for lock in self.table.held()}
        assert set(held) == set(self.grants)
        for name, line in self.lines.items():
            assert self.table.is_locked(name) == bool(line)
            if line:
                assert held[name].token == self.grants[name].token
                assert held[name].waiting == len(line) - 1

    @invariant()
    def nothing_is_kept_of_who_has_left(self) -> None:
        here = {asked[0] for line in self.lines.values() for asked, _ in line}
        assert set(self.table._peers) == here
        assert len(self.table._tokens) == len(self.grants)


TestLocksAgainstModel = LocksAgainstModel.TestCase
