"""Proves that contracts are compared soundly: what is called compatible is never refuted by a value.

    python bench/prove_contracts.py [--pairs 100000] [--seed N] [--json] [--check]

Random schemas and edits of them; wherever no gap is found between the old and the new one, random values that the old
one accepts are given to the new one, by a validator that has nothing to do with the comparison. A single one that is
refused breaks the promise. Gaps for which no value turns up are counted: they may be real and rare, or too careful.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from henslowe.actors.contracts import Why, gaps
from tests.actors.contracts import schemas

VALUES = 100


def prove(pairs: int, seed: int) -> dict[str, Any]:
    """Counts what became of so many pairs."""
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    spent_s = 0.0
    refuted: list[dict[str, Any]] = []
    while sum(found.values()) < pairs:
        old = schemas.document(dice)
        new = schemas.changed(dice, old)
        try:
            of_old, of_new = map(jsonschema_rs.Draft202012Validator, (old, new))
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
            continue
        began_s = time.perf_counter()
        between = gaps(old, new)
        spent_s += time.perf_counter() - began_s
        values = (schemas.value(dice) for _ in range(VALUES))
        witness = next(([value] for value in values if of_old.is_valid(value) and not of_new.is_valid(value)), [])
        if not between:
            found["refuted" if witness else "compatible"] += 1
            if witness:
                refuted.append({"old": old, "new": new, "value": witness[0]})
        elif witness:
            found["broken, with a value that shows it"] += 1
        elif any(gap.why is Why.UNPROVEN for gap in between):
            found["no proof"] += 1
        else:
            found["broken, with no value found"] += 1
    return {"pairs": pairs, "us_per_pair": round(spent_s / pairs * 1e6), "found": dict(found), "refuted": refuted[:5]}


def main() -> int:
    """Prints the counts; the exit code is 1 with `--check` when a verdict was refuted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a verdict was refuted")
    options = parser.parse_args()
    result = prove(options.pairs, options.seed)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{result['pairs']} pairs, {result['us_per_pair']} us each")
        for name, count in sorted(result["found"].items()):
            print(f"{count:8,}  {name}")
        print("BROKEN" if result["refuted"] else "held", f"(seed {options.seed})", *result["refuted"])
    return 1 if options.check and result["refuted"] else 0


if __name__ == "__main__":
    sys.exit(main())
