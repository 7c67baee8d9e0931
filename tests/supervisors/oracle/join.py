"""Joins generated scenarios with the recorded outcomes into one compressed file of JSON lines."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from generate import scenario

if __name__ == "__main__":
    kind, count, seed, outcomes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    lines = [
        json.dumps({"scenario": scenario(kind, seed + n), "outcome": json.loads(line)}, separators=(",", ":"))
        for n, line in enumerate(outcomes.read_text().splitlines())
    ]
    assert len(lines) == count, f"expected {count} outcomes, got {len(lines)}"
    target = Path(__file__).parent / f"{kind}.jsonl.gz"
    target.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
