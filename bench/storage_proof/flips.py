"""Damages the file of a closed store: one bit, a sector of 512 bytes, or a page of 4 KiB that became zeros.

Each damaged store is opened as after an unclean stop, in a child that may die of it. Every value must be what was
written or an error: never another one, never silently missing. What is *set aside* by name (quarantined) is an error
that lets the rest be read. Damage of free space changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.storage_proof import ledger, workers
from bench.storage_proof.ledger import Counted
from henslowe.errors import Corrupt, HensloweError
from henslowe.storage import EventDraft, Store

ROWS = 200
KINDS = {"bit": 0, "sector": 512, "page": 4096}
OUTCOMES = ("unharmed", "refused", "quarantined", "crashed", "wrong", "missing")


async def _fill(folder: Path) -> None:
    async with ledger.opened(folder) as store:
        table = store.table(ledger.COUNTED)
        for row in range(ROWS):
            txn = store.transaction()
            txn.put(table, _written(row))
            txn.append(EventDraft("lifecycle", "T", "INFO", "s", row, {"value": row * 7}))
            await txn.commit()


def _written(row: int) -> Counted:
    return Counted(row=row, value=row * 7, load=bytes([row]) * 300)


def _outcome(folder: Path) -> str:
    """How a node that finds this store sees it."""
    try:
        store = Store.open(folder, ledger.NODE, ledger.SETTINGS)
    except HensloweError:
        return "refused"
    try:
        rows, aside = _rows(store)
        said = {event.version: event.data["value"] for event in store.events.scan()}
        by_type = {event.version: event.data["value"] for event in store.events.scan(types="T")}
    except HensloweError:
        return "refused"
    finally:
        store.close()
    wrong_row = any(row != _written(key) for key, row in rows.items())
    if wrong_row or any(value != version * 7 for log in (said, by_type) for version, value in log.items()):
        return "wrong"
    if not len(rows) + aside == len(said) == len(by_type) == ROWS:
        return "missing"
    return "quarantined" if aside else "unharmed"


def _rows(store: Store) -> tuple[dict[int, Counted], int]:
    """The rows that are there, and how many say that they are damaged."""
    table, aside = store.table(ledger.COUNTED), 0
    found: dict[int, Counted] = {}
    for key in range(ROWS):
        try:
            row = table.lookup(key)
        except Corrupt:
            aside += 1
            continue
        if row is not None:
            found[key] = row
    walked = {row.row: row for row in table.rows()}
    return (found, aside) if walked == found else ({}, 0)


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Damages `count` copies of a store, each way in turn."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(_fill(folder))
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the store to damage could not be written")
    whole = (folder / "core" / "data.mdb").read_bytes()
    damaged_folder, kinds = folder.with_name(f"{folder.name}-damaged"), tuple(KINDS)

    def damage(first: int, count: int) -> Iterator[str]:
        for number in range(first, count):
            dice = random.Random(f"{seed} {number}")
            shutil.rmtree(damaged_folder, ignore_errors=True)
            (damaged_folder / "core").mkdir(parents=True)
            for name in ("running", "ballast"):
                (damaged_folder / name).touch()
            (damaged_folder / "core" / "data.mdb").write_bytes(_damaged(whole, kinds[number % len(kinds)], dice))
            yield _outcome(damaged_folder)

    found: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    problems: list[str] = []
    for number, outcome in enumerate(workers.survive(damage, count)):
        found[kinds[number % len(kinds)]][outcome] += 1
        if outcome in ("wrong", "missing"):
            problems.append(f"a value is {outcome} (damage {number})")
    seen = sum(found.values(), Counter[str]())
    if count >= 30 and not (seen["unharmed"] and seen["refused"] + seen["quarantined"]):
        problems.append("the damage was never noticed, or always")
    return {
        "damaged": count,
        **{outcome: seen[outcome] for outcome in OUTCOMES},
        "by_kind": {kind: dict(outcomes) for kind, outcomes in found.items()},
        "problems": problems,
    }


def _damaged(whole: bytes, kind: str, dice: random.Random) -> bytes:
    content, size = bytearray(whole), KINDS[kind]
    if size:
        at = dice.randrange(len(content) // size) * size
        content[at : at + size] = bytes(size)
    else:
        bit = dice.randrange(len(content) * 8)
        content[bit // 8] ^= 1 << bit % 8
    return bytes(content)
