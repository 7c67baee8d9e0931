"""What is promised of the verdict, each promise beside the scenario in which it is measured.

A scenario plays so many rollouts (or replays); its measures make claims of what became of them. To add a promise, add a
measure; to add a situation, a scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.verdict_proof.replays import replays
from bench.verdict_proof.rollouts import BUSY, NEVER, Outcomes, quantile, run
from bench.verdict_proof.traffic import Traffic, long_sessions, many_tools, short_sessions, single_calls, slower
from henslowe.actors.router import Past
from henslowe.config.ramp import Step

FORTY: Final = tuple(f"s{i}" for i in range(40))
STAYING: Final = Past(units=40, calls_per_unit=50.0, calls=2_000, failures=0)
STAYING_1: Final = Past(units=40, calls_per_unit=50.0, calls=2_000, failures=20, hard_failures=20)
SHORT: Final = Past(units=200, calls_per_unit=10.0, calls=2_000, failures=20, hard_failures=20)
FEW: Final = Past(units=2, calls_per_unit=30.0, calls=100, failures=1)
NOISY: Final = Past(units=1_000, calls_per_unit=1.0, calls=300, failures=45)
TIMED: Final = Past(units=1_000, calls_per_unit=1.0, calls=300, usual=(("echo", 0.225),), timed=300, slow=26)
"""The bound is 1.5 times the third quartile of `slower`'s log-normal latencies, which 9 % of the calls exceed."""
CALLS_PER_S: Final = 30.0
"""Of the forty sessions together."""
CLIMB: Final = (
    Step(weight=5, min_calls=20),
    Step(weight=10, min_calls=20),
    Step(weight=25, min_calls=40),
    Step(weight=50, min_calls=80),
)
"""Steps as the documentation shows them."""
RUSH: Final = (
    Step(weight=5, min_calls=2),
    Step(weight=30, min_calls=4),
    Step(weight=60, min_calls=6),
    Step(weight=90),
)
"""Steps that end by a few calls of the canary: when the weights grow depends on the coins as much as it can."""
OUTAGE: Final = (200, 900, 0.3)
"""Seven hundred calls during which three of ten fail, whatever the version."""
FALSE_MAX: Final = 0.01


@dataclass(slots=True, frozen=True)
class Claim:
    """A promise with the figure that was found."""

    name: str
    found: float
    limit: float
    below: bool = True

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        return self.found <= self.limit if self.below else self.found >= self.limit


@dataclass(slots=True, frozen=True)
class Measure:
    """One figure of a scenario's outcomes, and its limit."""

    name: str
    of: Callable[[Outcomes], float]
    limit: float
    below: bool = True


@dataclass(slots=True, frozen=True)
class Scenario:
    """A situation that is played many times."""

    name: str
    play: Callable[[int, str], Outcomes]
    """Given how many times, and a seed."""
    measures: tuple[Measure, ...]
    times: float = 1.0
    """How many of the rollouts that are asked for: more where a few decide a quantile, fewer where one takes long."""
    cost: float = 1.0
    """About how long one rollout takes, beside others: the longest are begun first."""

    def claims(self, runs: int, seed: int) -> list[Claim]:
        """Its promises, each with what was found."""
        found = self.play(max(1, int(self.times * runs)), f"{seed} {self.name}")
        return [Claim(f"{self.name}: {one.name}", one.of(found), one.limit, one.below) for one in self.measures]


def rollouts(traffic: Traffic, **options: object) -> Callable[[int, str], Outcomes]:
    """Plays rollouts of this traffic; the options are those of `bench.verdict_proof.rollouts.rollout`."""
    return lambda runs, seed: run(runs, seed, traffic, **options)


def paired(old: float, new: float, **options: int) -> Callable[[int, str], Outcomes]:
    """Plays replays; the options are those of `bench.verdict_proof.replays.paired_calls`."""
    return lambda runs, seed: replays(runs, seed, old, new, **options)


# -- measures ----------------


def _at(q: float) -> str:
    return "median" if q == 0.5 else f"p{100 * q:g}"


def calls_found(q: float, limit: float, what: str = "canary calls to rollback") -> Measure:
    """Calls of the new version until it is rolled back."""
    return Measure(f"{what}, {_at(q)}", lambda out: quantile(out.rollbacks, q, out.runs), limit)


def sessions_found(q: float, limit: float) -> Measure:
    """The same in sessions."""
    return Measure(f"canary sessions to rollback, {_at(q)}", lambda out: quantile(out.units, q, out.runs), limit)


def seconds_found(q: float, limit: float) -> Measure:
    """The same in seconds, at `CALLS_PER_S`."""
    return Measure(
        f"seconds to rollback, {_at(q)}", lambda out: quantile(out.calls_until, q, out.runs) / CALLS_PER_S, limit
    )


def failing_served(q: float, limit: float) -> Measure:
    """Failing calls that clients met until then."""
    return Measure(f"failing calls served, {_at(q)}", lambda out: quantile(out.failed_calls, q, out.runs), limit)


def missed(limit: float) -> Measure:
    """How many bad versions were not rolled back, promoted or not."""
    return Measure("missed", lambda out: 1 - len(out.rollbacks) / out.runs, limit)


def rolled_back(limit: float = FALSE_MAX) -> Measure:
    """How many good ones were."""
    return Measure("rolled back", lambda out: len(out.rollbacks) / out.runs, limit)


def calls_promoted(q: float, limit: float) -> Measure:
    """Calls of a good version until it is promoted."""
    return Measure(f"canary calls to promotion, {_at(q)}", lambda out: quantile(out.promotions, q, out.runs), limit)


def promoted(limit: float) -> Measure:
    """How many good ones were, at least."""
    return Measure("promoted", lambda out: len(out.promotions) / out.runs, limit, below=False)


HARD_BREAK: Final = (failing_served(0.5, 3), failing_served(0.9, 3), failing_served(0.99, 4), missed(0.0))
"""A few serve a fourth: where a call of the stable version failed just then, too."""

# -- scenarios ----------------


def singles() -> Iterator[Scenario]:
    """Each call a unit of its own, one in ten on the canary."""
    # More of these: of few rollouts the 95th percentile is decided by a handful.
    bad = (calls_found(0.5, 60), calls_found(0.95, 150), missed(0.02))
    yield Scenario("1 % -> 10 %", rollouts(single_calls(0.01, 0.10), calls_max=4_000), bad, 5)
    good = (calls_promoted(0.95, 250), rolled_back())
    yield Scenario("good, 1 % fail", rollouts(single_calls(0.01, 0.01), calls_max=6_000), good, 2)
    never = {"calls_max": 1_500, "rules": NEVER}
    for rate in (0.01, 0.15):
        past = BUSY if rate < 0.1 else NOISY
        name = f"good, {100 * rate:.0f} % fail, never promoted, 1,500 calls"
        yield Scenario(name, rollouts(single_calls(rate, rate), past=past, **never), (rolled_back(),), 2)
    shared = rollouts(single_calls(0.01, 0.01, incident=OUTAGE), **never)
    yield Scenario("good, shared outage of 30 %", shared, (rolled_back(),), 2)
    dead = rollouts(single_calls(0.01, 1.0), calls_max=2_000)
    yield Scenario("all calls fail", dead, HARD_BREAK)
    # The verdict may hold: what it must not do is promote.
    noisy = rollouts(single_calls(0.15, 0.24), calls_max=20_000, past=NOISY)
    yield Scenario("15 % -> 24 %, 2,000 canary calls of 20,000", noisy, (missed(0.20),), 0.5, cost=20)
    half = rollouts(single_calls(0.15, 0.24), calls_max=2_000, weight=5_000, past=NOISY)
    yield Scenario("15 % -> 24 %, 1,000 canary calls of 2,000", half, (missed(0.20),))


def sessions() -> Iterator[Scenario]:
    """Sticky sessions of ten calls, whose calls end more or less alike."""
    never = {"calls_max": 1_500, "past": SHORT, "rules": NEVER}
    # At an icc of 0.6 a session fails almost always or almost never: it is worth little more than one call.
    for icc, most in ((0.0, 0.02), (0.3, 0.05), (0.6, 0.25)):
        fine = rollouts(short_sessions(0.01, 0.01, icc=icc), **never)
        yield Scenario(f"good, sessions of 10 calls, icc {icc}", fine, (rolled_back(),), 2)
        worse = rollouts(short_sessions(0.01, 0.10, icc=icc), **{**never, "calls_max": 6_000})
        soon = () if icc > 0.3 else (sessions_found(0.5, 25),)
        yield Scenario(f"1 % -> 10 %, sessions of 10 calls, icc {icc}", worse, (missed(most), *soon), 0.5, cost=3)
    both = rollouts(short_sessions(0.01, 0.01, icc=0.3, incident=OUTAGE), **never)
    yield Scenario("good, sessions of 10 calls, icc 0.3, shared outage of 30 %", both, (rolled_back(),), 2)


def tools() -> Iterator[Scenario]:
    """Twenty tools, of which each has a stream of its own."""
    soon = (calls_found(0.5, 120), missed(0.02))
    broken = rollouts(many_tools(20, 0.01, 1.0), calls_max=6_000, rules=NEVER)
    yield Scenario("one of 20 tools broken", broken, soon, 0.5, cost=2)
    fine = rollouts(many_tools(20, 0.02, 0.02), calls_max=1_500, rules=NEVER)
    yield Scenario("good, 20 tools", fine, (rolled_back(),), 2)


def latencies() -> Iterator[Scenario]:
    """Nothing fails; the new version is slower, or not."""
    for times, median, p95 in ((2.0, 60, 150), (1.5, 150, 400)):
        slow = rollouts(slower(times), calls_max=8_000, past=TIMED, rules=NEVER)
        yield Scenario(f"{times:g} times as slow", slow, (calls_found(0.5, median), calls_found(0.95, p95)), 0.5)
    never = {"calls_max": 1_500, "past": TIMED, "rules": NEVER}
    yield Scenario("as fast as before", rollouts(slower(1.0), **never), (rolled_back(),), 2)
    shared = rollouts(slower(1.0, incident=(200, 900, 5.0)), **never)
    yield Scenario("as fast as before, shared slowdown", shared, (rolled_back(),), 2)


def staying() -> Iterator[Scenario]:
    """Forty sessions that stay for hours."""
    for old, past in ((0.0, STAYING), (0.01, STAYING_1)):
        worse = rollouts(long_sessions(old, 0.10), calls_max=9_000, known_units=FORTY, past=past)
        soon = (seconds_found(0.5, 90), seconds_found(0.95, 180), missed(0.05))
        yield Scenario(f"40 sessions that stay, {100 * old:.0f} % -> 10 %", worse, soon, cost=2)
    stay = {"known_units": FORTY, "past": STAYING}
    for icc in (0.0, 0.4):
        fine = rollouts(long_sessions(0.02, 0.02, icc=icc), calls_max=4_000, rules=NEVER, **stay)
        yield Scenario(f"40 sessions that stay, good, icc {icc}", fine, (rolled_back(),), cost=3)
    faultless = rollouts(long_sessions(0.0, 0.0), calls_max=9_000, **stay)
    yield Scenario("40 sessions that stay, faultless", faultless, (promoted(0.95),), 0.5, cost=2)


def climbing() -> Iterator[Scenario]:
    """Rollouts in steps: the promise holds while the weights grow, and a bad version is found no later."""
    soon = (calls_found(0.5, 60), calls_found(0.95, 150), missed(0.02))
    yield Scenario("steps, 1 % -> 10 %", rollouts(single_calls(0.01, 0.10), calls_max=4_000, steps=CLIMB), soon, 5)
    good = rollouts(single_calls(0.01, 0.01), calls_max=6_000, steps=CLIMB)
    yield Scenario("steps, good, 1 % fail", good, (calls_promoted(0.95, 300), rolled_back()), 2)
    for name, steps in (("steps", CLIMB), ("hasty steps", RUSH)):
        never = {"calls_max": 1_500, "steps": steps, "rules": NEVER}
        fine = rollouts(single_calls(0.02, 0.02), **never)
        yield Scenario(f"{name}, good, never promoted", fine, (rolled_back(),), 2)
        for icc in (0.0, 0.6):
            fine = rollouts(short_sessions(0.02, 0.02, icc=icc), past=SHORT, **never)
            yield Scenario(f"{name}, good, sessions of 10 calls, icc {icc}", fine, (rolled_back(),), 2)
        stay = {**never, "calls_max": 4_000, "known_units": FORTY, "past": STAYING}
        fine = rollouts(long_sessions(0.05, 0.05, icc=0.4), **stay)
        yield Scenario(f"{name}, good, 40 sessions that stay", fine, (rolled_back(),), cost=3)
        shared = rollouts(single_calls(0.01, 0.01, incident=OUTAGE), **never)
        yield Scenario(f"{name}, good, shared outage of 30 %", shared, (rolled_back(),), 2)
    dead = rollouts(single_calls(0.01, 1.0), calls_max=2_000, steps=CLIMB)
    yield Scenario("steps, all calls fail", dead, HARD_BREAK)
    forty = rollouts(long_sessions(0.01, 0.10), calls_max=9_000, known_units=FORTY, past=STAYING_1, steps=CLIMB)
    yield Scenario("steps, 40 sessions that stay, 1 % -> 10 %", forty, (seconds_found(0.95, 240), missed(0.05)), 0.5)


def before_traffic() -> Iterator[Scenario]:
    """Replays of captured calls, judged by pairs."""
    for others, dead, median in ((2, 6, 80), (1, 9, 115)):
        name = f"replay beside {others} cop{'y' if others == 1 else 'ies'}"
        found = calls_found(0.95, dead, "calls to blame")
        yield Scenario(f"{name}, all calls fail", paired(0.01, 1.0, others=others), (found, missed(0.0)))
        found = calls_found(0.5, median, "calls to blame")
        yield Scenario(f"{name}, 1 % -> 10 %", paired(0.01, 0.10, others=others), (found,))
        for rate in (0.01, 0.2, 0.6):
            # Many: nothing is given away here, so that the true figure is near the limit, which is alpha.
            fine = paired(rate, rate, others=others, calls_max=200, tools=5)
            yield Scenario(f"{name}, good, {100 * rate:.0f} % fail, 200 calls", fine, (rolled_back(),), 12, cost=0.05)


def on_probation() -> Iterator[Scenario]:
    """After the swap: with a holdback as control, or one client alone."""
    held = {"weight": 500, "holdback": True, "rules": NEVER}
    fine = rollouts(single_calls(0.01, 0.01), calls_max=2_000, **held)
    yield Scenario("probation with holdback, good", fine, (rolled_back(),), 2)
    worse = rollouts(single_calls(0.01, 0.3), calls_max=4_000, **held)
    yield Scenario("probation with holdback, 1 % -> 30 %", worse, (missed(0.05),), 0.5)
    alone = {"probation": True, "past": FEW}
    fine = rollouts(long_sessions(0.01, 0.01, sessions=1), calls_max=500, **alone)
    yield Scenario("one client, good", fine, (rolled_back(),), 2)
    dead = rollouts(long_sessions(0.01, 1.0, sessions=1), calls_max=50, **alone)
    yield Scenario("one client, all calls fail", dead, (failing_served(0.95, 5), missed(0.0)), 0.5)


SCENARIOS: Final = tuple(
    scenario
    for group in (singles, sessions, tools, latencies, staying, climbing, before_traffic, on_probation)
    for scenario in group()
)
