"""Dropping the oldest partition of a node's activity stream, beside deleting the same events one by one.

Both end durable: the drop in one transaction, the deletion in transactions of a thousand events with their index
entries, as retention by deletion would be done.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench.storage_figures.bulk import batches
from bench.storage_figures.engines import MAP_BYTES
from henslowe.config.settings import StorageSettings
from henslowe.storage.env import Environment
from henslowe.storage.events import RINGS
from henslowe.storage.partitions import RING, Appender, Layout, Retention

DELETED_AT_ONCE = 1_000


def measure(folder: Path, *, quick: bool, order: int) -> dict[str, float]:
    """One round: milliseconds for a partition of a node's default size, by the name of the side."""
    kept = (StorageSettings().activity_events_max // (10 if quick else 1)) // (RING - 1)
    count = -(-kept // DELETED_AT_ONCE)
    return {"drop": _drop(folder / f"drop-{order}", count), "delete": _delete(folder / f"delete-{order}", count)}


def _filled(folder: Path, count: int) -> tuple[Environment, Layout, Appender]:
    env = Environment.open(folder, map_bytes=MAP_BYTES)
    layout = Layout(env, RINGS)
    appender = Appender(env, layout, {"activity": Retention(count * DELETED_AT_ONCE * (RING - 1))})
    appender.load()
    for commit in batches(count + 1, indexed=True):
        with env.write() as txn:
            appender.append(txn, commit[0].events)
    return env, layout, appender


def _drop(folder: Path, count: int) -> float:
    env, layout, appender = _filled(folder, count)
    with env.read() as txn:
        before = layout.partitions(txn, "activity")
    started = time.perf_counter()
    with env.write() as txn:
        appender._drop_oldest(txn, "activity")
    spent = time.perf_counter() - started
    with env.read() as txn:
        assert layout.partitions(txn, "activity") == before[1:] != before
    env.close()
    return spent * 1e3


def _delete(folder: Path, count: int) -> float:
    env, layout, _ = _filled(folder, count)
    slot = layout.slot("activity", 0)
    started = time.perf_counter()
    for _ in range(count):
        with env.write() as txn:
            deleted = []
            cursor = txn.cursor(db=slot.log)
            more = cursor.first()
            while more and len(deleted) < DELETED_AT_ONCE:
                deleted.append(cursor.key())
                more = cursor.delete()
            numbers = set(deleted)
            for index in slot.indexes:
                _delete_from_index(txn, index, numbers)
    spent = time.perf_counter() - started
    with env.read() as txn:
        assert txn.stat(db=slot.log)["entries"] == 0
    env.close()
    return spent * 1e3


def _delete_from_index(txn: object, index: object, numbers: set[bytes]) -> None:
    cursor = txn.cursor(db=index)  # type: ignore[attr-defined]
    greatest = max(numbers)
    more = cursor.first()
    while more:
        # The oldest are the first under each word.
        while more and cursor.value() <= greatest:
            word = cursor.key()
            more = cursor.delete() and cursor.key() == word
        more = cursor.next_nodup() if more else _after(cursor, word)


def _after(cursor: object, word: bytes) -> bool:
    """Moves to the first word at or after `word`'s end, where deleting has left the cursor anywhere."""
    return bool(cursor.set_range(word + b"\0"))  # type: ignore[attr-defined]
