"""Simulated rollouts: traffic routed by the real `Route.pick` and judged by the real `Evidence`, until it is decided.

Not here: what the traffic is like (`bench.verdict_proof.traffic`), what is promised (`bench.verdict_proof.scenarios`).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Final

from bench.verdict_proof.traffic import Traffic
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Decision
from henslowe.actors.router import Evidence, Past, Rules, Trial
from henslowe.actors.routes import WEIGHT_SCALE, CallRecord, Outcome, Route, balanced_salt
from henslowe.config.ramp import Step

SERVICE: Final = ServiceName("sim")
OLD, NEW = VersionKey(SERVICE, 1), VersionKey(SERVICE, 2)
NEVER: Final = Rules(beta=1e-300)
"""Rules that never promote, to count false rollbacks over a whole run."""
BUSY: Final = Past(units=1_000, calls_per_unit=1.0, calls=300, failures=3)
LOOK_CALLS: Final = 10
"""How often a verdict is asked for while nothing fails; after a failure at once, as the router does."""


@dataclass(slots=True)
class Outcomes:
    """What became of the rollouts of one scenario."""

    rollbacks: list[int] = field(default_factory=list)
    """Calls of the new version until each rollback."""
    promotions: list[int] = field(default_factory=list)
    """The same until each promotion."""
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


def quantile(values: list[int], q: float, runs: int) -> float:
    """The q-quantile over so many runs. A run without a value never came to it: it counts as infinite."""
    at = int(q * runs)
    return sorted(values)[at] if at < len(values) else math.inf


def run(runs: int, seed: int | str, traffic: Traffic, **options: object) -> Outcomes:
    """So many rollouts of one kind of traffic; the options are those of `rollout`."""
    out = Outcomes()
    rng = random.Random(seed)
    for _ in range(runs):
        rollout(traffic, rng, out, **options)  # type: ignore[arg-type]
    return out


def rollout(
    traffic: Traffic,
    rng: random.Random,
    out: Outcomes,
    *,
    calls_max: int,
    weight: int = 1_000,
    rules: Rules = Rules(),  # noqa: B008 (frozen)
    past: Past = BUSY,
    known_units: tuple[str, ...] = (),
    holdback: bool = False,
    probation: bool = False,
    steps: tuple[Step, ...] = (),
) -> None:
    """One rollout, judged after each failure and every tenth call as the router does.

    With steps, each verdict to advance is obeyed at once, as the version machine does where nothing makes it wait.
    """
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
    evidence = Evidence(trial, rules, past)
    for at, call in enumerate(traffic(rng), 1):
        arm, version = route.pick(call.unit)
        new = version == NEW
        failed = call.fails_new if new else call.fails_old
        outcome = Outcome.INTERNAL_ERROR if failed else Outcome.OK
        took_s = call.new_s if new else call.old_s
        evidence.update(
            CallRecord(version, arm, call.unit, call.session, call.tool, outcome, took_s, at * 0.02, route.epoch)
        )
        if failed or at % LOOK_CALLS == 0:
            decision = evidence.find().decision
            if decision is Decision.ADVANCE:
                trial, route = _next_step(trial, route, steps)
                evidence.move_on(trial)
            elif decision is Decision.ROLL_BACK:
                out.rollbacks.append(evidence.new.calls)
                out.failed_calls.append(evidence.new.failures)
                out.calls_until.append(at)
                out.units.append(evidence.numbers()["units"])
                return
            elif decision is Decision.PROMOTE:
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
