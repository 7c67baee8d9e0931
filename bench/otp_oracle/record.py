"""Records what real OTP does with random scenarios. Needs `elixir` on PATH.

    python bench/otp_oracle/record.py static 1000 1      # kind, number, first seed

writes `tests/supervisors/oracle/<kind>.jsonl.gz`, the scenarios that the tests play. Other seeds give fresh ones; see
`bench/prove_kernel.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from otp_oracle.generate import scenario, term

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "tests" / "supervisors" / "oracle"
SCRIPTS = {"static": "trees.exs", "dynamic": "trees.exs", "peers": "peers.exs"}


def is_possible() -> bool:
    """Whether Elixir is installed."""
    return shutil.which("elixir") is not None


def record(kind: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Plays `count` scenarios on OTP; each with its outcome."""
    with TemporaryDirectory() as folder:
        asked, told = Path(folder) / "scenarios.terms", Path(folder) / "outcomes"
        scenarios = [scenario(kind, seed + number) for number in range(count)]
        asked.write_text("".join(f"{term(one)}.\n" for one in scenarios), encoding="utf-8")
        subprocess.run(["elixir", HERE / SCRIPTS[kind], asked, told], check=True, timeout=600)
        outcomes = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    assert len(outcomes) == count, f"expected {count} outcomes, got {len(outcomes)}"
    return [{"scenario": one, "outcome": outcome} for one, outcome in zip(scenarios, outcomes, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(SCRIPTS))
    parser.add_argument("count", type=int, help="how many scenarios")
    parser.add_argument("seed", type=int, help="the first one's seed")
    options = parser.parse_args()
    recorded = record(options.kind, options.count, options.seed)
    lines = "\n".join(json.dumps(one, separators=(",", ":")) for one in recorded)
    target = FIXTURES / f"{options.kind}.jsonl.gz"
    target.write_bytes(gzip.compress(lines.encode(), mtime=0))
    print(f"{target}: {len(recorded)} scenarios")
    return 0


if __name__ == "__main__":
    sys.exit(main())
