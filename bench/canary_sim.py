"""Proves the canary verdict: simulates traffic, seeded, against the code that ships.

    python bench/canary_sim.py            # some minutes
    python bench/canary_sim.py --quick    # some seconds, for CI
    python bench/canary_sim.py --check    # exit 1 when a claim does not hold
    python bench/canary_sim.py --json

Each scenario runs many rollouts. A rollout is a `Traffic` of units with their own failure rates, routed by the real
`Route.pick` and judged by the real `Evidence`, until it is decided or the calls are used up. At the end, what Flagger's
rule makes of a good and a bad version at five rates of calls (`bench/flagger_rule.py`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import flagger_rule
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Decision
from henslowe.actors.pairing import PairedEvidence
from henslowe.actors.router import Evidence, Past, Rules, Trial
from henslowe.actors.routes import WEIGHT_SCALE, CallRecord, Outcome, Route, balanced_salt
from henslowe.config.ramp import Step

SERVICE = ServiceName("sim")
OLD, NEW = VersionKey(SERVICE, 1), VersionKey(SERVICE, 2)
NEVER = Rules(beta=1e-300)
"""Rules that never promote, to count false rollbacks over a whole run."""


@dataclass(slots=True, frozen=True)
class Call:
    """One call to come: who makes it, which tool, and how it would end on the old and on the new version."""

    unit: str
    tool: str
    fails_old: bool
    fails_new: bool
    session: bool = False
    old_s: float = 0.01
    new_s: float = 0.01
    """Latencies."""


Traffic = Callable[[random.Random], Iterator[Call]]


@dataclass(slots=True)
class Outcomes:
    """What became of the rollouts of one scenario."""

    rollbacks: list[int] = field(default_factory=list)
    promotions: list[int] = field(default_factory=list)
    undecided: int = 0
    failed_calls: list[int] = field(default_factory=list)
    """Failing calls that the new version served before it was rolled back."""
    calls_until: list[int] = field(default_factory=list)
    """Calls of both arms until a rollback."""
    units: list[int] = field(default_factory=list)
    """Units of the new version until a rollback."""

    @property
    def runs(self) -> int:
        """All of them."""
        return len(self.rollbacks) + len(self.promotions) + self.undecided


def quantile(values: list[int], q: float) -> int:
    """The q-quantile, 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0


def rollout(
    traffic: Traffic,
    rng: random.Random,
    out: Outcomes,
    *,
    calls_max: int,
    weight: int = 1_000,
    rules: Rules | None = None,
    past: Past | None = None,
    known_units: tuple[str, ...] = (),
    holdback: bool = False,
    probation: bool = False,
    steps: tuple[Step, ...] = (),
) -> None:
    """One rollout, judged after each failure and every tenth call as the router does.

    With steps, each verdict to advance is obeyed at once, as the version machine does where nothing makes it wait.
    """
    rules = rules or Rules()
    weight = steps[0].parts if steps else weight
    salt, balance = balanced_salt(known_units, weight, f"s{rng.random()}")
    share = weight / WEIGHT_SCALE
    if holdback:
        route = Route(SERVICE, NEW, OLD, weight, salt, 1, holdback=True)
        trial = Trial(SERVICE, 1, NEW, OLD, 1 - share, probation=True, holdback=True, balance=balance)
    elif probation:
        route = Route(SERVICE, NEW, salt=salt, epoch=1)
        trial = Trial(SERVICE, 1, NEW, None, 1.0, probation=True)
    else:
        route = Route(SERVICE, OLD, NEW, weight, salt, 1)
        trial = Trial(SERVICE, 1, NEW, OLD, share, balance=balance)
        if steps:
            trial = replace(trial, ramp=((1, share),), step=1, steps=len(steps), step_calls=steps[0].min_calls)
    evidence = Evidence(trial, rules, past or Past(units=1_000, calls_per_unit=1.0, calls=300, failures=3))
    for at, call in enumerate(traffic(rng), 1):
        arm, version = route.pick(call.unit)
        failed = call.fails_new if version == NEW else call.fails_old
        outcome = Outcome.INTERNAL_ERROR if failed else Outcome.OK
        took_s = call.new_s if version == NEW else call.old_s
        evidence.update(
            CallRecord(version, arm, call.unit, call.session, call.tool, outcome, took_s, at * 0.02, route.epoch)
        )
        if failed or at % 10 == 0:
            decision = evidence.find().decision
            if decision is Decision.ADVANCE:
                trial, route = _next_step(trial, route, steps)
                evidence.move_on(trial)
            if decision is Decision.ROLL_BACK:
                out.rollbacks.append(evidence.new.calls)
                out.failed_calls.append(evidence.new.failures)
                out.calls_until.append(at)
                out.units.append(evidence.numbers()["units"])
                return
            if decision is Decision.PROMOTE:
                out.promotions.append(evidence.new.calls)
                return
        if at >= calls_max:
            break
    out.undecided += 1


def _next_step(trial: Trial, route: Route, steps: tuple[Step, ...]) -> tuple[Trial, Route]:
    """Trial and route as they are derived from the row after a step."""
    step, epoch = steps[trial.step], trial.epoch + 1
    share = step.parts / WEIGHT_SCALE
    ramp = (*trial.ramp, (epoch, share))
    trial = replace(trial, epoch=epoch, share_new=share, ramp=ramp, step=trial.step + 1, step_calls=step.min_calls)
    return trial, replace(route, canary_weight=step.parts, epoch=epoch)


# -- traffic ----------------


def single_calls(old: float, new: float, *, incident: tuple[int, int, float] | None = None) -> Traffic:
    """Each call is a unit of its own; during an incident (from, to, rate) both versions fail alike."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        at = 0
        while True:
            at += 1
            a, b = old, new
            if incident is not None and incident[0] <= at < incident[1]:
                a, b = incident[2], incident[2]
            luck = rng.random()
            yield Call(f"c{at}", "echo", luck < a, luck < b)

    return traffic


def short_sessions(old: float, new: float, *, calls: int = 10, icc: float = 0.0) -> Traffic:
    """Ten sessions at a time, each of so many calls; `icc` is how alike the calls of one session are."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        number = 0
        while True:
            sessions = [(f"s{number + i}", *_rates(rng, old, new, icc)) for i in range(10)]
            number += 10
            for _ in range(calls):
                for name, a, b in sessions:
                    luck = rng.random()
                    yield Call(name, "echo", luck < a, luck < b, session=True)

    return traffic


def long_sessions(old: float, new: float, *, sessions: int = 40, icc: float = 0.0) -> Traffic:
    """So many sessions that stay, calling at random."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        rates = [_rates(rng, old, new, icc) for _ in range(sessions)]
        while True:
            at = rng.randrange(sessions)
            luck = rng.random()
            yield Call(f"s{at}", "echo", luck < rates[at][0], luck < rates[at][1], session=True)

    return traffic


def slower(times: float, *, spread: float = 0.6, incident: tuple[int, int, float] | None = None) -> Traffic:
    """Single calls whose latency is log-normal around 100 ms; the new version takes so many times as long."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        at = 0
        while True:
            at += 1
            shared = incident[2] if incident is not None and incident[0] <= at < incident[1] else 1.0
            took_s = 0.1 * shared * rng.lognormvariate(0, spread)
            yield Call(f"c{at}", "echo", False, False, False, took_s, took_s * times)

    return traffic


def one_broken_tool(tools: int, old: float, broken: float) -> Traffic:
    """Single calls over many tools, of which the new version breaks one."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        at = 0
        while True:
            at += 1
            tool, luck = rng.randrange(tools), rng.random()
            yield Call(f"c{at}", f"t{tool}", luck < old, luck < (broken if tool == 0 else old))

    return traffic


def _rates(rng: random.Random, old: float, new: float, icc: float) -> tuple[float, float]:
    """Rates of one session for both versions: the same session is equally difficult for both."""
    if icc <= 0:
        return old, new
    k = 1 / icc - 1
    place = rng.random()
    return _beta(place, old, k), _beta(place, new, k)


def _beta(place: float, mean: float, k: float) -> float:
    """A beta variate of this mean, the same for the same place: drawn from a generator seeded by it."""
    return random.Random(place).betavariate(mean * k, (1 - mean) * k) if 0 < mean < 1 else mean


# -- pairs: captured calls of both versions, before live traffic ----------------


def paired_calls(
    rng: random.Random,
    old: float,
    new: float,
    *,
    others: int = 2,
    calls_max: int = 3_000,
    tools: int = 1,
    broken: int = -1,
) -> int:
    """Replayed calls until the new version is blamed, `calls_max + 1` where it never is.

    Args:
        rng: Seeded.
        old: Failure rate of the active version.
        new: That of the new one; of the tool `broken` alone, where there is one.
        others: Copies of the active version that are asked, too.
        calls_max: When to give up.
        tools: Tools that take turns by chance.
        broken: Which of them the new version breaks; -1 for all.
    """
    evidence = PairedEvidence()
    for at in range(1, calls_max + 1):
        tool = rng.randrange(tools)
        failed = sum(rng.random() < old for _ in range(others))
        rate = new if broken in (-1, tool) else old
        evidence.add(f"t{tool}", new_failed=rng.random() < rate, others_failed=failed, others=others)
        if evidence.evidence >= 1 / Rules().alpha:
            return at
    return calls_max + 1


def paired_runs(seed: int, runs: int, old: float, new: float, **options: int) -> list[int]:
    """So many replays, the shortest first."""
    rng = random.Random(seed)
    return sorted(paired_calls(rng, old, new, **options) for _ in range(runs))


def replays(runs: int) -> Iterator[Claim]:
    """Replays of captured calls, judged by pairs."""
    for others, dead, median in ((2, 6, 80), (1, 9, 115)):
        name = f"replay beside {others} cop{'y' if others == 1 else 'ies'}"
        found = paired_runs(31, runs, 0.01, 1.0, others=others)
        yield Claim(f"{name}, all calls fail: calls, p95", quantile(found, 0.95), dead)
        found = paired_runs(32, runs, 0.01, 0.10, others=others)
        yield Claim(f"{name}, 1 % -> 10 %: calls, median", quantile(found, 0.5), median)
        for rate in (0.01, 0.2, 0.6):
            found = paired_runs(33, 2 * runs, rate, rate, others=others, calls_max=200, tools=5)
            wrong = sum(calls <= 200 for calls in found) / len(found)
            yield Claim(f"{name}, good, {rate:.0%} fail: blamed in 200 calls", wrong, 0.01)


# -- scenarios ----------------

FORTY = tuple(f"s{i}" for i in range(40))
STAYING = Past(units=40, calls_per_unit=50.0, calls=2_000, failures=0)
STAYING_1 = Past(units=40, calls_per_unit=50.0, calls=2_000, failures=20, hard_failures=20)
SHORT = Past(units=200, calls_per_unit=10.0, calls=2_000, failures=20, hard_failures=20)
FEW = Past(units=2, calls_per_unit=30.0, calls=100, failures=1)
NOISY = Past(units=1_000, calls_per_unit=1.0, calls=300, failures=45)
TIMED = Past(units=1_000, calls_per_unit=1.0, calls=300, usual=(("echo", 0.225),), timed=300, slow=26)
"""The bound is 1.5 times the third quartile of `slower`'s log-normal latencies, which 9 % of the calls exceed."""
CALLS_PER_S = 30.0
"""Of the forty sessions together."""


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


def run(runs: int, seed: int, traffic: Traffic, **options: object) -> Outcomes:
    """So many rollouts of one scenario."""
    out = Outcomes()
    rng = random.Random(seed)
    for _ in range(runs):
        rollout(traffic, rng, out, **options)  # type: ignore[arg-type]
    return out


CLIMB = (
    Step(weight=5, min_calls=20),
    Step(weight=10, min_calls=20),
    Step(weight=25, min_calls=40),
    Step(weight=50, min_calls=80),
)
"""Steps as the documentation shows them."""
RUSH = (Step(weight=5, min_calls=2), Step(weight=30, min_calls=4), Step(weight=60, min_calls=6), Step(weight=90))
"""Steps that end by a few calls of the canary: when the weights grow depends on the coins as much as it can."""


def climbing(runs: int) -> Iterator[Claim]:
    """Rollouts in steps: the promise holds while the weights grow, and a bad version is not found later.

    At a greater weight each call of the canary says less, whatever the steps: with 25 % throughout it takes about 80 of
    them (180 at the p95), with 50 % about 140 (270).
    """
    bad = run(runs, 21, single_calls(0.01, 0.10), calls_max=4_000, steps=CLIMB)
    yield Claim("steps, 1 % -> 10 %: canary calls to rollback, median", quantile(bad.rollbacks, 0.5), 80)
    yield Claim("steps, 1 % -> 10 %: canary calls to rollback, p95", quantile(bad.rollbacks, 0.95), 200)
    yield Claim("steps, 1 % -> 10 %: missed", 1 - len(bad.rollbacks) / bad.runs, 0.02)
    good = run(runs, 22, single_calls(0.01, 0.01), calls_max=6_000, steps=CLIMB)
    yield Claim("steps, good version: canary calls to promotion, p95", quantile(good.promotions, 0.95), 300)
    yield Claim("steps, good version: rolled back", len(good.rollbacks) / good.runs, 0.01)
    for name, steps in (("steps", CLIMB), ("hasty steps", RUSH)):
        null = run(runs, 231, single_calls(0.02, 0.02), calls_max=1_500, steps=steps, rules=NEVER)
        yield Claim(f"{name}, good, never promoted: rolled back", len(null.rollbacks) / null.runs, 0.01)
        for icc in (0.0, 0.6):
            kept: dict[str, object] = {"calls_max": 1_500, "steps": steps, "past": SHORT, "rules": NEVER}
            fine = run(runs, 24, short_sessions(0.02, 0.02, icc=icc), **kept)
            yield Claim(f"{name}, good, sessions, icc {icc}: rolled back", len(fine.rollbacks) / fine.runs, 0.01)
        stay: dict[str, object] = {"known_units": FORTY, "past": STAYING, "steps": steps, "rules": NEVER}
        fine = run(runs, 25, long_sessions(0.05, 0.05, icc=0.4), calls_max=4_000, **stay)
        yield Claim(f"{name}, good, 40 sessions that stay: rolled back", len(fine.rollbacks) / fine.runs, 0.01)
    shared = run(
        runs, 261, single_calls(0.01, 0.01, incident=(200, 900, 0.3)), calls_max=1_500, steps=CLIMB, rules=NEVER
    )
    yield Claim("steps, good, shared incident of 30 %: rolled back", len(shared.rollbacks) / shared.runs, 0.01)
    dead = run(runs, 27, single_calls(0.01, 1.0), calls_max=2_000, steps=CLIMB)
    yield Claim("steps, all calls fail: failing calls served, median", quantile(dead.failed_calls, 0.5), 3)
    forty = run(
        runs // 2, 28, long_sessions(0.01, 0.10), calls_max=9_000, known_units=FORTY, past=STAYING_1, steps=CLIMB
    )
    yield Claim("steps, 40 sessions that stay: seconds to rollback, p95", quantile(forty.calls_until, 0.95) / 30, 240)
    yield Claim("steps, 40 sessions that stay: missed", 1 - len(forty.rollbacks) / forty.runs, 0.05)


def claims(runs: int) -> Iterator[Claim]:
    """All scenarios, each with its claims; `runs` scales them."""
    # More of these: of few rollouts the 95th percentile is decided by a handful.
    bad = run(5 * runs, 1, single_calls(0.01, 0.10), calls_max=4_000)
    yield Claim("1 % -> 10 %: canary calls to rollback, median", quantile(bad.rollbacks, 0.5), 60)
    yield Claim("1 % -> 10 %: canary calls to rollback, p95", quantile(bad.rollbacks, 0.95), 150)
    yield Claim("1 % -> 10 %: missed", 1 - len(bad.rollbacks) / bad.runs, 0.02)

    good = run(runs, 2, single_calls(0.01, 0.01), calls_max=6_000)
    yield Claim("good version: canary calls to promotion, p95", quantile(good.promotions, 0.95), 250)
    yield Claim("good version: rolled back", len(good.rollbacks) / good.runs, 0.01)

    null = run(runs, 3, single_calls(0.01, 0.01), calls_max=1_500, rules=NEVER)
    yield Claim("good version, never promoted, 1,500 calls: rolled back", len(null.rollbacks) / null.runs, 0.01)

    shared = run(runs, 4, single_calls(0.01, 0.01, incident=(200, 900, 0.3)), calls_max=1_500, rules=NEVER)
    yield Claim("good version, shared incident of 30 %: rolled back", len(shared.rollbacks) / shared.runs, 0.01)

    # At an icc of 0.6 a session fails almost always or almost never: it is worth little more than one call.
    for icc, missed in ((0.0, 0.02), (0.3, 0.05), (0.6, 0.25)):
        sticky = run(runs, 5, short_sessions(0.01, 0.01, icc=icc), calls_max=1_500, past=SHORT, rules=NEVER)
        yield Claim(f"good version, sessions, icc {icc}: rolled back", len(sticky.rollbacks) / sticky.runs, 0.01)
        worse = run(runs // 2, 6, short_sessions(0.01, 0.10, icc=icc), calls_max=6_000, past=SHORT, rules=NEVER)
        yield Claim(f"1 % -> 10 %, sessions, icc {icc}: missed", 1 - len(worse.rollbacks) / worse.runs, missed)

    dead = run(runs, 7, single_calls(0.01, 1.0), calls_max=2_000)
    yield Claim("all calls fail: failing calls served, median", quantile(dead.failed_calls, 0.5), 3)

    tool = run(runs // 2, 8, one_broken_tool(20, 0.01, 1.0), calls_max=6_000, rules=NEVER)
    yield Claim("one of 20 tools broken: canary calls to rollback, median", quantile(tool.rollbacks, 0.5), 120)
    yield Claim("one of 20 tools broken: missed", 1 - len(tool.rollbacks) / tool.runs, 0.02)

    # The verdict may hold: what it must not do is promote.
    noisy = run(runs // 2, 16, single_calls(0.15, 0.24), calls_max=20_000, past=NOISY)
    missed = (noisy.undecided + len(noisy.promotions)) / noisy.runs
    yield Claim("15 % -> 24 %, 2,000 canary calls of 20,000: missed", missed, 0.20)
    half = run(runs, 16, single_calls(0.15, 0.24), calls_max=2_000, weight=5_000, past=NOISY)
    missed = (half.undecided + len(half.promotions)) / half.runs
    yield Claim("15 % -> 24 %, 1,000 canary calls of 2,000: missed", missed, 0.20)
    short = run(runs // 2, 17, short_sessions(0.01, 0.10, icc=0.3), calls_max=6_000, past=SHORT, rules=NEVER)
    yield Claim("1 % -> 10 %, sessions, icc 0.3: canary sessions, median", quantile(short.units, 0.5), 25)

    for times, median, p95 in ((2.0, 60, 150), (1.5, 150, 400)):
        slow = run(runs // 2, 18, slower(times), calls_max=8_000, past=TIMED, rules=NEVER)
        yield Claim(f"{times:g} times as slow: canary calls to rollback, median", quantile(slow.rollbacks, 0.5), median)
        yield Claim(f"{times:g} times as slow: canary calls to rollback, p95", quantile(slow.rollbacks, 0.95), p95)
    fine = run(runs, 19, slower(1.0), calls_max=1_500, past=TIMED, rules=NEVER)
    yield Claim("as fast as before: rolled back", len(fine.rollbacks) / fine.runs, 0.01)
    fine = run(runs, 20, slower(1.0, incident=(200, 900, 5.0)), calls_max=1_500, past=TIMED, rules=NEVER)
    yield Claim("as fast as before, shared slowdown: rolled back", len(fine.rollbacks) / fine.runs, 0.01)

    stay: dict[str, object] = {"known_units": FORTY, "past": STAYING}
    for old, past, limit in ((0.0, STAYING, 0.05), (0.01, STAYING_1, 0.05)):
        forty = run(runs // 2, 9, long_sessions(old, 0.10), calls_max=9_000, known_units=FORTY, past=past)
        name = f"40 sessions that stay, {old:.0%} -> 10 %"
        yield Claim(f"{name}: seconds to rollback, median", quantile(forty.calls_until, 0.5) / CALLS_PER_S, 90)
        yield Claim(f"{name}: seconds to rollback, p95", quantile(forty.calls_until, 0.95) / CALLS_PER_S, 180)
        yield Claim(f"{name}: missed", 1 - len(forty.rollbacks) / forty.runs, limit)
    for icc in (0.0, 0.4):
        fine = run(runs, 10, long_sessions(0.02, 0.02, icc=icc), calls_max=4_000, rules=NEVER, **stay)
        yield Claim(f"40 sessions that stay, good, icc {icc}: rolled back", len(fine.rollbacks) / fine.runs, 0.01)
    fine = run(runs // 2, 11, long_sessions(0.0, 0.0), calls_max=9_000, **stay)
    yield Claim("40 sessions that stay, good: promoted", len(fine.promotions) / fine.runs, 0.95, below=False)

    yield from climbing(runs)

    yield from replays(runs)

    held: dict[str, object] = {"weight": 500, "holdback": True, "rules": NEVER}
    fine = run(runs // 2, 12, single_calls(0.01, 0.01), calls_max=2_000, **held)
    yield Claim("probation with holdback, good: rolled back", len(fine.rollbacks) / fine.runs, 0.02)
    worse = run(runs // 4, 13, single_calls(0.01, 0.3), calls_max=4_000, **held)
    yield Claim("probation with holdback, 1 % -> 30 %: missed", 1 - len(worse.rollbacks) / worse.runs, 0.05)

    alone: dict[str, object] = {"probation": True, "past": FEW}
    fine = run(runs, 14, long_sessions(0.01, 0.01, sessions=1), calls_max=500, **alone)
    yield Claim("one client, good: rolled back", len(fine.rollbacks) / fine.runs, 0.01)
    dead = run(runs // 2, 15, long_sessions(0.01, 1.0, sessions=1), calls_max=50, **alone)
    yield Claim("one client, all calls fail: failing calls served, p95", quantile(dead.failed_calls, 0.95), 5)
    yield Claim("one client, all calls fail: missed", 1 - len(dead.rollbacks) / dead.runs, 0.0)


def main() -> int:
    """Prints the claims; the exit code is 1 with `--check` when one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rollouts per scenario")
    parser.add_argument("--check", action="store_true", help="exit 1 when a claim does not hold")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--runs", type=int, default=0, help="rollouts per scenario")
    options = parser.parse_args()
    runs = options.runs or (60 if options.quick else 400)
    began_s = time.perf_counter()
    found: list[Claim] = []
    for claim in claims(runs):
        found.append(claim)
        if not options.json:
            sign = "<=" if claim.below else ">="
            mark = "ok  " if claim.holds else "FAIL"
            print(f"{mark} {claim.name:<62} {claim.found:>8.3f} {sign} {claim.limit:g}", flush=True)
    took_s = time.perf_counter() - began_s
    flagger = flagger_rule.table(runs, seed=1)
    if options.json:
        results = [{"name": c.name, "found": c.found, "limit": c.limit, "holds": c.holds} for c in found]
        rows = [asdict(line) for line in flagger]
        print(json.dumps({"runs": runs, "took_s": round(took_s, 1), "claims": results, "flagger": rows}, indent=2))
    else:
        print(*flagger_rule.told(flagger), sep="\n")
        print(f"{runs} rollouts per scenario, {took_s:.0f} s")
    return int(options.check and not all(claim.holds for claim in found))


if __name__ == "__main__":
    sys.exit(main())
