"""Fails each write and each flush of a store in turn, and looks at what the store makes of it.

A child runs short lives of the store, each in a new folder: opening, some steps of the ledger, closing. In life n the
n-th operation fails, by each way that a disk has, once or until the disk is well again. What was refused must not be
there, what was acknowledged must; after the failure the store works again without being opened anew, and the next node
opens it. An error while the store is opened must refuse the opening, in words, and leave nothing in the way.

Afterwards the power is cut at moments after failures: bytes whose flush failed may be on disk or not, whatever later
flushes said.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import sys
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.storage_proof import cuts, ledger, shim
from bench.storage_proof.crash_states import Disk
from bench.storage_proof.cuts import Told
from bench.storage_proof.ledger import Acknowledged, Counted, Ledger
from bench.storage_proof.shim import Faults, Kinds, Mode
from henslowe.errors import HensloweError, StorageDegraded
from henslowe.storage import Store, TableSpec

STEPS = 6
LATE = TableSpec(name="late", row_type=Counted, key="row")
STEP_S_MAX = 20.0
REFUSALS_MAX = 3
CUT_STRIDE_MAX = 13
"""However few lives are wanted, the flush of a data file must fail in some."""
SOON = 15
"""Records after a failed flush within which the power is cut: some two commits."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of failing."""

    name: str
    kinds: Kinds
    mode: Mode
    error: int
    lasting: bool = False


WAYS = (
    Way("write EIO", Kinds.WRITES, Mode.NOTHING_DONE, errno.EIO),
    Way("write ENOSPC", Kinds.WRITES, Mode.NOTHING_DONE, errno.ENOSPC),
    Way("write cut short", Kinds.WRITES, Mode.CUT_SHORT, errno.EIO),
    Way("write EIO after all", Kinds.WRITES, Mode.ALL_DONE, errno.EIO),
    Way("flush EIO", Kinds.FLUSHES, Mode.NOTHING_DONE, errno.EIO),
    Way("writes and flushes EIO for a while", Kinds.WRITES | Kinds.FLUSHES, Mode.NOTHING_DONE, errno.EIO, lasting=True),
    Way("writes and flushes ENOSPC for a while", Kinds.WRITES, Mode.NOTHING_DONE, errno.ENOSPC, lasting=True),
)


class _Life:
    """One life of a store in which one operation fails."""

    def __init__(self, folder: Path, faults: Faults, acks: int, number: int) -> None:
        self._folder, self._faults, self._acks, self._number = folder, faults, acks, number
        self._acknowledged = Acknowledged()
        self.found: Counter[str] = Counter()

    async def live(self, way: Way, at: int) -> list[str]:
        """What went wrong; `found` has "hit" if an operation failed at all."""
        self._faults.arm(way.kinds, at, way.mode, way.error, lasting=way.lasting)
        try:
            async with ledger.opened(self._folder) as store:
                book = Ledger(store, random.Random(at))
                for number in range(STEPS):
                    await self._try(book.step())
                    if number == STEPS // 2:
                        await self._try(book.share(1))
                        self._open_late(store)
                self.found["hit"] += self._faults.disarm()
                wrong = await self._recover(book) + ledger.wrong_with(store, self._acknowledged)
                if wrong:
                    return [f"in memory: {one}" for one in wrong]
        except HensloweError:
            # Opening the store, or a table in it.
            self.found["opening refused"] += 1
            self.found["hit"] += self._faults.disarm()
        except Exception as error:
            self.found["hit"] += self._faults.disarm()
            return [f"raised {type(error).__name__}: {error}"[:150]]
        clean = not (self._folder / "running").exists()
        return ledger.check(self._folder, self._acknowledged, clean=clean)

    def _open_late(self, store: Store) -> None:
        """A table that is opened while the store works: its first commit is none of the writer's."""
        try:
            store.table(LATE)
        except HensloweError:
            self.found["tables refused"] += 1

    async def _try(self, step: Any) -> bool:
        """Whether the step passed."""
        try:
            told = await asyncio.wait_for(step, STEP_S_MAX)
        except StorageDegraded:
            self.found["refused"] += 1
            return False
        self._acknowledged.add(told)
        os.write(self._acks, json.dumps({"life": self._number, **told}).encode())
        return True

    async def _recover(self, book: Ledger) -> list[str]:
        """The disk is well: soon a step must pass, and then each."""
        for _ in range(REFUSALS_MAX):
            if await self._try(book.step()):
                return [] if await self._try(book.step()) else ["refuses again on a disk that is well"]
        return ["still refuses on a disk that is well"]


async def _sweep(root: Path, way_numbers: list[int], stride: int, *, keep: bool) -> dict[str, Any]:
    """What the child does: life after life, until no operation is left to fail."""
    faults = Faults()
    acks = os.open(root / cuts.ACKS, os.O_WRONLY | os.O_CREAT)
    found: Counter[str] = Counter()
    problems: list[str] = []
    for way_number in way_numbers:
        way, at = WAYS[way_number], 1
        while True:
            number = found["lives"]
            folder = root / f"life{number}"
            life = _Life(folder, faults, acks, number)
            problems += [f"{one} ({way.name} at {at})" for one in await life.live(way, at)]
            found.update(life.found)
            found["lives"] += 1
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            if not life.found["hit"]:
                break
            at += stride
    return {**found, "problems": problems[:20]}


def run(stride: int, seed: int, folder: Path) -> dict[str, Any]:
    """Every `stride`-th operation fails (1: each of them), then cuts after failures."""
    if why := shim.missing():
        return {"skipped": why, "problems": []}
    folder.mkdir(parents=True)
    library, module = shim.build(folder), "bench.storage_proof.io_errors"
    root = folder / "root"
    root.mkdir()
    ways = ",".join(map(str, range(len(WAYS))))
    found = json.loads(shim.run_child(library, module, str(root), ways, str(stride), "", root=root))
    # Flushes that failed, and writes whose own flush did: what a cut can make of these.
    doubtful = ",".join(str(at) for at, way in enumerate(WAYS) if way.mode is Mode.ALL_DONE or way.name == "flush EIO")
    cut_root, log = folder / "cut-root", folder / "log"
    cut_root.mkdir()
    cut_stride = str(min(stride * 3, CUT_STRIDE_MAX))
    shim.run_child(library, module, str(cut_root), doubtful, cut_stride, "keep", root=cut_root, log=log)
    cut_count = max(50, 2_000 // stride)
    bad = _cut(log, cut_root, cut_count, seed)
    return {**found, "cuts": cut_count, "bad": bad.total(), "problems": [*found["problems"], *bad][:20]}


def _cut(log: Path, root: Path, count: int, seed: int) -> Counter[str]:
    """Problems of disks after a cut soon after a failed flush."""
    records, dice = list(shim.read_log(log)), random.Random(seed)
    failed = [at for at, record in enumerate(records) if record.op == "F"]
    if not failed:
        return Counter(["no flush failed, so nothing was cut"])
    moments = sorted(min(dice.choice(failed) + dice.randrange(1, SOON), len(records)) for _ in range(count))
    begun = [at for at, record in enumerate(records) if record.op == "M" and Path(record.paths[0]).parent == root]
    scratch = root.with_name("cut")

    def look(disk: Disk, dice: random.Random, at: int, told: Told) -> list[str]:
        life = bisect_left(begun, at) - 1
        disk.state(dice, scratch, only=f"life{life}")
        acknowledged = Acknowledged()
        for one in told:
            if one["life"] == life:
                acknowledged.add(one)
        data = scratch / f"life{life}"
        data.mkdir(exist_ok=True)
        return ledger.check(data, acknowledged, clean=not (data / "running").exists())

    return cuts.cut(records, root, moments, seed, look)


if __name__ == "__main__":
    _root, _ways, _stride, _keep = sys.argv[1:]
    _told = asyncio.run(_sweep(Path(_root), [int(way) for way in _ways.split(",")], int(_stride), keep=bool(_keep)))
    print(json.dumps(_told))
