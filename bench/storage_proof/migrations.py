"""Kills a node at random moments of a migration under live writes, and rolls migrations back at random phases.

A child has the migration runner at work, writers that change every row again and again, and somebody who begins
migrations to a random phase and rolls them back. After each kill the store is opened as the next node would:

- every row is as its last acknowledged change left it, or as the one after it, which was not acknowledged;
- while there are two forms, each row of the new one is that of the old one, and once all were copied none is missing;
- a reader of the old schema, as long as there is something for it, reads the same rows.

Then the next child goes on with what was under way. The key, the names and the units of the fields differ between the
two schemas, so that a row taken for one of the other schema would not go unnoticed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.storage_proof import ledger
from bench.storage_proof.killing import killed
from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.errors import Conflict, FormatTooNew, NotFound
from henslowe.storage import ReadonlyStore, Store, TableSpec
from henslowe.storage.migrations.compare import compare
from henslowe.storage.migrations.declared import Migration
from henslowe.storage.migrations.progress import ORDER, MigrationRow, Phase
from henslowe.storage.migrations.runner import Migrate, MigrationRunner, RollBack

ROWS = 400
WRITERS = 8
KILL_AFTER_S_MAX = 0.6
FOLDER_BYTES_MAX = 24 << 20
SETTINGS = StorageSettings(map_size_gib=1, migrations="manual", migration_rows_per_s=100_000.0)
_ACK = struct.Struct("<HQ")
"""Row, number of its change."""
_GONE = 7
"""Every seventh change of a row removes it."""


class Old(BaseModel, frozen=True, extra="forbid"):
    """A row of the old schema."""

    label: str
    changes: int
    load: bytes


class New(BaseModel, frozen=True, extra="forbid"):
    """A row of the new one: other key, other names, and one field that the old one has no room for."""

    shard: int
    number: int
    change: int
    load: bytes
    doubled: int = 0


def _forward(fields: dict[str, Any]) -> dict[str, Any]:
    shard, _, number = fields["label"].partition("-")
    return {"shard": int(shard), "number": int(number), "change": fields["changes"] + 1, "load": fields["load"]}


def _backward(fields: dict[str, Any]) -> dict[str, Any]:
    label = f"{fields['shard']}-{fields['number']}"
    return {"label": label, "changes": fields["change"] - 1, "load": fields["load"]}


OLD = TableSpec(name="moved", row_type=Old, key="label")
NEW = TableSpec(
    name="moved",
    row_type=New,
    key=("shard", "number"),
    kind="ordered_set",
    schema=2,
    migrations=(Migration("moved", 1, 2, _forward, _backward, from_key="label"),),
)


def row_at(number: int, change: int) -> New | None:
    """What a row is after so many changes."""
    if change % _GONE == 0:
        return None
    load = bytes([change % 251]) * (change * 37 % 900)
    return New(shard=number % 5, number=number, change=change, load=load, doubled=2 * change)


def shown(row: New | None, *, whole: bool) -> New | None:
    """What a reader may see of it: the field that is new only after the flip."""
    return row if row is None or whole else row.model_copy(update={"doubled": 0})


# -- the child that is killed ----------------


async def _work_until_killed(folder: Path, acks: int, seed: int, changes: dict[int, int]) -> None:
    dice = random.Random(seed)
    Scheduler.install()
    store = Store.open(folder, "n1", SETTINGS, tables=[NEW])
    writer = store.child_spec()
    await writer.actor.start_link(*writer.args, parent=None)
    runner = await MigrationRunner.start_link(store.migrator, SETTINGS, parent=None)
    assert runner is not None
    table = store.table(NEW)

    async def write(first: int) -> None:
        while True:
            number = dice.randrange(first, ROWS, WRITERS)
            change = changes.get(number, 1) + 1
            row = row_at(number, change)
            if row is None:
                await table.delete((number % 5, number))
            else:
                await table.insert(row)
            changes[number] = change
            os.write(acks, _ACK.pack(number, change))

    async def command() -> None:
        while True:
            await asyncio.sleep(dice.random() * 0.3)
            with suppress(Conflict, NotFound):
                if dice.random() < 0.3:
                    await runner.call(RollBack("moved", "proof"))
                else:
                    await runner.call(Migrate("moved", dice.choice((*ORDER, *ORDER[3:] * 2)), "proof"))

    await asyncio.gather(command(), *(write(first) for first in range(WRITERS)))


def _kill_once(folder: Path, dice: random.Random, changes: dict[int, int]) -> int:
    """One life of the child; takes note of what it acknowledged, and returns how much that was."""
    received = killed(lambda acks, seed: _work_until_killed(folder, acks, seed, dict(changes)), dice, KILL_AFTER_S_MAX)
    acknowledged = list(_ACK.iter_unpack(received[: len(received) // _ACK.size * _ACK.size]))
    for number, change in acknowledged:
        changes[number] = max(changes.get(number, 1), change)
    return len(acknowledged)


# -- looking at what is left ----------------


def check(folder: Path, changes: dict[int, int]) -> tuple[MigrationRow | None, list[str]]:
    """How far the migration is, and what is wrong; takes note of changes that were stored and not acknowledged."""
    store = Store.open(folder, "n1", SETTINGS, tables=[NEW])
    try:
        row = next(iter(store.migrator.rows()), None)
        table = store.table(NEW)
        wrong = [] if row is None or not row.problem else [f"stopped: {row.problem}"]
        expected = {}
        for number in range(ROWS):
            change = changes.get(number, 1)
            there = table.lookup((number % 5, number))
            # A row keeps the new field from its first change after the flip on, until a rollback.
            found = [
                at for at in (change, change + 1) if shown(there, whole=False) == shown(row_at(number, at), whole=False)
            ]
            if not found or (there is not None and there.doubled not in (0, 2 * there.change)):
                wrong.append(f"row {number}: expected change {change} or the next, got {there!r:.100}")
            else:
                changes[number] = found[0]
            if there is not None:
                expected[number] = there
        if len(table) != len(expected):
            wrong.append(f"expected {len(expected)} rows, got {len(table)}")
        wrong += _forms_differ(store, row)
        wrong += _older_reader(store, row, expected)
        return row, wrong
    finally:
        store.close()


def _forms_differ(store: Store, row: MigrationRow | None) -> list[str]:
    """What is wrong between the two forms, while there are two."""
    if row is None or not row.running:
        return []
    places = store._core.places["moved"]
    read, other = places.forms()
    if row.phase is not Phase.EXPAND:
        # The form of the new schema may hold more than the old one, but for the time before the flip.
        new, old = (read, other) if read.own else (other, read)
        exact = row.forward and not row.flipped
        return _differences(store, new, old) + (_differences(store, old, new) if exact else [])
    # Not all are copied yet: each that is must be right.
    env = store._env
    with env.read() as txn:
        copies = [(bytes(packed), bytes(record)) for packed, record in txn.cursor(db=env.db(other.db_name))]
        wrong = []
        for packed, record in copies:
            _, copied, _ = other.read(packed, record)
            source = txn.get(read.pack(copied), db=env.db(read.db_name))
            if source is None:
                wrong.append(f"{packed!r}: a copy of nothing")
            elif other.put(read.read(read.pack(copied), bytes(source))[1])[2] != copied:
                wrong.append(f"{packed!r}: a stale copy")
    return wrong


def _differences(store: Store, read: Any, other: Any) -> list[str]:
    cursor = b""
    while True:
        found = compare(store._env, read, other, cursor)
        if found.problem:
            return [f"forms differ: {found.problem}"]
        if not found.rows:
            return []
        cursor = found.cursor


def _older_reader(store: Store, row: MigrationRow | None, expected: dict[int, New]) -> list[str]:
    """What is wrong with what an older Henslowe reads."""
    older_may = row is None or row.schema_now == 1 or (row.running and row.flipped)
    try:
        read = {old.label: old for old in ReadonlyStore(store._env).table(OLD).rows()}
    except FormatTooNew:
        return ["an older reader was turned away"] if older_may else []
    if not older_may:
        return ["an older reader read a table without an old form"]
    wanted = {f"{new.shard}-{new.number}": Old(**_backward(new.model_dump())) for new in expected.values()}
    return [] if read == wanted else [f"an older reader saw {len(set(read.items()) ^ set(wanted.items()))} other rows"]


async def _fill(folder: Path) -> None:
    async with ledger.opened(folder) as store:
        await store.table(OLD).insert(
            *(Old(**_backward(row.model_dump())) for number in range(ROWS) if (row := row_at(number, 1)) is not None)
        )


async def _finish(folder: Path, phase: Phase) -> str:
    """Leads the migration to an end without kills; the phase in which it ends."""
    async with ledger.opened(folder) as store:
        store.table(NEW)
        with suppress(NotFound):
            await store.migrator.begin("moved", goal=phase, by="proof")
        while await store.migrator.step("moved", now_s=0.0, window_s=1e12):
            pass
        return store.migrator.rows()[0].phase.value


def _forked(work: Any) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(work)
            code = 0
        finally:
            os._exit(code)
    work.close()
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"a child failed, status {status}")


def run(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kills `rounds` nodes in turn on one store, a new one when it grew large."""
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    problems: list[str] = []
    changes: dict[int, int] = {}
    for number in range(rounds):
        if not folder.exists():
            changes.clear()
            _forked(_fill(folder))
        found["acknowledged"] += _kill_once(folder, dice, changes)
        row, wrong = check(folder, changes)
        phases[row.phase.value if row is not None else "none"] += 1
        problems += [f"{one} (kill {number})" for one in wrong]
        if (folder / "core" / "data.mdb").stat().st_size > FOLDER_BYTES_MAX:
            shutil.rmtree(folder)
    if folder.exists():
        _forked(_finish(folder, Phase.DROP))
        row, wrong = check(folder, changes)
        problems += [f"{one} (at the end)" for one in wrong]
        if row is None or row.running:
            problems.append(f"expected the migration to end, got {row!r}")
    return {"kills": rounds, **found, "phases": dict(phases), "problems": problems}
