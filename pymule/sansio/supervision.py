"""The life of one mule, as the master sees it: when to start, stop, kill, try again.

Theory of operation. A mule has at most one process. :class:`MuleLife` is told what
happened, with the instant, and answers with orders; the master carries them out, in
their order, and reports what came of it. One deadline at most is armed at any time,
and each order that sets it replaces the one before. The act comes after its deadline:
what it reports at once, such as a spawn that failed, may set another.

::

    DOWN --start--> STARTING --ready--> UP --stop--> DRAINING --drained--> STOPPING
                       |                 |           (deadline: as drained)    |
                       | deadline        | hung                       deadline |
                       '-------------> KILLING <-------------------------------'

A process that ends unasked leads to BACKOFF, whose deadline leads to STARTING again.
One that ends after a stop, or with status 125, leads to DOWN.

========== =============================================================
state      process and deadline
========== =============================================================
DOWN       none; nothing armed
STARTING   being started; to be ready in time, else it is killed
UP         works; nothing armed
DRAINING   takes nothing new, finishes what it has; then told to end
STOPPING   got SIGTERM; to end in time, else it is killed
KILLING    writes its stacks, then got SIGKILL, again at each deadline
BACKOFF    none; the next one starts at the deadline
========== =============================================================

What must always hold: a spawn is ordered only when there is no process; none is
ordered after a stop, until the next start; all states but DOWN and UP have a deadline,
so nothing waits for ever. :data:`TRANSITIONS` is the whole table; what it does not
name is a fault of the caller, raises ``AssertionError`` and changes nothing.

Sources: Erlang/OTP ``supervisor.erl`` for the budget, Canonical pebble's service
backoff, s6 for readiness and status 125.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = (
    "DO_NOT_RESTART",
    "SIGKILL",
    "SIGTERM",
    "TRANSITIONS",
    "ArmDeadline",
    "DisarmDeadline",
    "Drain",
    "DumpStacks",
    "Effect",
    "Exit",
    "GiveUp",
    "Kill",
    "LifeEvent",
    "LifeTimeouts",
    "MuleLife",
    "MuleState",
    "RestartBudget",
    "RestartPolicy",
    "Spawn",
    "SpawnAt",
)

DO_NOT_RESTART: Final = 125
"""Exit status by which a program asks not to be started again, as in s6."""

SIGTERM: Final = 15
SIGKILL: Final = 9
"""Numbers that POSIX fixes for both."""

# In Linux's order, from 1.
_SIGNALS: Final = """
SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV
SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN
SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS
"""
_SIGNAL_NAMES: Final = dict(enumerate(_SIGNALS.split(), start=1))


class MuleState(Enum):
    """Where a mule is in its life."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    DRAINING = "draining"
    STOPPING = "stopping"
    KILLING = "killing"
    BACKOFF = "backoff"


class LifeEvent(Enum):
    """What happens to a mule.

    An exit is two events: ``DIED`` when the mule is still wanted, ``ENDED`` when it was
    stopped or asked not to be started again.
    """

    START = "start"
    READY = "ready"
    SPAWN_FAILED = "spawn_failed"
    DIED = "died"
    ENDED = "ended"
    STOP = "stop"
    DRAINED = "drained"
    HUNG = "hung"
    KILL_NOW = "kill_now"
    DEADLINE_PASSED = "deadline_passed"


# "-" stays where it is, because it may come late or twice; "." is a caller's fault.
_TABLE: Final = """
event            down      starting  up        draining  stopping  killing   backoff
start            starting  .         .         .         .         .         .
ready            .         up        -         -         -         -         .
spawn_failed     .         backoff   .         .         .         backoff   .
died             .         backoff   backoff   .         .         backoff   .
ended            .         down      down      down      down      down      .
stop             -         stopping  draining  -         -         -         down
drained          .         .         .         stopping  -         -         .
hung             .         .         killing   killing   -         -         .
kill_now         -         killing   killing   killing   killing   -         down
deadline_passed  -         killing   -         stopping  killing   -         starting
"""


def _read_table(text: str) -> dict[tuple[MuleState, LifeEvent], MuleState]:
    (_, *states), *rows = map(str.split, text.strip().splitlines())
    return {
        (MuleState(state), LifeEvent(event)): MuleState(state if to == "-" else to)
        for event, *cells in rows
        for state, to in zip(states, cells, strict=True)
        if to != "."
    }


TRANSITIONS: Final[Mapping[tuple[MuleState, LifeEvent], MuleState]] = _read_table(
    _TABLE
)
"""State and event to the next state, which may be the same."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: by itself, with *status*, or by the unix signal *signum*.

    Raises:
        AssertionError: Not exactly one of the two was given.
    """

    status: int | None = None
    signum: int | None = None

    def __post_init__(self) -> None:
        if (self.status is None) == (self.signum is None):
            raise AssertionError("an exit has a status or a unix signal")

    @property
    def returned(self) -> bool:
        """Whether the program came to its end and nothing went wrong."""
        return self.status == 0

    @property
    def reason(self) -> str:
        """The end in words: ``returned``, ``status 3``, ``signal 9 (SIGKILL)``."""
        if self.returned:
            return "returned"
        if self.signum is None:
            return f"status {self.status}"
        name = _SIGNAL_NAMES.get(self.signum)
        return f"signal {self.signum} ({name})" if name else f"signal {self.signum}"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How soon a mule that died is started again; all durations in seconds.

    Args:
        backoff_s: Longest wait after the first death, doubled for each one after it.
        backoff_max_s: Longest wait of all, and the rule for a failing mule.
        healthy_s: A mule that was up for this long starts with a clean sheet.
        max_deaths: More deaths than this in *period_s* make a mule failing.
        period_s: The window in which deaths are counted.
    """

    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    healthy_s: float = 30.0
    max_deaths: int = 5
    period_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LifeTimeouts:
    """How long a mule may take for each step; all in seconds.

    Args:
        start_timeout_s: From the spawn to being ready.
        stop_timeout_s: To finish what is in hand when it drains.
        kill_after_s: From SIGTERM to SIGKILL, and between two SIGKILLs.
        dump_s: To write the stacks of a hung mule before it is killed.
    """

    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
    kill_after_s: float = 5.0
    dump_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process; then report ``ready``, or ``spawn_failed``."""


@dataclass(frozen=True, slots=True)
class SpawnAt:
    """Arm the deadline for *when*: a spawn follows from ``deadline_passed``."""

    when: float


@dataclass(frozen=True, slots=True)
class ArmDeadline:
    """Call ``deadline_passed`` at *at*, in place of any deadline before."""

    at: float


@dataclass(frozen=True, slots=True)
class DisarmDeadline:
    """Forget the deadline."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the mule nothing new; report ``drained`` when it has nothing in hand."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Send the unix signal *signum*, SIGTERM or SIGKILL, to the mule."""

    signum: int


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Make the mule write the stacks of its threads to the log."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Say *reason* and start the mule no more, until someone asks for it."""

    reason: str


_Timing = Spawn | SpawnAt | ArmDeadline | DisarmDeadline
Effect = _Timing | Drain | Kill | DumpStacks | GiveUp
"""An order to the master."""


class RestartBudget:
    """At most *intensity* deaths in any *period* seconds.

    Source: Erlang/OTP ``supervisor.erl``, ``add_restart``.
    """

    def __init__(self, intensity: int, period: float) -> None:
        self._period = period
        # One more than is allowed is all that is ever needed to know.
        self._deaths: deque[float] = deque(maxlen=intensity + 1)

    def spend(self, now: float) -> bool:
        """Record a death at *now*; tell whether the budget allowed it."""
        self._deaths.append(now)
        return not self.is_spent(now)

    def is_spent(self, now: float) -> bool:
        """Tell whether the period up to *now* saw more deaths than allowed."""
        deaths = self._deaths
        return len(deaths) == deaths.maxlen and deaths[0] >= now - self._period

    def refill(self) -> None:
        """Forget all deaths."""
        self._deaths.clear()


class MuleLife:
    """One mule's life, as seen by the master. Decides; never spawns or kills.

    Every event takes *now*, in monotonic seconds, and returns the orders that follow
    from it. An event that :data:`TRANSITIONS` does not name for the present state
    raises ``AssertionError`` and changes nothing. *jitter* is a random number in
    ``[0, 1)`` that the caller draws: it spreads the restarts of mules that died
    together over the upper half of the backoff.

    What comes over the link of a process must not be reported after its exit was: it
    would be taken for its successor's.
    """

    def __init__(self, policy: RestartPolicy, timeouts: LifeTimeouts) -> None:
        self.policy = policy
        self._timeouts = timeouts
        self._budget = RestartBudget(policy.max_deaths, policy.period_s)
        self._state = MuleState.DOWN
        # Spawns after the first, since the master began.
        self.restarts = 0
        # Ends that nobody asked for, but for the returns that were free.
        self.deaths = 0
        # Deaths since the mule was last healthy.
        self.failures = 0
        # Times that a process was still there when kill_after_s had passed since
        # SIGKILL: in the kernel, where no signal reaches it.
        self.unkillable = 0
        # Why the present or last process was killed by us; empty if it was not.
        self.kill_reason = ""
        self._is_wanted = False
        self._sigkill_sent = False
        self._return_is_free = True
        self._backoff = min(policy.backoff_s, policy.backoff_max_s)
        self._up_since = 0.0
        self._deadline: float | None = None

    @property
    def state(self) -> MuleState:
        """Where the mule is now."""
        return self._state

    def is_failing(self, now: float) -> bool:
        """Tell whether the mule died too often of late.

        It is so until enough of the deaths are long ago, or the mule is healthy again.
        """
        return self._budget.is_spent(now) and not self._is_healthy(now)

    def start(self, now: float) -> tuple[Effect, ...]:
        """Someone wants the mule to run."""
        self._follow(LifeEvent.START, now)
        self._is_wanted = True
        return self._spawn(now)

    def ready(self, now: float) -> tuple[Effect, ...]:
        """The mule said that it can take messages."""
        if not self._follow(LifeEvent.READY, now):
            return ()
        self._up_since = now
        return self._disarm()

    def spawn_failed(self, now: float, jitter: float) -> tuple[Effect, ...]:
        """There is no process: it could not be started. Counts as a death."""
        if not self._is_wanted:
            return self._end(now)
        self._follow(LifeEvent.SPAWN_FAILED, now)
        return self._back_off(now, jitter)

    def exited(self, now: float, how: Exit, jitter: float) -> tuple[Effect, ...]:
        """The process ended.

        A program that returns does so on purpose, for a clean process: it gets one at
        once, the first time since the mule was last healthy. From the second on it is
        a death as any other.
        """
        if not self._is_wanted:
            return self._end(now)
        if how.status == DO_NOT_RESTART:
            reason = f"exit status {DO_NOT_RESTART}: do not restart"
            return (*self._end(now), GiveUp(reason))
        was_up = self._state is MuleState.UP
        self._follow(LifeEvent.DIED, now)
        if was_up and how.returned and self._return_is_free:
            self._return_is_free = False
            return self._spawn_at(now)
        return self._back_off(now, jitter)

    def stop(self, now: float) -> tuple[Effect, ...]:
        """Someone wants the mule to finish and to stay down."""
        self._is_wanted = False
        if not self._follow(LifeEvent.STOP, now):
            return ()
        if self._state is MuleState.DRAINING:
            return (self._arm(now + self._timeouts.stop_timeout_s), Drain())
        if self._state is MuleState.STOPPING:
            return self._terminate(now)
        return self._disarm()

    def drained(self, now: float) -> tuple[Effect, ...]:
        """The mule has nothing in hand any more."""
        if not self._follow(LifeEvent.DRAINED, now):
            return ()
        return self._terminate(now)

    def hung(self, now: float) -> tuple[Effect, ...]:
        """The mule held a message for longer than it may (harakiri).

        Its stacks get written first, and it is killed ``dump_s`` later.
        """
        if not self._follow(LifeEvent.HUNG, now):
            return ()
        self.kill_reason = "harakiri"
        return (self._arm(now + self._timeouts.dump_s), DumpStacks())

    def kill_now(self, now: float) -> tuple[Effect, ...]:
        """Someone wants the mule down whatever it is doing."""
        self._is_wanted = False
        self._follow(LifeEvent.KILL_NOW, now)
        if self._state is MuleState.DOWN:
            return self._disarm()
        return self._kill(now, "stopped at once")

    def deadline_passed(self, now: float) -> tuple[Effect, ...]:
        """The deadline has come.

        One that was moved or disarmed after the caller took it from its timers has no
        effect.
        """
        if self._deadline is None or now < self._deadline:
            return ()
        before = self._state
        self._follow(LifeEvent.DEADLINE_PASSED, now)
        if before is MuleState.BACKOFF:
            self.restarts += 1
            return self._spawn(now)
        if before is MuleState.DRAINING:
            return self._terminate(now)
        if before is MuleState.KILLING and self._sigkill_sent:
            self.unkillable += 1
        reason = "start" if before is MuleState.STARTING else "stop"
        return self._kill(now, f"{reason} timeout")

    def _follow(self, event: LifeEvent, now: float) -> bool:
        """Take the step of the table; tell whether it leads to another state."""
        before = self._state
        after = TRANSITIONS.get((before, event))
        if after is None:
            raise AssertionError(
                f"{event.value} cannot happen to a mule that is {before.value}"
            )
        if before is MuleState.UP and self._is_healthy(now) and after is not before:
            self._clean_sheet()
        self._state = after
        return after is not before

    def _is_healthy(self, now: float) -> bool:
        up_s = now - self._up_since
        return self._state is MuleState.UP and up_s >= self.policy.healthy_s

    def _clean_sheet(self) -> None:
        self.failures = 0
        self._backoff = min(self.policy.backoff_s, self.policy.backoff_max_s)
        self._return_is_free = True
        self._budget.refill()

    def _spawn(self, now: float) -> tuple[Effect, ...]:
        self._sigkill_sent = False
        self.kill_reason = ""
        return (self._arm(now + self._timeouts.start_timeout_s), Spawn())

    def _spawn_at(self, when: float) -> tuple[Effect, ...]:
        self._deadline = when
        return (SpawnAt(when),)

    def _back_off(self, now: float, jitter: float) -> tuple[Effect, ...]:
        self.deaths += 1
        self.failures += 1
        longest = self.policy.backoff_max_s
        delay = self._backoff if self._budget.spend(now) else longest
        self._backoff = min(self._backoff * 2, longest)
        return self._spawn_at(now + delay * (0.5 + jitter / 2))

    def _end(self, now: float) -> tuple[Effect, ...]:
        self._follow(LifeEvent.ENDED, now)
        return self._disarm()

    def _terminate(self, now: float) -> tuple[Effect, ...]:
        return (self._arm(now + self._timeouts.kill_after_s), Kill(SIGTERM))

    def _kill(self, now: float, reason: str) -> tuple[Effect, ...]:
        self._sigkill_sent = True
        # The first reason is the one that people look for.
        self.kill_reason = self.kill_reason or reason
        return (self._arm(now + self._timeouts.kill_after_s), Kill(SIGKILL))

    def _arm(self, at: float) -> ArmDeadline:
        self._deadline = at
        return ArmDeadline(at)

    def _disarm(self) -> tuple[Effect, ...]:
        if self._deadline is None:
            return ()
        self._deadline = None
        return (DisarmDeadline(),)
