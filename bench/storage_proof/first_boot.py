"""Cuts the power while a store is created: whatever the disk then holds must open, empty or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.storage_proof import power, shim


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """`count` disks of the time before the first acknowledgement."""
    if why := shim.missing():
        return {"skipped": why, "problems": []}
    records, root = power.trace(folder, seed), folder / "root"
    acks = next(record.file for record in records if record.op == "C" and record.paths[0] == str(root / power.ACKS))
    first = next(at for at, record in enumerate(records) if record.op == "W" and record.file == acks)
    found = power.states(records, root, count, seed, flushes=True, until=first)
    return {"states": count, "bad": found.total(), "log_records": first, "problems": [*found][:20]}
