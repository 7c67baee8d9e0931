"""Flagger's rule over the same traffic as ours, for the comparison in `bench/canary_sim.py`.

Each minute the success rate of the canary's calls is compared with 99 %. A check that fails is counted, and so is one
without traffic; the count is never reset. At the threshold the version is rolled back; a check that passes raises the
weight by ten points, and beyond fifty the version is promoted.

Source: Flagger's documentation and `pkg/controller/scheduler.go` (1.44), read, not run.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

SUCCESS_MIN: Final = 0.99
STEP, MOST = 10, 50
"""Percent."""
MINUTES_MAX: Final = 10_000
NORMAL_FROM: Final = 60
"""From this mean on, counts are drawn as rounded normal variates."""


@dataclass(slots=True, frozen=True)
class Line:
    """What the rule makes of one version at one rate of calls."""

    calls_per_min: int
    threshold: int
    failing: float
    """Of the new version's calls."""
    rolled_back: float
    calls_p50: int
    """Of the canary, until the rollback."""
    calls_p95: int
    failed_p50: int
    """Of these, those that failed."""


def decide(rng: random.Random, calls_per_min: int, failing: float, threshold: int) -> tuple[bool, int, int]:
    """One rollout: whether it was rolled back, and the canary's calls and failures until it was decided."""
    weight, failed_checks, calls, failures = STEP, 0, 0, 0
    for _ in range(MINUTES_MAX):
        met = _poisson(rng, calls_per_min * weight / 100)
        bad = _binomial(rng, met, failing)
        calls, failures = calls + met, failures + bad
        if met == 0 or met - bad < SUCCESS_MIN * met:
            failed_checks += 1
            if failed_checks >= threshold:
                return True, calls, failures
            continue
        weight += STEP
        if weight > MOST:
            break
    return False, calls, failures


def table(runs: int, seed: int) -> list[Line]:
    """A good version (1 %) and a bad one (10 %), from one call a minute to a hundred a second."""
    lines = []
    for threshold in (5, 10):
        for calls_per_min in (1, 10, 60, 600, 6_000):
            for failing in (0.01, 0.10):
                rng = random.Random(f"{seed} {threshold} {calls_per_min} {failing}")
                ends = [decide(rng, calls_per_min, failing, threshold) for _ in range(runs)]
                back = sorted((calls, failures) for rolled_back, calls, failures in ends if rolled_back)
                half = back[len(back) // 2] if back else (0, 0)
                most = back[min(len(back) - 1, int(0.95 * len(back)))] if back else (0, 0)
                failed = sorted(failures for _, failures in back)
                lines.append(
                    Line(
                        calls_per_min,
                        threshold,
                        failing,
                        round(len(back) / runs, 3),
                        half[0],
                        most[0],
                        failed[len(failed) // 2] if failed else 0,
                    )
                )
    return lines


def told(lines: list[Line]) -> list[str]:
    """The table, for people."""
    names = f"{'calls a minute':>14} {'threshold':>9} {'fails':>6} {'rolled back':>11}"
    head = f"{names} {'calls p50':>9} {'p95':>6} {'failed':>6}"
    rows = [
        f"{line.calls_per_min:>14} {line.threshold:>9} {line.failing:>6.0%} {line.rolled_back:>11.1%} "
        f"{line.calls_p50:>9} {line.calls_p95:>6} {line.failed_p50:>6}"
        for line in lines
    ]
    return ["Flagger's rule, one minute a check:", head, *rows]


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > NORMAL_FROM:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, product, enough = 0, rng.random(), math.exp(-mean)
    while product > enough:
        count, product = count + 1, product * rng.random()
    return count


def _binomial(rng: random.Random, trials: int, chance: float) -> int:
    if trials * min(chance, 1 - chance) > NORMAL_FROM:
        drawn = round(rng.gauss(trials * chance, math.sqrt(trials * chance * (1 - chance))))
        return min(trials, max(0, drawn))
    return sum(rng.random() < chance for _ in range(trials))
