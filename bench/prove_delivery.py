"""Proves what delivery promises, at length.

    python -m bench.prove_delivery [--quick] [--only verdict,contracts,failpoints,cancellations] [--json] [--check]

verdict         the canary's verdict over simulated traffic: `bench/canary_sim.py`
contracts       100,000 pairs of schemas: none that is called compatible is refuted
failpoints      kill -9 at every named failpoint of every transition; the next life is whole, and nothing happens twice
cancellations   500 cancelled runs whose stages spawned daemons: no process is left

With `--check` a broken promise is exit status 1. About fifteen minutes on two processors; `--quick` a tenth of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from bench import canary_sim, prove_contracts
from bench.delivery_proof import cancellations, failpoints

Part = Callable[[], tuple[dict[str, Any], list[str]]]


def verdict(runs: int) -> tuple[dict[str, Any], list[str]]:
    """The claims of the simulation, and those that do not hold."""
    claims = list(canary_sim.claims(runs))
    broken = [f"{claim.name}: {claim.found:.3f}, limit {claim.limit:g}" for claim in claims if not claim.holds]
    return {"claims": len(claims), "rollouts_each": runs}, broken


def contracts(pairs: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The comparisons, and those that a value refuted."""
    result = prove_contracts.prove(pairs, seed)
    return {"pairs": pairs, **result["found"]}, [json.dumps(one) for one in result["refuted"]]


def _split(result: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return {key: value for key, value in result.items() if key != "problems"}, result["problems"]


def parts(*, quick: bool, seed: int) -> dict[str, Part]:
    """The parts by name."""
    return {
        "verdict": lambda: verdict(60 if quick else 400),
        "contracts": lambda: contracts(10_000 if quick else 100_000, seed),
        "failpoints": lambda: _split(failpoints.prove(2 if quick else 0)),
        "cancellations": lambda: _split(cancellations.prove(30 if quick else 500)),
    }


def main() -> int:
    """Prints each part; the exit code is 1 with `--check` when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--check", action="store_true", help="exit 1 when a promise is broken")
    options = parser.parse_args()
    results = []
    for name, prove in parts(quick=options.quick, seed=options.seed).items():
        if options.only and name not in options.only.split(","):
            continue
        began_s = time.monotonic()
        figures, broken = prove()
        took_s = round(time.monotonic() - began_s, 1)
        results.append({"part": name, "took_s": took_s, **figures, "broken": broken})
        if not options.json:
            print(f"{name}:", *(f"{key}={value}" for key, value in figures.items()), f"({took_s} s)")
            print(*(f"   BROKEN {one}" for one in broken), "held" if not broken else "BROKEN", sep="\n", flush=True)
    if options.json:
        print(json.dumps(results))
    return int(options.check and any(result["broken"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
