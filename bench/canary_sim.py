"""Proves the canary verdict: simulates traffic, seeded, against the code that ships.

    python bench/canary_sim.py            # some minutes, on two processes
    python bench/canary_sim.py --quick    # some seconds, for CI
    python bench/canary_sim.py --check    # exit 1 when a claim does not hold
    python bench/canary_sim.py --only "1 % -> 10 %" --seed 2
    python bench/canary_sim.py --json

Scenarios run side by side, each with a seed of its own, made of `--seed` and its name: the figures do not depend on
the number of processes, nor on which scenarios are run. At the end, what Flagger's rule makes of a good and a bad
version at five rates of calls (`bench/flagger_rule.py`).

What is promised: `bench/verdict_proof/scenarios.py`. What is simulated: the modules beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import flagger_rule
from bench.verdict_proof.scenarios import SCENARIOS, Claim, Scenario

RUNS: Final = 400
RUNS_QUICK: Final = 60
WORKERS_MAX: Final = 2


def claims(runs: int, seed: int = 1, *, only: str = "", workers: int = 1) -> Iterator[list[Claim]]:
    """The claims of each scenario, in the order of `SCENARIOS`; `runs` scales them.

    Args:
        runs: Rollouts per scenario, more or less (`Scenario.times`).
        seed: Of all of them.
        only: Part of the names of those that are wanted.
        workers: Processes; 1 for none but this one.
    """
    wanted = [at for at, scenario in enumerate(SCENARIOS) if only in scenario.name]
    if workers == 1:
        yield from (_claims(at, runs, seed) for at in wanted)
        return
    # Spawned: the same on each platform. Scenarios are named by their place, since what they play cannot be sent.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        begun: dict[int, Future[list[Claim]]] = {}
        for at in sorted(wanted, key=lambda at: -_length(SCENARIOS[at])):
            begun[at] = pool.submit(_claims, at, runs, seed)
        yield from (begun[at].result() for at in wanted)


def _claims(at: int, runs: int, seed: int) -> list[Claim]:
    return SCENARIOS[at].claims(runs, seed)


def _length(scenario: Scenario) -> float:
    return scenario.times * scenario.cost


def told(claim: Claim) -> str:
    """One line, for people."""
    mark, sign = "ok  " if claim.holds else "FAIL", "<=" if claim.below else ">="
    return f"{mark} {claim.name:<84} {claim.found:>8.3f} {sign} {claim.limit:g}"


def main() -> int:
    """Prints the claims; the exit code is 1 with `--check` when one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rollouts per scenario")
    parser.add_argument("--check", action="store_true", help="exit 1 when a claim does not hold")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--runs", type=int, default=0, help=f"rollouts per scenario (default {RUNS})")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default 1)")
    parser.add_argument("--only", default="", help="part of the names of the scenarios that are wanted")
    parser.add_argument("--workers", type=int, default=min(WORKERS_MAX, os.cpu_count() or 1), help="processes")
    options = parser.parse_args()
    runs = options.runs or (RUNS_QUICK if options.quick else RUNS)
    began_s = time.perf_counter()
    found: list[Claim] = []
    for some in claims(runs, options.seed, only=options.only, workers=max(1, options.workers)):
        found += some
        if not options.json:
            print(*map(told, some), sep="\n", flush=True)
    took_s = time.perf_counter() - began_s
    flagger = flagger_rule.table(runs, options.seed)
    if options.json:
        results = [{"name": c.name, "found": c.found, "limit": c.limit, "holds": c.holds} for c in found]
        rows = [asdict(line) for line in flagger]
        about = {"runs": runs, "seed": options.seed, "took_s": round(took_s, 1)}
        print(json.dumps({**about, "claims": results, "flagger": rows}, indent=2))
    else:
        print(*flagger_rule.told(flagger), sep="\n")
        held = sum(claim.holds for claim in found)
        print(f"{held} of {len(found)} claims held, {runs} rollouts per scenario, seed {options.seed}, {took_s:.0f} s")
    return int(options.check and not all(claim.holds for claim in found))


if __name__ == "__main__":
    sys.exit(main())
