"""Bags: several rows under one key, in the order of their insertion, each row once.

Stored under a composite key (the packed key, then a counter), not as LMDB's sorted duplicates: those sort by value,
refuse empty values and end at 511 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pydantic import BaseModel

from henslowe.errors import Corrupt
from henslowe.storage import keys
from henslowe.storage.cells import Forms, Op, TableBase
from henslowe.storage.env import Environment
from henslowe.storage.keys import SEQ, Key
from henslowe.storage.migrations.forms import Form
from henslowe.storage.quarantine import Quarantined
from henslowe.storage.tablespec import TableSpec

if TYPE_CHECKING:
    from henslowe.storage.owners import Claim
    from henslowe.storage.transaction import Transaction

R = TypeVar("R", bound=BaseModel)
Entries: TypeAlias = tuple[tuple[int, R], ...]

_KEY_BYTES_MAX = keys.KEY_BYTES_MAX - SEQ.size


class Bag(TableBase[R, "Entries[R]"]):
    """A bag of rows. Opened by `Store.bag`."""

    def __init__(self, spec: TableSpec[R], new_transaction: Callable[[], Transaction], forms: Forms[R]) -> None:
        super().__init__(spec, new_transaction, forms)
        self._counter = 0

    # -- reading: any thread ----------------

    def lookup(self, key: Key) -> tuple[R, ...]:
        """The committed rows under `key`, oldest first; () for none.

        Raises:
            KeyRefused: The key has a type that cannot be stored.
            Corrupt: A row under it is damaged (see `quarantine`).
        """
        if type(key) is not str:
            keys.check(key)
        # Also where others were found: one of them is missing.
        self._absent(key)
        return self._rows_of(self._cells.get(key))

    def latest(self, key: Key) -> tuple[R, ...]:
        """The rows under `key` once everything in flight is committed. Runs in: the loop."""
        keys.check(key)
        self._absent(key)
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

    async def insert(self, *rows: R, claim: Claim | None = None) -> None:
        """Adds all `rows` in one commit; a row that is there already stays where it is."""
        txn = self._transaction().under(claim)
        for row in rows:
            txn.put(self, row)
        await txn.commit()

    async def delete(self, key: Key, *, claim: Claim | None = None) -> None:
        """Removes all rows under `key`."""
        txn = self._transaction().under(claim)
        txn.delete(self, key)
        await txn.commit()

    async def take(self, key: Key, *, claim: Claim | None = None) -> tuple[R, ...]:
        """Removes and returns the rows under `key`; of several takers one gets them."""
        rows = self.latest(key)
        if rows:
            await self.delete(key, claim=claim)
        return rows

    # -- the transaction and the queue ----------------

    def _put(self, row: R, cell: Entries[R] | None, ops: list[Op]) -> tuple[Key, Entries[R]]:
        key = self.spec.key_of(row)
        forms = self._forms()
        if not forms:
            keys.pack(key, bytes_max=_KEY_BYTES_MAX)
        counted = SEQ.pack(self._counter + 1)
        added: list[Op] = []
        for at, form in enumerate(forms):
            packed, record, image = form.put(row, counted)
            added.append((form.db_name, packed, record))
            if not at:
                row = image
        if cell is not None and any(there == row for _, there in cell):
            return key, cell
        self._counter += 1
        ops.extend(added)
        return key, (*(cell or ()), (self._counter, row))

    def _delete(self, key: Key, cell: Entries[R] | None, ops: list[Op]) -> None:
        self._settle_damage(key, ops)
        for form in self._forms():
            for number, row in cell or ():
                ops.append((form.db_name, form.pack(row, SEQ.pack(number)), None))

    def _load(self, env: Environment) -> int:
        form = self._forms()[0]
        db = env.db(form.db_name)
        oldest = self.spec.schema
        found: dict[Key, list[tuple[int, R]]] = {}
        damaged: list[Quarantined] = []
        with env.read() as txn:
            for composite, record in txn.cursor(db=db):
                # Also of a damaged one: its number must not be given again.
                self._counter = max(self._counter, _number(composite))
                try:
                    key, row, schema = form.read(composite, record)
                except Corrupt as error:
                    damaged.append(self._damaged(form, composite, record, error))
                    continue
                oldest = min(oldest, schema)
                found.setdefault(key, []).append((_number(composite), row))
                self._rows_to_be += 1
        for key, entries in found.items():
            # Rows that had several keys in an older schema may have one now: in the order of their insertion.
            self._cells[key] = tuple(sorted(entries, key=itemgetter(0)))
            if self._indexes:
                self._reindex(key, None, self._cells[key])
        self._set_aside(env, damaged)
        return oldest

    def _entries(self, form: Form[R], key: Key, cell: Entries[R]) -> list[tuple[bytes, bytes]]:  # noqa: ARG002
        return [form.put(row, SEQ.pack(number))[:2] for number, row in cell]

    def _image(self, form: Form[R], cell: Entries[R]) -> Entries[R]:
        return tuple((number, form.put(row, SEQ.pack(number))[2]) for number, row in cell)

    def _rows_of(self, cell: Entries[R] | None) -> tuple[R, ...]:
        return () if cell is None else tuple(row for _, row in cell)


def _number(composite: bytes) -> int:
    """A row's number among those of its key; 0 where damage left too little for one."""
    return int(SEQ.unpack(composite[-SEQ.size :])[0]) if len(composite) >= SEQ.size else 0
