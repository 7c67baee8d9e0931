"""Transactions: several tables and events in one commit, guarded against what changed meanwhile.

    txn = store.transaction()
    txn.expect(services, "hello", seen)                       # somebody else was faster: Conflict
    txn.put(services, seen.model_copy(update={"epoch": 2}))
    txn.append(EventDraft("lifecycle", "PROMOTE", "SUCCESS", "hello", 3, {}))
    committed = await txn.commit()                            # durable here; readers see it now

A transaction is data until `submit`: nothing is read, checked or sent before. `submit` checks the guards against what
is committed *or in flight*, in one step of the loop, so no lock is needed. Runs in: the loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from henslowe.errors import Conflict, StorageError
from henslowe.storage import events
from henslowe.storage.bags import Bag
from henslowe.storage.cells import Op, TableBase
from henslowe.storage.commits import Commit, CommitQueue, Committed
from henslowe.storage.events import EncodedEvent, EventDraft
from henslowe.storage.keys import Key, check
from henslowe.storage.owners import Claim, Owners
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import Space

R = TypeVar("R", bound=BaseModel)
EncodeEvent: TypeAlias = Callable[[EventDraft], EncodedEvent]


class Transaction:
    """Changes that happen together or not at all. Made by `Store.transaction`, submitted once."""

    __slots__ = (
        "_claims",
        "_drafts",
        "_encode_event",
        "_guards",
        "_ops",
        "_owners",
        "_queue",
        "_shown",
        "_space",
        "_steps",
        "_submitted",
    )

    def __init__(
        self, queue: CommitQueue, encode_event: EncodeEvent | None, space: Space, owners: Owners | None = None
    ) -> None:
        self._queue = queue
        self._owners = owners
        self._claims: dict[str, Claim] = {}
        self._encode_event = encode_event
        self._space = space
        self._guards: list[tuple[TableBase[Any, Any], Key, Any]] = []
        self._steps: list[tuple[TableBase[Any, Any], Key | None, Any]] = []
        self._shown: list[tuple[TableBase[Any, Any], Key, Any]] = []
        self._ops: list[Op] = []
        self._drafts: list[EventDraft] = []
        self._submitted = False

    def under(self, claim: Claim | None) -> Transaction:
        """The same transaction, allowed to write the table of `claim`; None changes nothing."""
        if claim is not None:
            self._claims[claim.table] = claim
        return self

    def put(self, table: Table[R] | Bag[R], row: R) -> None:
        """Inserts `row`; in a set it replaces the row under its key."""
        self._refuse_foreign(table)
        self._steps.append((table, None, row))

    def delete(self, table: Table[Any] | Bag[Any], key: Key) -> None:
        """Removes what is under `key`, if anything."""
        self._refuse_foreign(table)
        check(key)
        self._steps.append((table, key, None))

    def append(self, draft: EventDraft) -> None:
        """Appends an event; events of one transaction follow each other without a gap.

        Raises:
            StorageError: The transaction's space has no event log.
        """
        if self._encode_event is None:
            raise StorageError(
                f"cannot append an event to {self._space}: it has no event log",
                hint="append it in a transaction of the core, after this one",
            )
        self._drafts.append(draft)

    def expect(self, table: Table[R] | Bag[R], key: Key, expected: Any) -> None:
        """Makes the commit depend on `expected` being under `key`: a row, None for nothing, a bag's tuple of rows."""
        self._refuse_foreign(table)
        check(key)
        self._guards.append((table, key, expected))

    def write(self, db_name: str, key: bytes, record: bytes | None) -> None:
        """Changes a sub-database that has no table; None deletes. For the rest of storage."""
        self._ops.append((db_name, key, record))

    def show(self, table: TableBase[Any, Any], key: Key, cell: Any) -> None:
        """Makes `cell` what readers see from this commit on, without a change of the disk. For the rest of storage."""
        self._shown.append((table, key, cell))

    async def commit(self) -> Committed:
        """Submits, and returns when everything is durable and published. Cancelling the wait cancels nothing else.

        Raises:
            Conflict: A guard does not hold; nothing was sent.
            Fenced: A table is another's, or was claimed again; nothing was sent.
            KeyRefused, StorageError: A row or an event that cannot be stored; nothing was sent.
            LimitReached: The writer's queue, a table or an event is at its limit; nothing was sent.
            StorageDegraded: The disk refused; nothing is stored, and nothing changed for readers.
        """
        return await self.submit()

    def submit(self) -> asyncio.Future[Committed]:
        """Checks and sends the commit now; the future is its acknowledgement. Raises what `commit` raises."""
        if self._submitted:
            raise StorageError("cannot commit a transaction twice: make another one")
        for table, key, expected in self._guards:
            found = table.latest(key)
            if found != expected:
                raise Conflict(
                    f"cannot commit: expected {_named(expected)} under {key!r:.80} in {table.name!r}, "
                    f"got {_named(found)}",
                    hint="read the row again and decide anew",
                    table=table.name,
                )
        if self._owners is not None:
            for table in {step[0] for step in self._steps}:
                self._owners.check(table.name, self._claims.get(table.name))
        commit = Commit(self._ops, [], {})
        for table, key_or_none, row in self._steps:
            self._stage(commit, table, key_or_none, row)
        if commit.cells:
            _refuse_growth(commit)
            _stage_aliases(commit)
        for table, key, cell in self._shown:
            commit.cells.setdefault((table, key), cell)
        if self._encode_event is not None:
            commit.events = [self._encode_event(draft) for draft in self._drafts]
        self._submitted = True
        return self._queue.submit(commit)

    def _refuse_foreign(self, table: TableBase[Any, Any]) -> None:
        if table.spec.space is not self._space:
            raise StorageError(
                f"cannot change {table.name!r} in a transaction of {self._space}: it lives in {table.spec.space}, "
                "and a commit stays in one environment",
                hint=f"use Store.transaction(Space.{table.spec.space.name}), a commit of its own",
            )

    @staticmethod
    def _stage(commit: Commit, table: TableBase[Any, Any], key: Key | None, row: Any) -> None:
        key_now: Any = table.spec.key_of(row) if key is None else key
        check(key_now)
        place = (table, key_now)
        cell = commit.cells[place] if place in commit.cells else table._cell(key_now)
        if key is not None:
            table._delete(key, cell, commit.ops)
            commit.cells[place] = None
        else:
            _, commit.cells[place] = table._put(row, cell, commit.ops)


def _refuse_growth(commit: Commit) -> None:
    growth: Counter[TableBase[Any, Any]] = Counter()
    for (table, key), cell in commit.cells.items():
        growth[table] += table._weight(cell) - table._weight(table._cell(key))
    for table, rows in growth.items():
        table._refuse_growth(rows)


def _stage_aliases(commit: Commit) -> None:
    """Adds the changes of forms in which rows have other keys: only while their tables are being migrated."""
    cells: dict[TableBase[Any, Any], dict[Key, Any]] = {}
    for (table, key), cell in commit.cells.items():
        if any(form.rekeyed for form in table._forms()):
            cells.setdefault(table, {})[key] = cell
    for table, mine in cells.items():
        table._refuse_clash(mine)
        commit.ops.extend(table._alias_ops(mine))


def encoder(node: str, incarnation: int, tick: Callable[[], tuple[int, int]]) -> EncodeEvent:
    """What stamps and encodes the drafts of one node's life."""

    def encode(draft: EventDraft) -> EncodedEvent:
        time_ns, hlc = tick()
        return events.encode(draft, node=node, incarnation=incarnation, time_ns=time_ns, hlc=hlc)

    return encode


def _named(found: Any) -> str:
    return "nothing" if found is None or found == () else f"{found!r:.120}"
