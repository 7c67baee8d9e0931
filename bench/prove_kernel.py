"""Proves what the kernel promises, at length.

    python bench/prove_kernel.py [--quick] [--only scenarios,kills,asks,churn] [--seed N] [--json] [--check]

scenarios   20,000 random ones are recorded on real OTP and played on ours: no mismatch (where Elixir is installed)
kills       a spinning process actor with detached grandchildren is gone, 500 times of 500; callers of killed loop and
            thread actors are released
asks        1,000,000 asks race with stops and kills: each ends in a reply or an error
churn       a tree of 10,000 children crashes at random for 60 s: nothing leaks, memory stays flat

With `--check` a broken promise is exit status 1. The seed is new each time, and printed. About eight minutes on two
processors; `--quick` does a twentieth.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from kernel_proof import asks, churn, kills, scenarios
from kernel_proof.outcome import Outcome


def parts(options: argparse.Namespace) -> dict[str, Callable[[], Outcome]]:
    """The parts of the proof by name."""
    share = 20 if options.quick else 1
    return {
        "scenarios": lambda: scenarios.prove(20_000 // share, 200 // share, options.seed),
        "kills": lambda: kills.prove(500 // share),
        "asks": lambda: asks.prove(1_000_000 // share, options.seed),
        "churn": lambda: churn.prove(10_000, 60.0 / (5 if options.quick else 1), options.seed),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6, 10**9), help="of everything random")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="fail when a promise is broken")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # a million crashes on purpose
    outcomes = []
    for name, prove in parts(options).items():
        if options.only and name not in options.only.split(","):
            continue
        began = time.monotonic()
        outcome = prove()
        outcome.figures["took_s"] = round(time.monotonic() - began, 1)
        outcomes.append(outcome)
        if not options.json:
            print(f"{name}:")
            for figure, value in outcome.figures.items():
                print(f"   {figure:28} {value}")
            for promise in outcome.broken:
                print(f"   BROKEN {promise}")
            sys.stdout.flush()
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
    return 1 if options.check and any(outcome.broken for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
