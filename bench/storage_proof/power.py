"""Cuts the power at any moment of a store's life, first boot included, and opens what the disk may then hold.

A child runs the ledger for two lives on a logged file system; `states` moments of the log are drawn, and for each the
disk that it may have left (`crash_states`). Acknowledgements are part of the log, so it is known what each disk owes.
Control: the same log without its flushes must leave disks that do not hold; else this proof could not see.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.storage_proof import cuts, ledger, shim
from bench.storage_proof.crash_states import Disk
from bench.storage_proof.cuts import Told
from bench.storage_proof.ledger import Acknowledged, Ledger
from bench.storage_proof.shim import Record

STEPS = 120


async def _live(root: Path, seed: int) -> None:
    """What the child does: two lives, each acknowledgement in a file that the log holds too."""
    dice = random.Random(seed)
    acks = os.open(root / cuts.ACKS, os.O_WRONLY | os.O_CREAT)
    captured = 0
    for life in range(2):
        async with ledger.opened(root / "data") as store:
            book = Ledger(store, dice)

            async def tell(told: Any) -> None:
                os.write(acks, json.dumps(await told).encode())

            for step in range(STEPS // 8):
                await asyncio.gather(*(tell(book.step()) for _ in range(8 if step % 2 else 2)))
                if step % 2 == 0:
                    captured += 1
                    os.write(acks, json.dumps(book.record(captured)).encode())
                if step % 4 == 0:
                    await tell(book.share(life * 1_000 + step + 1))
                if step % 5 == 0:
                    os.write(acks, json.dumps(book.archive(root.parent / "tree")).encode())


def trace(folder: Path, seed: int) -> list[Record]:
    """The log of one run."""
    root, log = folder / "root", folder / "log"
    root.mkdir(parents=True)
    shim.run_child(shim.build(folder), "bench.storage_proof.power", str(root), str(seed), root=root, log=log)
    return list(shim.read_log(log))


def states(records: list[Record], root: Path, count: int, seed: int, *, flushes: bool, until: int = 0) -> Counter[str]:
    """Problems of `count` disks after cuts within the first `until` records (0: all), by what they are."""
    moments = sorted(random.Random(seed).randrange(1, (until or len(records)) + 1) for _ in range(count))
    scratch = root.with_name("cut")

    def look(disk: Disk, dice: random.Random, _at: int, told: Told) -> list[str]:
        disk.state(dice, scratch)
        acknowledged = Acknowledged()
        for one in told:
            acknowledged.add(one)
        data = scratch / "data"
        data.mkdir(exist_ok=True)
        # Laying it anew costs more than the rest of the check.
        (data / "ballast").touch()
        return ledger.check(data, acknowledged, clean=not (data / "running").exists())

    return cuts.cut(records, root, moments, seed, look, flushes=flushes)


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """`count` disks that must hold, a tenth as many of the first boot, and a control that must not."""
    if why := shim.missing():
        return {"skipped": why, "problems": []}
    records = trace(folder, seed)
    root = folder / "root"
    found = states(records, root, count, seed, flushes=True)
    control = states(records, root, max(20, count // 50), seed, flushes=False)
    problems = [*found][:20]
    if not control:
        problems.append("the control, a disk that forgets its flushes, was not noticed")
    return {
        "states": count,
        "bad": found.total(),
        "control_states": max(20, count // 50),
        "control_bad": control.total(),
        "log_records": len(records),
        "problems": problems,
    }


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1]), int(sys.argv[2])))
