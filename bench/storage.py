"""Storage against SQLite, and a lookup against LMDB: events per second and the price of a read.

    python bench/storage.py [--quick] [--json] [--check] [--rounds N] [--seconds S]

Appends: one appender, and 100 asyncio appenders, each awaiting durability. Both sides use the store's own queue,
writer, encoding and checksums and keep two indexes; only the engine differs: LMDB as a node runs it, or SQLite in WAL
mode with synchronous=FULL. They take turns within a round, their order changing, and medians of the rounds are
compared. LMDB flushes twice per commit, SQLite once: where a flush takes milliseconds, SQLite wins; the flush is
measured too.

Reads: `Table.lookup` against an LMDB transaction, get, checksum and validation of the same row.

`--check` fails below the documentation's promises: 100 appenders at 0.8 of SQLite, a lookup 20 times a decoded get.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from henslowe.actors.kernel import Scheduler
from henslowe.storage import EventDraft, Store, TableSpec, Transaction, codec, keys
from henslowe.storage.clock import HybridClock
from henslowe.storage.commits import Commit, CommitQueue
from henslowe.storage.transaction import encoder
from henslowe.storage.writer import WriterActor

APPENDERS_RATIO_MIN = 0.8
LOOKUP_RATIO_MIN = 20.0
APPENDERS = 100
DATA = {
    "weight": 10,
    "requests": 1234,
    "errors": 2,
    "p50_ms": 1.2,
    "p99_ms": 9.8,
    "by": {"rule": "slo", "name": "err_rate", "threshold": 0.02},
}


class Service(BaseModel, frozen=True):
    """A row of the size that a node keeps per service."""

    name: str
    epoch: int
    state: str
    active: int
    canary: int | None
    shares: tuple[tuple[int, int], ...]


SERVICES = TableSpec(name="services", row_type=Service, key="name")


# -- appends ----------------


class SqliteCommitter:
    """Makes the queue's batches durable in SQLite: what differs from ours is the engine alone."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._base.execute("pragma journal_mode=wal")
        self._base.execute("pragma synchronous=full")
        self._base.execute("create table log(seq integer primary key, type blob, service blob, record blob)")
        self._base.execute("create index by_type on log(type, seq)")
        self._base.execute("create index by_service on log(service, seq)")
        self._seq = 0

    def recover(self) -> None:
        """The table is new."""

    def commit(self, batch: Sequence[Commit]) -> None:
        """One transaction for the batch."""
        rows = []
        for commit in batch:
            commit.first_seq = self._seq + 1
            for event in commit.events:
                self._seq += 1
                record = codec.seal(keys.SEQ.pack(self._seq), 1, event.body)
                rows.append((self._seq, *event.words, record))
        self._base.execute("begin immediate")
        self._base.executemany("insert into log values(?, ?, ?, ?)", rows)
        self._base.execute("commit")

    def close(self) -> None:
        """Ends the connection."""
        self._base.close()


async def appends_per_s(append: Callable[[], Awaitable[object]], appenders: int, seconds: float) -> float:
    """Acknowledged events a second of so many appenders, each awaiting one at a time."""
    count = 0
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await append()
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(appenders)))
    return count / (time.perf_counter() - started)


async def measure_ours(folder: Path, seconds: float) -> tuple[float, float]:
    """One appender, many appenders."""
    store = Store.open(folder, "n1")
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None)

    def append() -> Awaitable[object]:
        txn = store.transaction()
        txn.append(EventDraft("activity", "CANARY_HEALTH", "INFO", "hello", 3, DATA))
        return txn.submit()

    found = (await appends_per_s(append, 1, seconds), await appends_per_s(append, APPENDERS, seconds))
    await writer.stop(block=False)
    store.close()
    return found


async def measure_sqlite(folder: Path, seconds: float) -> tuple[float, float]:
    """One appender, many appenders."""
    folder.mkdir()
    commits, committer = CommitQueue(commits_max=50_000), SqliteCommitter(folder / "log.db")
    writer = await WriterActor.start_link(commits, committer, parent=None)
    encode = encoder("n1", 1, HybridClock().tick)

    def append() -> Awaitable[object]:
        txn = Transaction(commits, encode)
        txn.append(EventDraft("activity", "CANARY_HEALTH", "INFO", "hello", 3, DATA))
        return txn.submit()

    found = (await appends_per_s(append, 1, seconds), await appends_per_s(append, APPENDERS, seconds))
    await writer.stop(block=False)
    committer.close()
    return found


def flush_us(folder: Path) -> float:
    """Median of the disk's flush (fdatasync of 8 KiB), in microseconds: what the appends are made of."""
    spent = []
    fd = os.open(folder / "flush", os.O_RDWR | os.O_CREAT)
    for number in range(50):
        os.pwrite(fd, b"x" * 8192, number * 8192)
        started = time.perf_counter()
        os.fdatasync(fd)
        spent.append((time.perf_counter() - started) * 1e6)
    os.close(fd)
    return statistics.median(spent)


# -- reads ----------------


async def measure_reads(folder: Path, seconds: float) -> tuple[float, float]:
    """Nanoseconds of a table's lookup, and of a decoded get from LMDB."""
    store = Store.open(folder, "n1")
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None)
    table = store.table(SERVICES)
    names = [f"service-{n}" for n in range(100)]
    await table.insert(
        *(Service(name=name, epoch=3, state="active", active=3, canary=None, shares=((3, 10000),)) for name in names)
    )
    db, env = store._env.db(table.db_name), store._env

    def stored(name: str) -> Service:
        packed = keys.pack(name)
        with env.read() as txn:
            schema, body = codec.unseal(packed, txn.get(packed, db=db))
        return SERVICES.decode(body, schema)

    assert all(stored(name) == table.lookup(name) for name in names)
    found = (_nanoseconds(table.lookup, names, seconds), _nanoseconds(stored, names, seconds))
    await writer.stop(block=False)
    store.close()
    return found


def _nanoseconds(read: Callable[[str], object], names: list[str], seconds: float) -> float:
    rounds, started = 0, time.perf_counter_ns()
    while (spent := time.perf_counter_ns() - started) < seconds * 1e9:
        for name in names:
            read(name)
        rounds += 1
    return spent / (rounds * len(names))


# -- report ----------------


async def run(rounds: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Medians over interleaved rounds, and their ratios."""
    Scheduler.install()
    sides: dict[str, list[tuple[float, float]]] = {"ours": [], "sqlite": [], "reads": []}
    measures = {"ours": measure_ours, "sqlite": measure_sqlite, "reads": measure_reads}
    for number in range(rounds):
        order = list(measures) if number % 2 else list(measures)[::-1]
        for side in order:
            sides[side].append(await measures[side](folder / f"{side}-{number}", seconds))
    medians = {side: [statistics.median(column) for column in zip(*rows, strict=True)] for side, rows in sides.items()}
    ours, sqlite, (lookup_ns, stored_ns) = medians["ours"], medians["sqlite"], medians["reads"]
    return {
        "rounds": rounds,
        "seconds": seconds,
        "flush_us": flush_us(folder),
        "appends_per_s": {
            "one": {"ours": ours[0], "sqlite": sqlite[0], "ratio": ours[0] / sqlite[0]},
            "hundred": {"ours": ours[1], "sqlite": sqlite[1], "ratio": ours[1] / sqlite[1]},
        },
        "read_ns": {"lookup": lookup_ns, "lmdb_decoded": stored_ns, "ratio": stored_ns / lookup_ns},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="three rounds of half a second")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail below the promised ratios")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 7)
    seconds = options.seconds or (0.5 if options.quick else 2.0)
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as folder:
        found = asyncio.run(run(rounds, seconds, Path(folder)))
    appends, reads = found["appends_per_s"], found["read_ns"]
    rows = [
        ("events/s, 1 appender", appends["one"], "sqlite", 0.0),
        (f"events/s, {APPENDERS} appenders", appends["hundred"], "sqlite", APPENDERS_RATIO_MIN),
        ("ns per read", reads, "lmdb_decoded", LOOKUP_RATIO_MIN),
    ]
    held = all(row["ratio"] >= least for _, row, _, least in rows)
    if options.json:
        print(json.dumps({**found, "held": held}))
    else:
        print(f"{'us per flush of the disk':28} {found['flush_us']:>12,.0f}")
        for title, row, other, least in rows:
            mark = "" if not least else f"  {'ok' if row['ratio'] >= least else 'BELOW'} (at least {least:g})"
            mine = row.get("ours", row.get("lookup"))
            print(f"{title:28} {mine:>12,.0f}  {other} {row[other]:>10,.0f}  ratio {row['ratio']:.2f}{mark}")
    return 1 if options.check and not held else 0


if __name__ == "__main__":
    sys.exit(main())
