"""Bags: several rows under one key, in the order of their insertion, each row once.

Stored under a composite key (the packed key, then a counter), not as LMDB's sorted duplicates: those sort by value,
refuse empty values and end at 511 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pydantic import BaseModel

from henslowe.errors import Corrupt
from henslowe.storage import codec, keys
from henslowe.storage.cells import Op, TableBase
from henslowe.storage.env import Environment
from henslowe.storage.keys import SEQ, Key
from henslowe.storage.tablespec import TableSpec

if TYPE_CHECKING:
    from henslowe.storage.transaction import Transaction

R = TypeVar("R", bound=BaseModel)
Entries: TypeAlias = tuple[tuple[int, R], ...]

_KEY_BYTES_MAX = keys.KEY_BYTES_MAX - SEQ.size


class Bag(TableBase[R, "Entries[R]"]):
    """A bag of rows. Opened by `Store.bag`."""

    def __init__(self, spec: TableSpec[R], new_transaction: Callable[[], Transaction]) -> None:
        super().__init__(spec, new_transaction)
        self._counter = 0

    # -- reading: any thread ----------------

    def lookup(self, key: Key) -> tuple[R, ...]:
        """The committed rows under `key`, oldest first; () for none.

        Raises:
            KeyRefused: The key has a type that cannot be stored.
        """
        if type(key) is not str:
            keys.check(key)
        return self._rows_of(self._cells.get(key))

    def latest(self, key: Key) -> tuple[R, ...]:
        """The rows under `key` once everything in flight is committed. Runs in: the loop."""
        keys.check(key)
        return self._rows_of(self._cell(key))

    def rows(self) -> tuple[R, ...]:
        """All committed rows at one moment, those of a key together."""
        return tuple(row for cell in tuple(self._cells.values()) for _, row in cell)

    def where(self, predicate: Callable[[R], bool]) -> list[R]:
        """The committed rows for which `predicate` holds: looks at all."""
        return [row for row in self.rows() if predicate(row)]

    def by(self, index: str, value: Hashable) -> tuple[R, ...]:
        """The committed rows for which the declared index function gives `value`."""
        cells = self._indexed(index, value)
        value_of = self.spec.indexes[index]
        return tuple(row for cell in cells for _, row in cell if value_of(row) == value)

    # -- writing: the loop ----------------

    async def insert(self, *rows: R) -> None:
        """Adds all `rows` in one commit; a row that is there already stays where it is."""
        txn = self._transaction()
        for row in rows:
            txn.put(self, row)
        await txn.commit()

    async def delete(self, key: Key) -> None:
        """Removes all rows under `key`."""
        txn = self._transaction()
        txn.delete(self, key)
        await txn.commit()

    async def take(self, key: Key) -> tuple[R, ...]:
        """Removes and returns the rows under `key`; of several takers one gets them."""
        rows = self.latest(key)
        if rows:
            await self.delete(key)
        return rows

    # -- the transaction and the queue ----------------

    def _put(self, row: R, cell: Entries[R] | None, ops: list[Op]) -> tuple[Key, Entries[R]]:
        key = self.spec.key_of(row)
        packed = keys.pack(key, bytes_max=_KEY_BYTES_MAX)
        body = b""
        if self.spec.durable:
            body = self.spec.encode(row)
            row = self.spec.decode(body, self.spec.schema)
        if cell is not None and any(there == row for _, there in cell):
            return key, cell
        self._counter += 1
        if self.spec.durable:
            composite = packed + SEQ.pack(self._counter)
            ops.append((self.db_name, composite, codec.seal(composite, self.spec.schema, body)))
        return key, (*(cell or ()), (self._counter, row))

    def _delete(self, key: Key, cell: Entries[R] | None, ops: list[Op]) -> None:
        if self.spec.durable:
            packed = keys.pack(key, bytes_max=_KEY_BYTES_MAX)
            ops.extend((self.db_name, packed + SEQ.pack(number), None) for number, _ in cell or ())

    def _load(self, env: Environment) -> None:
        db = env.db(self.db_name)
        with env.read() as txn:
            for composite, record in txn.cursor(db=db):
                schema, body = codec.unseal(composite, record)
                row = self.spec.decode(body, schema)
                key = self.spec.key_of(row)
                if keys.pack(key) != composite[: -SEQ.size]:
                    raise Corrupt(f"cannot read table {self.name!r}: a row is stored under another key than its own")
                number = SEQ.unpack(composite[-SEQ.size :])[0]
                self._counter = max(self._counter, number)
                before = self._cells.get(key)
                self._cells[key] = (*(before or ()), (number, row))
                self._rows_to_be += 1
                if self._indexes:
                    self._reindex(key, before, self._cells[key])

    def _rows_of(self, cell: Entries[R] | None) -> tuple[R, ...]:
        return () if cell is None else tuple(row for _, row in cell)
