"""Proves what delivery promises, at length.

    python -m bench.prove_delivery [--quick] [--only SECTION,SECTION] [--seed N] [--json] [--check]

| section | what must hold |
|---|---|
| verdict | the canary's verdict over simulated traffic, beside Flagger's rule: `bench/canary_sim.py` |
| contracts | of 100,000 pairs of schemas, none that is called compatible is refuted |
| failpoints | `kill -9` at every named failpoint of every transition: the next life is whole, nothing happens twice |
| cancellations | 500 cancelled runs whose stages spawned daemons: no process is left |
| containment | tampered packages, a fork bomb, a full disk, writes elsewhere: contained, told, the next run clean |
| watching | 100,000 files: heard in 20 ms, idle at no cost, healed in 2 s from lost events and missing watches |
| faults | a real server per fault behind the real gateway: the right verdict, no failed call of the good version |
| flips | 1,000 flips under sessions of both eras: nothing fails; new calls leave a bad version within 50 ms |
| warm | the pipeline adds at most 250 ms to its tools, a stage that is unchanged costs at most 20 ms; beside `make` |

The first four run side by side, the others alone, since they measure times. With `--check` a broken promise is exit
status 1. About twenty minutes on two quiet processors; `--quick` a first look of two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import canary_sim, flagger_rule, prove_contracts, recover
from bench.delivery_proof import cancellations, containment, failpoints, faults, warm, watching

Found = dict[str, Any]
"""Figures by name, and `problems`, in words."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the proof.

    Attributes:
        name: On the command line.
        prove: Makes it, given whether a first look is enough, and a seed.
        alone: Whether it measures times, and nothing may run beside it.
    """

    name: str
    prove: Callable[[bool, int], Found]
    alone: bool = False


def verdict(quick: bool, seed: int) -> Found:
    """The claims of the simulation, those that do not hold, and what Flagger's rule would do."""
    runs = 60 if quick else 250
    claims = [claim for some in canary_sim.claims(runs, seed) for claim in some]
    # With few rollouts a quantile near its limit is decided by one of them.
    broken = [] if quick else [claim for claim in claims if not claim.holds]
    lines = flagger_rule.table(runs, seed)
    good = [line.rolled_back for line in lines if line.failing < 0.05]
    missed = [1 - line.rolled_back for line in lines if line.failing > 0.05]
    return {
        "claims": len(claims),
        "held": sum(claim.holds for claim in claims),
        "rollouts_each": runs,
        "flagger_good_rolled_back_max": max(good),
        "flagger_bad_missed_max": round(max(missed), 3),
        "lines": flagger_rule.told(lines),
        "problems": [f"{claim.name}: {claim.found:.3f}, limit {claim.limit:g}" for claim in broken],
    }


def contracts(quick: bool, seed: int) -> Found:
    """The comparisons, and those that a value refuted."""
    pairs = 10_000 if quick else 100_000
    result = prove_contracts.prove(pairs, seed)
    return {"pairs": pairs, **result["found"], "problems": [json.dumps(one) for one in result["refuted"]]}


def flips(quick: bool, _seed: int) -> Found:
    """The flips and the rollbacks of `bench/recover.py`."""
    options = argparse.Namespace(flips=100 if quick else 1_000, rollbacks=10 if quick else 100, json=True)
    with tempfile.TemporaryDirectory(prefix="prove-flips-") as folder:
        found = [asyncio.run(part(options, Path(folder))) for part in (recover.flips, recover.rollbacks)]
    shown = ("faults", "calls", "failed_calls", "sessions_lost", "gap_ms_max")
    figures = {f"{one.part}_{name}": getattr(one, name) for one in found for name in shown}
    switches = {name: getattr(found[1], name) for name in ("switch_ms_p50", "switch_ms_p99", "probes")}
    return {**figures, **switches, "problems": recover.broken(found)}


SECTIONS: Final = (
    Section("verdict", verdict),
    Section("cancellations", lambda quick, _: cancellations.prove(30 if quick else 500)),
    Section("contracts", contracts),
    Section("failpoints", lambda quick, _: failpoints.prove(2 if quick else 0)),
    Section("containment", lambda _, __: containment.prove(), alone=True),
    Section(
        "watching", lambda quick, seed: watching.prove(watching.QUICK if quick else watching.FULL, seed), alone=True
    ),
    Section(
        "faults", lambda quick, seed: faults.prove(faults.QUICK if quick else tuple(faults.EXPECTED), seed), alone=True
    ),
    Section("flips", flips, alone=True),
    Section("warm", lambda quick, _: warm.prove(4 if quick else 12, 10 if quick else 60), alone=True),
)


def run(name: str, quick: bool, seed: int) -> Found:
    """One section, with how long it took. What could not be proven is not held."""
    section = next(section for section in SECTIONS if section.name == name)
    began_s = time.monotonic()
    try:
        found = section.prove(quick, seed)
    except (Exception, SystemExit) as error:
        found = {"problems": [f"the proof itself failed: {type(error).__name__}: {error}"]}
    return {**found, "took_s": round(time.monotonic() - began_s, 1)}


def prove(wanted: list[Section], *, quick: bool, seed: int) -> Iterator[tuple[str, Found]]:
    """The findings of each section when it is done."""
    # Spawned: some sections fork processes of their own, which may not share this one's.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=context) as pool:
        beside = {pool.submit(run, section.name, quick, seed): section for section in wanted if not section.alone}
        for done in as_completed(beside):
            yield beside[done].name, done.result()
    for section in wanted:
        if section.alone:
            yield section.name, run(section.name, quick, seed)


def main() -> int:
    """Prints each section; the exit code is 1 with `--check` when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a first look at everything")
    parser.add_argument("--only", default="", help="sections, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--check", action="store_true", help="exit 1 when a promise is broken")
    options = parser.parse_args()
    names = [section.name for section in SECTIONS]
    only = options.only.split(",") if options.only else names
    if unknown := set(only) - set(names):
        parser.error(f"--only: expected some of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    results: dict[str, Found] = {}
    wanted = [section for section in SECTIONS if section.name in only]
    for name, found in prove(wanted, quick=options.quick, seed=options.seed):
        results[name] = found
        if not options.json:
            figures = (f"{key}={value}" for key, value in found.items() if not isinstance(value, list))
            mark = "BROKEN" if found["problems"] else "held"
            print(f"{mark:6} {name:13}", *figures)
            for line in found.get("lines", ()):
                print(f"       {line}")
            for problem in found["problems"]:
                print(f"       ! {problem}")
            sys.stdout.flush()
    if options.json:
        print(json.dumps({"seed": options.seed, "sections": results}))
    return int(options.check and any(found["problems"] for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
