"""Proves what storage promises, by breaking it: kills the writer's process, and flips bits of its file.

    python bench/prove_storage.py [--rounds 200] [--flips 300] [--seed N] [--json] [--check]

Kills: a child appends events and changes rows in the same transactions; every acknowledgement goes through a pipe; it
is killed with SIGKILL at a random moment. After each kill the store is opened again: everything acknowledged must be
there, sequence numbers without a gap, indexes complete, rows at least as new as acknowledged.

Flips: one random bit of a closed store's file is flipped and the store opened as after an unclean stop. Each row must
be what was written or an error: never another value, never silently missing. Flips of free space change nothing.

With `--check` a broken promise is exit status 1. Not here: power loss, which needs a simulated disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.errors import HensloweError
from henslowe.storage import EventDraft, Store, TableSpec

SETTINGS = StorageSettings(map_size_gib=1, activity_events_max=10_000_000)
APPENDERS = 8
ROWS = 200
KILL_AFTER_S_MAX = 0.06
FOLDER_BYTES_MAX = 100 << 20
_ACK = struct.Struct("<QQQ")
"""Last sequence number, row, value."""


class Counted(BaseModel, frozen=True):
    """A row that only grows."""

    row: int
    value: int
    load: bytes = b""


COUNTED = TableSpec(name="counted", row_type=Counted, key="row", kind="ordered_set")


# -- the child that is killed ----------------


async def write_until_killed(folder: Path, acks: int, seed: int) -> None:
    Scheduler.install()
    store = Store.open(folder, "n1", SETTINGS)
    spec = store.child_spec()
    await spec.actor.start_link(*spec.args, parent=None)
    table = store.table(COUNTED)
    dice = random.Random(seed)

    async def append() -> None:
        while True:
            key = dice.randrange(ROWS)
            before = table.latest(key)
            row = Counted(
                row=key, value=before.value + 1 if before else 1, load=dice.randbytes(dice.choice((0, 200, 9000)))
            )
            txn = store.transaction()
            txn.put(table, row)
            for _ in range(dice.choice((1, 1, 3))):
                stream, kind = dice.choice(("lifecycle", "activity", "output")), f"T{dice.randrange(5)}"
                txn.append(
                    EventDraft(stream, kind, "INFO", f"s{dice.randrange(3)}", 1, {"row": key, "value": row.value})
                )
            committed = await txn.commit()
            os.write(acks, _ACK.pack(committed.first_seq + len(committed.events) - 1, key, row.value))

    await asyncio.gather(*(append() for _ in range(APPENDERS)))


def kill_once(folder: Path, dice: random.Random) -> list[tuple[int, int, int]]:
    """One life of the child, ended after its first acknowledgement; all it acknowledged."""
    reader, writer = os.pipe()
    seed, delay_s = dice.randrange(1 << 30), dice.random() * KILL_AFTER_S_MAX
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            asyncio.run(write_until_killed(folder, writer, seed))
        finally:
            os._exit(70)
    os.close(writer)
    received = os.read(reader, _ACK.size)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    while chunk := os.read(reader, 1 << 16):
        received += chunk
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if os.WTERMSIG(status) != signal.SIGKILL or not received:
        raise SystemExit(f"the child ended by itself, status {status}")
    whole = len(received) // _ACK.size * _ACK.size
    return list(_ACK.iter_unpack(received[:whole]))


def check(folder: Path, acked_seq: int, acked_rows: dict[int, int]) -> tuple[int, list[str]]:
    """The store's last sequence number, and what is wrong with it."""
    store = Store.open(folder, "n1", SETTINGS)
    try:
        wrong: list[str] = []
        log = list(store.events.scan(limit=5_000))
        seqs = [event.seq for event in log]
        if not store.recovered:
            wrong.append("an unclean stop was not noticed")
        if seqs != list(range(1, len(seqs) + 1)) or store.events.last_seq() != len(seqs):
            wrong.append(f"gap among {len(seqs)} events, last {store.events.last_seq()}")
        if len(seqs) < acked_seq:
            wrong.append(f"lost {acked_seq - len(seqs)} acknowledged events")
        by_type = [store.events.read(types=f"T{n}", limit=len(seqs) + 1) for n in range(5)]
        by_service = [store.events.read(services=f"s{n}", limit=len(seqs) + 1) for n in range(3)]
        if sum(map(len, by_type)) != len(seqs) or sum(map(len, by_service)) != len(seqs):
            wrong.append("an index misses events")
        table = store.table(COUNTED)
        said = {event.data["row"]: event.data["value"] for event in log}
        if {row.row: row.value for row in table.rows()} != said:
            wrong.append("rows and their events disagree")
        wrong += [f"row {key} went back" for key, value in acked_rows.items() if said.get(key, 0) < value]
        return len(seqs), wrong
    finally:
        store.close()


def kills(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kills `rounds` writers in turn on one store (a new one when it grew large)."""
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    problems: list[str] = []
    acked_seq, acked_rows = 0, dict[int, int]()
    for number in range(rounds):
        for seq, key, value in kill_once(folder, dice):
            found["acknowledged"] += 1
            acked_seq = max(acked_seq, seq)
            acked_rows[key] = max(acked_rows.get(key, 0), value)
        # As the crash left it: the check must meet the same traces as the next node.
        last_seq, wrong = check(folder, acked_seq, acked_rows)
        problems += [f"round {number}: {one}" for one in wrong]
        found["unacknowledged_but_stored"] += last_seq > acked_seq
        if (folder / "core" / "data.mdb").stat().st_size > FOLDER_BYTES_MAX:
            shutil.rmtree(folder)
            acked_seq, acked_rows = 0, {}
    return {"rounds": rounds, **found, "problems": problems}


# -- flips ----------------


async def _fill(folder: Path) -> None:
    Scheduler.install()
    store = Store.open(folder, "n1", SETTINGS)
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None)
    table = store.table(COUNTED)
    for row in range(ROWS):
        txn = store.transaction()
        txn.put(table, Counted(row=row, value=row * 7, load=bytes([row]) * 300))
        txn.append(EventDraft("activity", "T", "INFO", "s", row, {"value": row * 7}))
        await txn.commit()
    await writer.stop(block=False)
    store.close()
    (folder / "running").touch()


def _read_all(folder: Path) -> str:
    """How a node that finds this store sees it."""
    try:
        store = Store.open(folder, "n1", SETTINGS)
        try:
            rows = {row.row: (row.value, row.load) for row in store.table(COUNTED).rows()}
            said = {event.version: event.data["value"] for event in store.events.scan()}
        finally:
            store.close()
    except HensloweError:
        return "refused"
    if any(row != (key * 7, bytes([key]) * 300) for key, row in rows.items()):
        return "wrong"
    if any(value != version * 7 for version, value in said.items()):
        return "wrong"
    return "unharmed" if len(rows) == len(said) == ROWS else "missing"


def flips(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Flips one bit in each of `count` copies of a store, each read in a child of its own."""
    dice = random.Random(seed)
    pid = os.fork()
    if pid == 0:
        asyncio.run(_fill(folder))
        os._exit(0)
    os.waitpid(pid, 0)
    whole = (folder / "core" / "data.mdb").read_bytes()
    found: Counter[str] = Counter()
    outcomes = ("unharmed", "refused", "wrong", "missing")
    for number in range(count):
        copy = folder.with_name(f"{folder.name}-{number}")
        shutil.copytree(folder, copy)
        damaged = bytearray(whole)
        bit = dice.randrange(len(damaged) * 8)
        damaged[bit // 8] ^= 1 << bit % 8
        (copy / "core" / "data.mdb").write_bytes(damaged)
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                code = outcomes.index(_read_all(copy))
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        ended = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        found[outcomes[ended] if 0 <= ended < len(outcomes) else "crashed"] += 1
        shutil.rmtree(copy)
    return {"flips": count, **{name: found[name] for name in (*outcomes, "crashed")}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=200, help="writers to kill")
    parser.add_argument("--flips", type=int, default=300, help="bits to flip")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is broken")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prove-storage-") as folder:
        killed = kills(options.rounds, options.seed, Path(folder, "killed")) if options.rounds else {"problems": []}
        flipped = flips(options.flips, options.seed, Path(folder, "flipped")) if options.flips else {}
    held = not killed["problems"] and not flipped.get("wrong") and not flipped.get("missing")
    if options.json:
        print(json.dumps({"held": held, "seed": options.seed, "kills": killed, "flips": flipped}))
    else:
        for title, figures in (("kills", killed), ("flips", flipped)):
            print(title, *(f"{name}={value}" for name, value in figures.items()))
        print("held" if held else "BROKEN", f"(seed {options.seed})")
    return 1 if options.check and not held else 0


if __name__ == "__main__":
    sys.exit(main())
