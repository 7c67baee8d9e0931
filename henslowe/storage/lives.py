"""What a store is called, and which life of the node this is: written while it is opened, before any writer runs."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from henslowe.errors import Corrupt
from henslowe.storage.clock import HybridClock
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import EventReader
from henslowe.storage.events import RINGS
from henslowe.storage.partitions import Layout
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec

R = TypeVar("R", bound=BaseModel)

_log = logging.getLogger(__name__)


class LifeRow(BaseModel, frozen=True, extra="forbid"):
    """Which life of the node this is."""

    node: str
    incarnation: int
    hlc: int


LIVES: Final = TableSpec(name="lives", row_type=LifeRow, key="node")


class IdentityRow(BaseModel, frozen=True, extra="forbid"):
    """What a store is called, wherever its directory is moved or restored to."""

    name: str = "store"
    store_id: str


IDENTITY: Final = TableSpec(name="identity", row_type=IdentityRow, key="name")


def begin(env: Environment, lives: Table[LifeRow], node: str) -> tuple[int, HybridClock]:
    """Counts the node's lives; the number of the one that begins, and its clock, which is ahead of the last one's."""
    try:
        last = lives.lookup(node)
    except Corrupt:
        # Its row is damaged: a number that no life had, as after a restore.
        last = LifeRow(node=node, incarnation=int(time.time()), hlc=0)
    newest = _newest_hlc(env)
    clock = HybridClock(max(newest, last.hlc if last else 0))
    row = LifeRow(node=node, incarnation=(last.incarnation if last else 0) + 1, hlc=clock.tick()[1])
    _write_now(env, lives, row)
    return row.incarnation, clock


def store_id(env: Environment, identity: Table[IdentityRow]) -> str:
    """What the store is called: made in its first life."""
    row = identity.lookup("store")
    if row is None:
        row = IdentityRow(store_id=uuid.uuid4().hex)
        _write_now(env, identity, row)
    return row.store_id


def _write_now(env: Environment, table: Table[R], row: R) -> None:
    """Commits one row from here."""
    ops: list[Any] = []
    key, row = table._put(row, table._cell(table.spec.key_of(row)), ops)
    with env.write() as txn:
        for name, packed, record in ops:
            if record is None:
                txn.delete(packed, db=env.db(name))
            else:
                txn.put(packed, record, db=env.db(name))
    table._hold(key, row, 0)
    table._publish(key, row, 0)


def _newest_hlc(env: Environment) -> int:
    reader = EventReader(env, Layout(env, RINGS))
    try:
        return max((event.hlc for event in reader.read(newest_first=True, limit=1)), default=0)
    except Corrupt as error:
        # Whoever reads that event is told; the wall clock orders the next ones, as nearly always.
        _log.warning("storage.newest_event_damaged", extra={"reason": error.message})
        return 0
