from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Final, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.sansio.supervision import (
    DO_NOT_RESTART,
    SIGKILL,
    SIGTERM,
    TRANSITIONS,
    ArmDeadline,
    DisarmDeadline,
    Drain,
    DumpStacks,
    Effect,
    Exit,
    GiveUp,
    Kill,
    LifeEvent,
    LifeTimeouts,
    MuleLife,
    MuleState,
    RestartBudget,
    RestartPolicy,
    Spawn,
    SpawnAt,
)

Effects = tuple[Effect, ...]

POLICY: Final = RestartPolicy()
TIMEOUTS: Final = LifeTimeouts(
    start_timeout_s=60.0, stop_timeout_s=10.0, kill_after_s=5.0, dump_s=0.25
)
RETURNED: Final = Exit(status=0)
FAILED: Final = Exit(status=1)
KILLED: Final = Exit(signum=9)
LONGEST: Final = 1 - 2**-53
"""The greatest jitter there is."""


def backoff_of(effects: Effects, now: float) -> float:
    (effect,) = effects
    assert isinstance(effect, SpawnAt)
    return effect.when - now


def a_life() -> MuleLife:
    return MuleLife(POLICY, TIMEOUTS)


def starting() -> MuleLife:
    life = a_life()
    life.start(100.0)
    return life


def up() -> MuleLife:
    life = starting()
    life.ready(101.0)
    return life


def draining() -> MuleLife:
    life = up()
    life.stop(102.0)
    return life


def stopping() -> MuleLife:
    life = draining()
    life.drained(103.0)
    return life


def dumping() -> MuleLife:
    life = up()
    life.hung(102.0)
    return life


def killing() -> MuleLife:
    life = dumping()
    life.deadline_passed(102.25)
    return life


def killing_for_good() -> MuleLife:
    life = up()
    life.kill_now(102.0)
    return life


def backing_off() -> MuleLife:
    life = up()
    life.exited(102.0, FAILED, 0.0)
    return life


def die_again(life: MuleLife, now: float, how: Exit = FAILED) -> Effects:
    """Bring a mule that is in backoff up at *now*; let it die at once."""
    life.deadline_passed(now)
    life.ready(now)
    return life.exited(now, how, LONGEST)


STATES: Final[dict[str, Callable[[], MuleLife]]] = {
    "DOWN": a_life,
    "STARTING": starting,
    "UP": up,
    "DRAINING": draining,
    "STOPPING": stopping,
    "KILLING": killing,
    "for_good": killing_for_good,
    "BACKOFF": backing_off,
}

EVENTS: Final[dict[str, Callable[[MuleLife], Effects]]] = {
    "start": lambda life: life.start(500.0),
    "ready": lambda life: life.ready(500.0),
    "spawn_failed": lambda life: life.spawn_failed(500.0, 0.5),
    "exited": lambda life: life.exited(500.0, FAILED, 0.5),
    "exited_125": lambda life: life.exited(500.0, Exit(status=125), 0.5),
    "stop": lambda life: life.stop(500.0),
    "drained": lambda life: life.drained(500.0),
    "hung": lambda life: life.hung(500.0),
    "kill_now": lambda life: life.kill_now(500.0),
    "deadline": lambda life: life.deadline_passed(500.0),
    "early": lambda life: life.deadline_passed(100.5),
}

# Written out by hand: what each event does in each state. "." is refused, "-" is
# ignored; an asterisk is for orders although the state stays.
GRID: Final = """
              DOWN      STARTING  UP        DRAINING  STOPPING  KILLING   for_good  BACKOFF
start         STARTING  .         .         .         .         .         .         .
ready         .         UP        -         -         -         -         -         .
spawn_failed  .         BACKOFF   .         DOWN      DOWN      BACKOFF   DOWN      .
exited        .         BACKOFF   BACKOFF   DOWN      DOWN      BACKOFF   DOWN      .
exited_125    .         DOWN      DOWN      DOWN      DOWN      DOWN      DOWN      .
stop          -         STOPPING  DRAINING  -         -         -         -         DOWN
drained       .         .         .         STOPPING  -         -         -         .
hung          .         .         KILLING   KILLING   -         -         -         .
kill_now      -         KILLING   KILLING   KILLING   KILLING   KILLING*  KILLING*  DOWN
deadline      -         KILLING   -         STOPPING  KILLING   KILLING*  KILLING*  STARTING
early         -         -         -         -         -         -         -         -
"""  # noqa: E501  (a table wraps badly)


def cells() -> list[tuple[str, str, str]]:
    (*states,), *rows = map(str.split, GRID.strip().splitlines())
    return [
        (state, event, cell)
        for event, *row in rows
        for state, cell in zip(states, row, strict=True)
    ]


def everything_in(life: MuleLife) -> dict[str, object]:
    return {**vars(life), "_budget": list(life._budget._deaths)}


@pytest.mark.parametrize(("state", "event", "cell"), cells())
def test_each_event_does_in_each_state_what_the_table_says(
    state: str, event: str, cell: str
) -> None:
    life = STATES[state]()
    before = everything_in(life)

    if cell == ".":
        with pytest.raises(AssertionError, match="cannot happen to a mule that is"):
            EVENTS[event](life)
        assert everything_in(life) == before
    elif cell == "-":
        assert EVENTS[event](life) == ()
        assert life.state is before["_state"]
    else:
        assert EVENTS[event](life) != ()
        assert life.state is MuleState[cell.rstrip("*")]


def test_the_grid_names_every_state_and_event() -> None:
    drawn = {(state, event) for state, event, _ in cells()}

    assert drawn == {(state, event) for state in STATES for event in EVENTS}
    assert {STATES[name]().state for name in STATES} == set(MuleState)


def test_every_event_occurs_in_the_transitions() -> None:
    assert {event for _, event in TRANSITIONS} == set(LifeEvent)


def test_effects_are_frozen_values() -> None:
    for effect in get_args(Effect):
        assert is_dataclass(effect)
        assert len(fields(effect)) <= 1
        assert effect.__hash__ is not None


# Starting


def test_a_start_orders_a_spawn_under_a_deadline() -> None:
    life = a_life()

    assert life.start(100.0) == (ArmDeadline(160.0), Spawn())


def test_a_ready_mule_has_no_deadline() -> None:
    life = starting()

    assert life.ready(101.0) == (DisarmDeadline(),)


def test_a_mule_that_is_not_ready_in_time_is_killed_and_tried_again() -> None:
    life = starting()

    assert life.deadline_passed(160.0) == (ArmDeadline(165.0), Kill(SIGKILL))
    assert life.kill_reason == "start timeout"
    assert life.exited(160.1, KILLED, 0.0) == (SpawnAt(160.1 + 0.25),)
    assert life.deadline_passed(160.4) == (ArmDeadline(160.4 + 60.0), Spawn())
    assert life.kill_reason == ""
    assert life.restarts == 1


def test_a_spawn_that_failed_is_tried_again_with_backoff() -> None:
    life = starting()

    assert life.spawn_failed(100.0, 0.0) == (SpawnAt(100.25),)
    assert life.deaths == life.failures == 1


def test_a_return_before_being_ready_is_a_death() -> None:
    life = starting()

    life.exited(101.0, RETURNED, 0.0)

    assert life.deaths == 1


# Ending and coming back


def test_backoff_doubles_to_its_cap() -> None:
    life = MuleLife(RestartPolicy(max_deaths=100), TIMEOUTS)
    life.start(0.0)
    life.ready(0.0)

    delays = [backoff_of(life.exited(0.0, FAILED, 0.0), 0.0) * 2]
    for number in range(1, 9):
        now = number * 100.0
        delays.append(backoff_of(die_again(life, now), now))

    assert delays == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0])
    assert life.failures == life.deaths == 9
    assert life.restarts == 8


@given(jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_moves_a_restart_inside_the_upper_half_of_the_backoff(
    jitter: float,
) -> None:
    life = up()

    delay = backoff_of(life.exited(1024.0, FAILED, jitter), 1024.0)

    assert 0.25 <= delay <= 0.5


def test_backoff_begins_anew_after_health() -> None:
    life = up()
    life.exited(102.0, FAILED, 0.0)
    for number in range(3):
        die_again(life, 110.0 + number * 10)
    life.deadline_passed(200.0)
    life.ready(200.0)

    effects = life.exited(230.0, FAILED, 0.0)

    assert effects == (SpawnAt(230.25),)
    assert life.failures == 1
    assert life.deaths == 5


def test_a_little_less_than_health_is_not_health() -> None:
    life = up()
    life.exited(102.0, FAILED, 0.0)
    life.deadline_passed(200.0)
    life.ready(200.0)

    assert life.exited(229.0, FAILED, 0.0) == (SpawnAt(229.5),)
    assert life.failures == 2


def test_the_first_backoff_is_within_the_cap() -> None:
    life = MuleLife(RestartPolicy(backoff_s=10.0, backoff_max_s=4.0), TIMEOUTS)
    life.start(0.0)
    life.ready(0.0)

    assert life.exited(1.0, FAILED, 0.0) == (SpawnAt(3.0),)


def test_a_program_that_returns_is_restarted_at_once_the_first_time() -> None:
    life = up()

    assert life.exited(102.0, RETURNED, 0.5) == (SpawnAt(102.0),)
    assert life.deadline_passed(102.0) == (ArmDeadline(162.0), Spawn())
    assert life.deaths == life.failures == 0
    assert life.restarts == 1


def test_a_second_return_without_health_between_is_a_death() -> None:
    life = up()
    life.exited(102.0, RETURNED, 0.0)

    assert backoff_of(die_again(life, 110.0, RETURNED), 110.0) == pytest.approx(0.5)
    assert life.deaths == 1


def test_a_return_after_health_is_free_again() -> None:
    life = up()
    life.exited(102.0, RETURNED, 0.0)
    die_again(life, 110.0, RETURNED)
    life.deadline_passed(120.0)
    life.ready(120.0)

    assert life.exited(150.0, RETURNED, 0.0) == (SpawnAt(150.0),)
    assert life.deaths == 1


def test_status_125_keeps_a_mule_down() -> None:
    life = starting()

    effects = life.exited(102.0, Exit(status=DO_NOT_RESTART), 0.0)

    assert effects == (
        DisarmDeadline(),
        GiveUp("exit status 125: do not restart"),
    )
    assert life.deaths == 0


def test_a_mule_that_gave_up_can_be_started_again() -> None:
    life = up()
    life.exited(102.0, Exit(status=DO_NOT_RESTART), 0.0)

    assert Spawn() in life.start(103.0)


# Failing


def failing(period_s: float) -> MuleLife:
    """Return a mule that died six times from 100.0 to 145.0."""
    life = MuleLife(RestartPolicy(period_s=period_s), TIMEOUTS)
    life.start(100.0)
    life.exited(100.0, FAILED, 0.0)
    for number in range(1, 6):
        die_again(life, 100.0 + number * 9)
    return life


def test_as_many_deaths_as_allowed_do_not_make_a_mule_failing() -> None:
    life = starting()
    life.exited(100.0, FAILED, 0.0)

    for number in range(1, 5):
        die_again(life, 100.0 + number * 9)

    assert life.deaths == POLICY.max_deaths
    assert not life.is_failing(136.0)


def test_one_death_more_makes_it_failing_and_its_restart_slow() -> None:
    life = starting()
    life.exited(100.0, FAILED, 0.0)
    for number in range(1, 5):
        die_again(life, 100.0 + number * 9)

    effects = die_again(life, 145.0)

    assert life.is_failing(145.0)
    assert backoff_of(effects, 145.0) == pytest.approx(30.0)


def test_a_mule_stops_failing_when_its_deaths_are_long_ago() -> None:
    life = failing(period_s=60.0)

    assert life.is_failing(160.0)
    assert not life.is_failing(160.1)


def test_a_mule_stops_failing_when_it_is_healthy() -> None:
    life = failing(period_s=600.0)
    life.deadline_passed(180.0)
    life.ready(180.0)

    assert life.is_failing(209.9)
    assert not life.is_failing(210.0)


def test_the_first_death_after_health_does_not_make_it_failing_again() -> None:
    life = failing(period_s=600.0)
    life.deadline_passed(180.0)
    life.ready(180.0)

    life.exited(211.0, FAILED, 0.0)

    assert not life.is_failing(211.0)


def test_a_budget_allows_as_many_deaths_as_it_says() -> None:
    budget = RestartBudget(intensity=2, period=10.0)

    assert [budget.spend(now) for now in (0.0, 1.0, 10.0, 11.5)] == [
        True,
        True,
        False,
        True,
    ]


def test_a_budget_of_nothing_is_spent_by_one_death() -> None:
    budget = RestartBudget(intensity=0, period=10.0)

    assert not budget.is_spent(0.0)
    assert not budget.spend(0.0)
    assert budget.is_spent(10.0)


def test_a_refilled_budget_knows_no_deaths() -> None:
    budget = RestartBudget(intensity=0, period=10.0)
    budget.spend(0.0)

    budget.refill()

    assert not budget.is_spent(0.0)


# Stopping


def test_a_stop_drains_then_terminates_then_ends() -> None:
    life = up()

    assert life.stop(200.0) == (ArmDeadline(210.0), Drain())
    assert life.drained(201.0) == (ArmDeadline(206.0), Kill(SIGTERM))
    assert life.exited(201.5, Exit(signum=SIGTERM), 0.0) == (DisarmDeadline(),)
    assert life.state is MuleState.DOWN
    assert life.deaths == 0


def test_a_stop_that_nothing_answers_ends_in_sigkill() -> None:
    life = up()
    life.stop(200.0)

    assert life.deadline_passed(210.0) == (ArmDeadline(215.0), Kill(SIGTERM))
    assert life.deadline_passed(215.0) == (ArmDeadline(220.0), Kill(SIGKILL))
    assert life.kill_reason == "stop timeout"
    assert life.unkillable == 0


def test_a_process_that_survives_sigkill_is_killed_again_and_counted() -> None:
    life = up()
    life.kill_now(200.0)

    assert life.deadline_passed(205.0) == (ArmDeadline(210.0), Kill(SIGKILL))
    assert life.deadline_passed(210.0) == (ArmDeadline(215.0), Kill(SIGKILL))
    assert life.unkillable == 2


def test_a_mule_that_starts_is_terminated_by_a_stop() -> None:
    life = starting()

    assert life.stop(101.0) == (ArmDeadline(106.0), Kill(SIGTERM))


def test_a_stop_in_backoff_cancels_the_restart() -> None:
    life = backing_off()

    assert life.stop(102.1) == (DisarmDeadline(),)
    assert life.deadline_passed(103.0) == ()
    assert life.state is MuleState.DOWN


def test_kill_now_leaves_nothing_to_come_back() -> None:
    life = up()

    assert life.kill_now(200.0) == (ArmDeadline(205.0), Kill(SIGKILL))
    assert life.kill_reason == "stopped at once"
    assert life.exited(200.1, KILLED, 0.0) == (DisarmDeadline(),)


def test_kill_now_in_backoff_cancels_the_restart() -> None:
    assert backing_off().kill_now(102.1) == (DisarmDeadline(),)


# Harakiri


def test_a_hung_mule_writes_its_stacks_is_killed_and_comes_back() -> None:
    life = up()

    assert life.hung(110.0) == (ArmDeadline(110.25), DumpStacks())
    assert life.deadline_passed(110.25) == (ArmDeadline(115.25), Kill(SIGKILL))
    assert life.kill_reason == "harakiri"
    assert life.unkillable == 0
    assert life.exited(110.3, KILLED, 0.0) == (SpawnAt(110.3 + 0.25),)


def test_the_sigkill_of_one_process_is_not_counted_against_the_next() -> None:
    life = killing()
    life.exited(103.0, KILLED, 0.0)
    life.deadline_passed(104.0)
    life.ready(105.0)
    life.hung(110.0)

    life.deadline_passed(110.25)

    assert life.unkillable == 0


def test_a_mule_that_hangs_while_it_drains_does_not_come_back() -> None:
    life = draining()

    assert life.hung(103.0) == (ArmDeadline(103.25), DumpStacks())
    assert life.exited(103.3, KILLED, 0.0) == (DisarmDeadline(),)


def test_a_stop_during_harakiri_keeps_the_mule_down() -> None:
    life = dumping()

    assert life.stop(102.1) == ()
    assert life.exited(102.3, KILLED, 0.0) == (DisarmDeadline(),)
    assert life.state is MuleState.DOWN


def test_kill_now_does_not_wait_for_the_stacks() -> None:
    life = dumping()

    assert life.kill_now(102.1) == (ArmDeadline(107.1), Kill(SIGKILL))
    assert life.kill_reason == "harakiri"


def test_a_deadline_that_was_moved_has_not_passed() -> None:
    life = draining()
    life.hung(112.0)

    assert life.deadline_passed(112.0) == ()
    assert life.state is MuleState.KILLING


# Exit


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (Exit(status=0), "returned"),
        (Exit(status=3), "status 3"),
        (Exit(signum=9), "signal 9 (SIGKILL)"),
        (Exit(signum=31), "signal 31 (SIGSYS)"),
        (Exit(signum=64), "signal 64"),
    ],
)
def test_an_exit_says_what_happened(how: Exit, reason: str) -> None:
    assert how.reason == reason
    assert how.returned is (how.status == 0)


@pytest.mark.parametrize(("status", "signum"), [(None, None), (0, 9)])
def test_an_exit_has_a_status_or_a_signal(
    status: int | None, signum: int | None
) -> None:
    with pytest.raises(AssertionError, match="a status or a unix signal"):
        Exit(status, signum)


def test_the_signals_have_linux_numbers() -> None:
    names = [Exit(signum=number).reason for number in (1, SIGTERM, 24)]

    assert names == ["signal 1 (SIGHUP)", "signal 15 (SIGTERM)", "signal 24 (SIGXCPU)"]


JITTERS = st.floats(0, 1, exclude_max=True)
EXITS = st.sampled_from([RETURNED, RETURNED, FAILED, KILLED, Exit(status=125)])
LIVE: Final = frozenset(MuleState) - {MuleState.DOWN, MuleState.BACKOFF}


class LifeAgainstAWorld(RuleBasedStateMachine):
    """A world with one process and one timer, and the rule of restarts in one list."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.life = a_life()
        self.processes = 0
        self.deadline: float | None = None
        self.is_wanted = False
        self.is_up = False
        self.up_since = 0.0
        # What came since the mule was last healthy.
        self.recent_deaths: list[float] = []
        self.free_returns = 1
        self.spawns = 0

    def _carry_out(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Spawn():
                    assert self.processes == 0
                    assert self.is_wanted
                    self.processes += 1
                    self.spawns += 1
                case SpawnAt(at):
                    assert self.processes == 0
                    assert at >= self.now
                    self.deadline = at
                case ArmDeadline(at):
                    assert at > self.now
                    self.deadline = at
                case DisarmDeadline():
                    assert self.deadline is not None
                    self.deadline = None
                case Drain() | Kill() | DumpStacks():
                    assert self.processes == 1
                case GiveUp():
                    self.is_wanted = False

    def _leave_up(self) -> None:
        if self.is_up and self.now - self.up_since >= POLICY.healthy_s:
            self.recent_deaths = []
            self.free_returns = 1
        self.is_up = False

    def _expected_delay(self) -> float:
        self.recent_deaths.append(self.now)
        window = [at for at in self.recent_deaths if at >= self.now - POLICY.period_s]
        if len(window) > POLICY.max_deaths:
            return POLICY.backoff_max_s
        doubled = POLICY.backoff_s * 2.0 ** (len(self.recent_deaths) - 1)
        return min(doubled, POLICY.backoff_max_s)

    @precondition(lambda self: self.life.state is MuleState.DOWN)
    @rule()
    def start(self) -> None:
        self.is_wanted = True
        self._carry_out(self.life.start(self.now))

    @precondition(lambda self: self.processes)
    @rule()
    def say_ready(self) -> None:
        if self.life.state is MuleState.STARTING:
            self.is_up, self.up_since = True, self.now
        self._carry_out(self.life.ready(self.now))

    @precondition(lambda self: self.life.state is MuleState.STARTING)
    @rule(jitter=JITTERS)
    def fail_to_spawn(self, jitter: float) -> None:
        self.processes = 0
        effects = self.life.spawn_failed(self.now, jitter)
        self._check_delay(effects, jitter)
        self._carry_out(effects)

    @precondition(lambda self: self.processes)
    @rule(how=EXITS, jitter=JITTERS)
    def exit(self, how: Exit, jitter: float) -> None:
        self.processes = 0
        was_up = self.is_up and self.life.state is MuleState.UP
        self._leave_up()
        effects = self.life.exited(self.now, how, jitter)
        if not self.is_wanted:
            assert effects == (DisarmDeadline(),)
        elif how.status == DO_NOT_RESTART:
            assert isinstance(effects[-1], GiveUp)
        elif was_up and how.returned and self.free_returns:
            self.free_returns = 0
            assert effects == (SpawnAt(self.now),)
        else:
            self._check_delay(effects, jitter)
        self._carry_out(effects)

    def _check_delay(self, effects: Effects, jitter: float) -> None:
        expected = self._expected_delay() * (0.5 + jitter / 2)
        assert backoff_of(effects, self.now) == pytest.approx(expected)

    @rule()
    def stop(self) -> None:
        self._leave_up()
        self.is_wanted = False
        self._carry_out(self.life.stop(self.now))

    @precondition(lambda self: self.life.state in LIVE - {MuleState.STARTING})
    @precondition(lambda self: self.life.state is not MuleState.UP)
    @rule()
    def say_drained(self) -> None:
        self._carry_out(self.life.drained(self.now))

    @precondition(lambda self: self.life.state in LIVE - {MuleState.STARTING})
    @rule()
    def hang(self) -> None:
        self._leave_up()
        self._carry_out(self.life.hung(self.now))

    @rule()
    def kill_now(self) -> None:
        self._leave_up()
        self.is_wanted = False
        self._carry_out(self.life.kill_now(self.now))

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0, 35.0, 300.0]))
    def let_time_pass(self, seconds: float) -> None:
        end = self.now + seconds
        while self.deadline is not None and self.deadline <= end:
            self.now, self.deadline = self.deadline, None
            self._carry_out(self.life.deadline_passed(self.now))
        self.now = end

    @precondition(lambda self: self.deadline is not None)
    @rule()
    def sleep_until_the_deadline(self) -> None:
        assert self.deadline is not None
        self.let_time_pass(max(self.deadline - self.now, 0.0) + 1e-6)

    @rule()
    def report_a_stale_deadline(self) -> None:
        if self.deadline is None or self.now < self.deadline:
            assert self.life.deadline_passed(self.now) == ()

    @precondition(lambda self: not self.processes)
    @rule(jitter=JITTERS)
    def report_an_exit_without_a_process(self, jitter: float) -> None:
        before = everything_in(self.life)

        with pytest.raises(AssertionError):
            self.life.exited(self.now, FAILED, jitter)

        assert everything_in(self.life) == before

    @invariant()
    def there_is_a_process_in_the_live_states_only(self) -> None:
        assert self.processes == (self.life.state in LIVE)

    @invariant()
    def only_a_mule_that_is_down_or_up_has_no_deadline(self) -> None:
        waits = self.life.state not in (MuleState.DOWN, MuleState.UP)

        assert (self.deadline is not None) is waits
        assert self.deadline == self.life._deadline

    @invariant()
    def a_mule_nobody_wants_does_not_come_up(self) -> None:
        if not self.is_wanted:
            assert self.life.state not in (
                MuleState.STARTING,
                MuleState.UP,
                MuleState.BACKOFF,
            )

    @invariant()
    def the_counters_add_up(self) -> None:
        assert self.life.restarts <= self.spawns
        assert self.life.failures <= self.life.deaths

    @invariant()
    def it_fails_when_it_died_too_often_and_is_not_healthy(self) -> None:
        window = [at for at in self.recent_deaths if at >= self.now - POLICY.period_s]
        healthy = self.is_up and self.now - self.up_since >= POLICY.healthy_s

        too_often = len(window) > POLICY.max_deaths
        assert self.life.is_failing(self.now) is (too_often and not healthy)


TestLifeAgainstAWorld = LifeAgainstAWorld.TestCase
TestLifeAgainstAWorld.settings = settings(max_examples=60, stateful_step_count=40)
