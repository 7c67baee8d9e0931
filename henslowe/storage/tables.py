"""Tables: typed rows under ordered keys, durable with their events, read at the speed of a dict.

The promises are ETS's: `lookup`, `member`, `insert`, `insert_new` (all or nothing), `delete`, `take`,
`update_counter`, and for an ordered set `first`, `next`, `prev`, `range` and `page`. Where ETS has a match language
there are declared indexes and `where(predicate)`.

    class Service(BaseModel, frozen=True):
        name: str
        epoch: int = 0

    SERVICES = TableSpec(name="services", row_type=Service, key="name")
    services = store.table(SERVICES)
    await services.insert(Service(name="hello"))
    services.lookup("hello")

**Two views.** `lookup` and all other reads show what is *committed*: whole frozen rows in memory, replaced after the
commit, in commit order; any thread may read them and nobody waits. `latest` shows what *will* be committed, and guards
(`Transaction.expect`) are checked against it, so that two commands in flight cannot both win.

All writes go through `henslowe.storage.transaction`, on the loop. All rows are in memory: tables are for what a node
knows, not for what it records (events, captured traffic). See `bags` for several rows under one key, and `owners` for a
table that only one actor may write.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, overload

from henslowe.errors import Corrupt, NotFound, StorageError
from henslowe.storage import keys
from henslowe.storage.cells import Forms, Op, TableBase
from henslowe.storage.env import Environment
from henslowe.storage.keys import Key
from henslowe.storage.migrations.forms import Form
from henslowe.storage.quarantine import Quarantined
from henslowe.storage.tablespec import R, TableSpec

if TYPE_CHECKING:
    from henslowe.storage.owners import Claim
    from henslowe.storage.transaction import Transaction


class Table(TableBase[R, R]):
    """A set or an ordered set: one row under each key. Opened by `Store.table`."""

    def __init__(self, spec: TableSpec[R], new_transaction: Callable[[], Transaction], forms: Forms[R]) -> None:
        super().__init__(spec, new_transaction, forms)
        self._order: list[tuple[Any, ...]] | None = [] if spec.kind == "ordered_set" else None

    # -- reading: any thread ----------------

    @overload
    def lookup(self, key: Key) -> R | None: ...
    @overload
    def lookup(self, key: Key, default: R) -> R: ...
    def lookup(self, key: Key, default: R | None = None) -> R | None:
        """The committed row under `key`, else `default`.

        Raises:
            KeyRefused: The key has a type that cannot be stored.
            Corrupt: The row under it is damaged (see `quarantine`).
        """
        # A dict takes True and 1.0 for 1, the file does not.
        if type(key) is not str:
            keys.check(key)
        row = self._cells.get(key)
        if row is None:
            self._absent(key)
            return default
        return row

    def latest(self, key: Key) -> R | None:
        """The row under `key` once everything in flight is committed. Runs in: the loop."""
        keys.check(key)
        row = self._cell(key)
        if row is None:
            self._absent(key)
        return row

    def rows(self) -> tuple[R, ...]:
        """All committed rows at one moment; an ordered set's in order of their keys."""
        if self._order is not None:
            return self._rows_at(tuple(self._order))
        return tuple(self._cells.values())

    def where(self, predicate: Callable[[R], bool]) -> list[R]:
        """The committed rows for which `predicate` holds: looks at all."""
        return [row for row in self.rows() if predicate(row)]

    def by(self, index: str, value: Hashable) -> tuple[R, ...]:
        """The committed rows for which the declared index function gives `value`."""
        return self._indexed(index, value)

    def first(self) -> Key | None:
        """The smallest key of an ordered set."""
        order = self._ordered()
        return order[0][1] if order else None

    def last(self) -> Key | None:
        """The greatest key of an ordered set."""
        order = self._ordered()
        return order[-1][1] if order else None

    def next(self, key: Key) -> Key | None:
        """The smallest key greater than `key`, which need not exist."""
        order = self._ordered()
        at = bisect_left(order, (keys.pack(key) + b"\x00",))
        return order[at][1] if at < len(order) else None

    def prev(self, key: Key) -> Key | None:
        """The greatest key smaller than `key`, which need not exist."""
        order = self._ordered()
        at = bisect_left(order, (keys.pack(key),))
        return order[at - 1][1] if at else None

    def range(
        self, low: Key | None = None, high: Key | None = None, *, prefix: tuple[Key, ...] | None = None
    ) -> tuple[R, ...]:
        """The committed rows with `low` <= key < `high` in order, or those whose tuple key begins with `prefix`."""
        order = self._ordered()
        if prefix is not None:
            first, end = keys.prefix_bounds(prefix)
        else:
            first, end = b"" if low is None else keys.pack(low), b"\xff" if high is None else keys.pack(high)
        return self._rows_at(order[bisect_left(order, (first,)) : bisect_left(order, (end,))])

    def page(
        self, after: Key | None = None, *, limit: int = 100, prefix: tuple[Key, ...] | None = None
    ) -> tuple[R, ...]:
        """At most `limit` committed rows in order, those after the key `after`; for the next page, that of the last."""
        order = self._ordered()
        low, high = (b"", b"\xff") if prefix is None else keys.prefix_bounds(prefix)
        if after is not None:
            low = max(low, keys.pack(after) + b"\x00")
        start = bisect_left(order, (low,))
        return self._rows_at(order[start : min(start + limit, bisect_left(order, (high,)))])

    # -- writing: the loop ----------------

    async def insert(self, *rows: R, claim: Claim | None = None) -> None:
        """Puts all `rows` in one commit; each replaces the row under its key."""
        txn = self._transaction().under(claim)
        for row in rows:
            txn.put(self, row)
        await txn.commit()

    async def insert_new(self, *rows: R, claim: Claim | None = None) -> bool:
        """Puts all `rows` in one commit, or none of them if any key is taken (or about to be); returns which."""
        if any(self.latest(self.spec.key_of(row)) is not None for row in rows):
            return False
        await self.insert(*rows, claim=claim)
        return True

    async def delete(self, key: Key, *, claim: Claim | None = None) -> None:
        """Removes the row under `key`, if any."""
        txn = self._transaction().under(claim)
        txn.delete(self, key)
        await txn.commit()

    async def take(self, key: Key, *, claim: Claim | None = None) -> R | None:
        """Removes and returns the row under `key`; of several takers one gets it."""
        row = self.latest(key)
        if row is not None:
            await self.delete(key, claim=claim)
        return row

    async def update_counter(
        self, key: Key, name: str, increment: int = 1, *, default: R | None = None, claim: Claim | None = None
    ) -> int:
        """Adds to the int field `name` and returns the sum; increments in flight all count.

        Raises:
            NotFound: No row under `key` and no `default` to start from.
        """
        row = self.latest(key) or default
        if row is None:
            raise NotFound(f"cannot count {name!r} in {self.name!r}: no row under {key!r:.80}")
        total: int = getattr(row, name) + increment
        await self.insert(row.model_copy(update={name: total}), claim=claim)
        return total

    # -- the transaction and the queue ----------------

    def _put(self, row: R, cell: R | None, ops: list[Op]) -> tuple[Key, R]:  # noqa: ARG002 - replaced, whatever it was
        key = self.spec.key_of(row)
        forms = self._forms()
        if not forms:
            keys.pack(key)
        for at, form in enumerate(forms):
            packed, record, image = form.put(row)
            if not form.rekeyed:  # else see `_alias_ops`
                ops.append((form.db_name, packed, record))
            if not at:
                # What is shown is what a restart would read: no tuple that comes back as a list.
                row = image
        self._settle_damage(key, ops)
        return key, row

    def _delete(self, key: Key, cell: R | None, ops: list[Op]) -> None:
        self._settle_damage(key, ops)
        if cell is not None:
            ops.extend((form.db_name, form.pack(cell), None) for form in self._forms() if not form.rekeyed)

    def _publish(self, key: Key, cell: R | None, commit_number: int) -> None:
        if self._order is not None and (key in self._cells) is not (cell is not None):
            entry = (keys.pack(key), key)
            if cell is not None:
                insort(self._order, entry)
            else:
                del self._order[bisect_left(self._order, entry[:1])]
        super()._publish(key, cell, commit_number)

    def _load(self, env: Environment) -> int:
        form = self._forms()[0]
        db = env.db(form.db_name)
        oldest = self.spec.schema
        damaged: list[Quarantined] = []
        with env.read() as txn:
            for packed, record in txn.cursor(db=db):
                try:
                    key, row, schema = form.read(packed, record)
                except Corrupt as error:
                    damaged.append(self._damaged(form, packed, record, error))
                    continue
                oldest = min(oldest, schema)
                if key in self._cells:
                    raise Corrupt(f"cannot read table {self.name!r}: two rows have the key {key!r:.80}")
                self._cells[key] = row
                self._rows_to_be += 1
                if self._order is not None:
                    self._order.append((packed if schema == self.spec.schema else keys.pack(key), key))
                if self._indexes:
                    self._reindex(key, None, row)
        if self._order is not None and oldest < self.spec.schema:
            # Older schemas may have had another order.
            self._order.sort()
        self._set_aside(env, damaged)
        return oldest

    def _entries(self, form: Form[R], key: Key, cell: R) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - a row knows it
        return [form.put(cell)[:2]]

    def _image(self, form: Form[R], cell: R) -> R:
        return form.put(cell)[2]

    def _rows_of(self, cell: R | None) -> Sequence[R]:
        return () if cell is None else (cell,)

    def _rows_at(self, order: Sequence[tuple[Any, ...]]) -> tuple[R, ...]:
        found = (self._cells.get(key) for _, key in order)
        return tuple(row for row in found if row is not None)

    def _ordered(self) -> list[tuple[Any, ...]]:
        if self._order is None:
            raise StorageError(f"cannot walk {self.name!r} in order: expected an ordered_set, got a {self.spec.kind}")
        return self._order
