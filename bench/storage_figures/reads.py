"""A table's lookup, beside a read of the same row from LMDB: transaction, get, checksum, validation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.storage import Store, TableSpec, codec, keys

ROWS = 100


class Service(BaseModel, frozen=True):
    """A row of the size that a node keeps per service."""

    name: str
    epoch: int
    state: str
    active: int
    canary: int | None
    shares: tuple[tuple[int, int], ...]


SERVICES = TableSpec(name="services", row_type=Service, key="name")


def measure(folder: Path, *, quick: bool, order: int) -> dict[str, float]:
    """One round: nanoseconds a read, by the name of the side."""
    return asyncio.run(_measure(folder / str(order), 0.3 if quick else 1.0))


async def _measure(folder: Path, seconds: float) -> dict[str, float]:
    Scheduler.install()
    store = Store.open(folder, "n1", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None)
    table = store.table(SERVICES)
    names = [f"service-{n}" for n in range(ROWS)]
    await table.insert(
        *(Service(name=name, epoch=3, state="active", active=3, canary=None, shares=((3, 10000),)) for name in names)
    )
    db, env = store._env.db("t.services"), store._env

    def stored(name: str) -> Service:
        packed = keys.pack(name)
        with env.read() as txn:
            _, body = codec.unseal(packed, txn.get(packed, db=db))
        return Service.model_validate(codec.decode(body))

    assert all(stored(name) == table.lookup(name) for name in names)
    found = {"ours": _nanoseconds(table.lookup, names, seconds), "lmdb": _nanoseconds(stored, names, seconds)}
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
