"""Kills a node at random moments while the keys of its secrets are renewed, again and again, under writes.

A child sets secrets and rows with sealed fields, each acknowledged through a pipe, and rotates the keys all the while.
After each kill the store is opened as the next node would, with the key file as the kill left it: every value opens and
is the last acknowledged one, or the one after it, which was not acknowledged. Then the rotation that was under way is
led to its end: nothing is sealed with an older key, and the key file has the new one alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.storage_proof import ledger
from bench.storage_proof.killing import killed
from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.errors import HensloweError
from henslowe.storage import Secret, Store, TableSpec

NAMES = 60
WRITERS = 4
KILL_AFTER_S_MAX = 0.25
_ACK = struct.Struct("<HQ")
"""Name, number of its change."""


class Sealed(BaseModel, frozen=True, extra="forbid"):
    """A row with a secret in it."""

    name: int
    value: Secret


SEALED = TableSpec(name="sealed", row_type=Sealed, key="name")


def _settings(folder: Path) -> StorageSettings:
    return StorageSettings(map_size_gib=1, secret_key_file=folder.with_suffix(".key"))


def _value(name: int, change: int) -> str:
    return f"{name}:{change}:" + "x" * (change * 31 % 400)


async def _work_until_killed(folder: Path, acks: int, seed: int, changes: dict[int, int]) -> None:
    dice = random.Random(seed)
    Scheduler.install()
    store = Store.open(folder, ledger.NODE, _settings(folder), tables=[SEALED])
    writer = store.child_spec()
    await writer.actor.start_link(*writer.args, parent=None)
    table = store.table(SEALED)

    async def write(first: int) -> None:
        while True:
            name = dice.randrange(first, NAMES, WRITERS)
            change = changes.get(name, 0) + 1
            if name % 2:
                await store.secrets.set(f"s{name}", Secret(_value(name, change)), by="proof")
            else:
                await table.insert(Sealed(name=name, value=Secret(_value(name, change))))
            changes[name] = change
            os.write(acks, _ACK.pack(name, change))

    async def rotate() -> None:
        while True:
            if store.vault.found() is not None:
                await store.rotation.begin(by="proof")
                while await store.rotation.step():
                    await asyncio.sleep(0)
            await asyncio.sleep(dice.random() * 0.01)

    await asyncio.gather(rotate(), *(write(first) for first in range(WRITERS)))


def _kill_once(folder: Path, dice: random.Random, changes: dict[int, int]) -> int:
    received = killed(lambda acks, seed: _work_until_killed(folder, acks, seed, dict(changes)), dice, KILL_AFTER_S_MAX)
    acknowledged = list(_ACK.iter_unpack(received[: len(received) // _ACK.size * _ACK.size]))
    for name, change in acknowledged:
        changes[name] = max(changes.get(name, 0), change)
    return len(acknowledged)


def _check(folder: Path, changes: dict[int, int], found: Counter[str]) -> list[str]:
    """What is wrong after a kill; takes note of changes that were stored and not acknowledged."""
    try:
        store = Store.open(folder, ledger.NODE, _settings(folder), tables=[SEALED])
    except HensloweError as error:
        return [f"it does not open: {error}"]
    try:
        found["in_a_rotation"] += store.rotation.row is not None
        found["with_two_keys"] += len(store.vault.keys().keys) > 1
        wrong = []
        for name, change in list(changes.items()):
            try:
                row = None if name % 2 else store.table(SEALED).lookup(name)
                value = store.secrets.reveal(f"s{name}") if name % 2 else row.value.reveal() if row else ""
            except HensloweError as error:
                wrong.append(f"{name}: {error}")
                continue
            stored = [at for at in (change, change + 1) if value == _value(name, at)]
            if stored:
                changes[name] = stored[0]
            else:
                wrong.append(f"{name}: expected change {change} or the next, got {value:.20}")
        return wrong
    finally:
        store.close()


async def _finish(folder: Path) -> list[str]:
    async with ledger.opened(folder, _settings(folder)) as store:
        store.table(SEALED)
        await store.rotation.begin(by="proof")
        while await store.rotation.step():
            pass
        keys = store.vault.file.read()
        if keys is None or len(keys.keys) != 1 or set(store.rotation.in_use()) != {keys.current}:
            return [f"expected one key and nothing sealed with another, got {store.rotation.in_use()}"]
        return []


def run(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kills `rounds` nodes in turn on one store."""
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    problems: list[str] = []
    changes: dict[int, int] = {}
    for number in range(rounds):
        found["acknowledged"] += _kill_once(folder, dice, changes)
        problems += [f"{one} (kill {number})" for one in _check(folder, changes, found)]
    problems += [f"{one} (at the end)" for one in asyncio.run(_finish(folder))]
    problems += [f"{one} (at the end)" for one in _check(folder, changes, found)]
    return {"kills": rounds, **found, "problems": problems}
