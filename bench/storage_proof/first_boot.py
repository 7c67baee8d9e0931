"""Cuts the power while a store is created: whatever the disk then holds must open, empty or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.storage_proof import cuts, power, shim


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """`count` disks of the time before the first acknowledgement."""
    if why := shim.missing():
        return {"skipped": why, "problems": []}
    records, root = power.trace(folder, seed), folder / "root"
    first = cuts.first_ack(records, root)
    found = power.states(records, root, count, seed, flushes=True, until=first)
    return {"states": count, "bad": found.total(), "log_records": first, "problems": [*found][:20]}
