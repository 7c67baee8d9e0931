"""Tables: typed rows under ordered keys, durable with their events, read at the speed of a dict.

The promises are ETS's: `lookup`, `member`, `insert`, `insert_new` (all or nothing), `delete`, `take`,
`update_counter`, and for an ordered set `first`, `next`, `prev` and `range`. Where ETS has a match language there are
declared indexes and `where(predicate)`.

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
knows, not for what it records (events, captured traffic). See `bags` for several rows under one key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ValidationError

from henslowe.errors import Corrupt, FormatTooNew, LimitReached, NotFound, StorageError
from henslowe.storage import codec, keys
from henslowe.storage.env import Environment
from henslowe.storage.keys import Key

if TYPE_CHECKING:
    from henslowe.storage.transaction import Transaction

R = TypeVar("R", bound=BaseModel)
Cell = TypeVar("Cell")

Kind = Literal["set", "ordered_set", "bag"]
Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Op: TypeAlias = tuple[str, bytes, bytes | None]
"""One change of a sub-database: name, key, record; None deletes."""

ROWS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec(Generic[R]):
    """What a table is. Data: declare it once, beside the actor that owns the table.

    Attributes:
        name: Unique in the store.
        row_type: A frozen pydantic model.
        key: The key of a row: a field's name, several names for a tuple, or a function.
        kind: `set`, `ordered_set` (keys can be walked in order) or `bag` (several rows under one key).
        schema: Number of the row's shape, counted up with every change that old rows do not fit.
        upcast: For every older schema, a function from its fields to those of the next one; applied on reading.
        durable: False keeps the table in memory only, with the same API.
        indexes: Named functions from a row to the value under which `by` finds it.
        rows_max: Inserting more is refused.
    """

    name: str
    row_type: type[R]
    key: str | tuple[str, ...] | Callable[[R], Key]
    kind: Kind = "set"
    schema: int = 1
    upcast: Mapping[int, Upcast] = field(default_factory=dict)
    durable: bool = True
    indexes: Mapping[str, Callable[[R], Hashable]] = field(default_factory=dict)
    rows_max: int = ROWS_MAX

    def __post_init__(self) -> None:
        if not self.row_type.model_config.get("frozen"):
            raise TypeError(f"expected table {self.name!r} to have a frozen row type, got {self.row_type.__name__}")
        missing = [number for number in range(1, self.schema) if number not in self.upcast]
        if missing:
            raise TypeError(f"expected table {self.name!r} to have an upcast from schema {missing[0]}, got none")

    def key_of(self, row: R) -> Key:
        """The row's key."""
        if isinstance(self.key, str):
            return getattr(row, self.key)  # type: ignore[no-any-return]
        if isinstance(self.key, tuple):
            return tuple(getattr(row, name) for name in self.key)
        return self.key(row)

    def encode(self, row: R) -> bytes:
        """The row's body on disk.

        Raises:
            StorageError: Another type than the table's, or a field that cannot be encoded.
        """
        if type(row) is not self.row_type:
            raise StorageError(
                f"expected a row of {self.row_type.__name__} for {self.name!r}, got {type(row).__name__}"
            )
        return codec.encode(row.model_dump(round_trip=True, by_alias=False))

    def decode(self, body: bytes, schema: int) -> R:
        """The row of a body, brought to the current schema.

        Raises:
            FormatTooNew: A newer Henslowe wrote the row.
            Corrupt: The body does not fit the row's type.
        """
        if schema > self.schema:
            raise FormatTooNew(
                f"cannot read table {self.name!r}: expected schema {self.schema} or older, got {schema}",
                hint="start the newer Henslowe, or restore a backup made by this one",
            )
        fields = codec.decode(body)
        for number in range(schema, self.schema):
            fields = self.upcast[number](fields)
        try:
            return self.row_type.model_validate(fields, by_name=True, by_alias=False)
        except ValidationError as error:
            raise Corrupt(f"cannot read table {self.name!r}: {error}") from error


class TableBase(ABC, Generic[R, Cell]):
    """What tables and bags share: committed cells by key, cells in flight, and indexes.

    A cell is all that is stored under one key: a row, or a bag's rows. Only the transaction and the queue touch the
    methods with an underscore, on the loop.
    """

    def __init__(self, spec: TableSpec[R], new_transaction: Callable[[], Transaction]) -> None:
        self.spec = spec
        self.name = spec.name
        self.db_name = f"t.{spec.name}"
        self._transaction = new_transaction
        self._cells: dict[Key, Cell] = {}
        self._flight: dict[Key, tuple[int, Cell | None]] = {}
        self._rows_to_be = 0
        self._indexes: dict[str, dict[Hashable, dict[Key, Cell]]] = {name: {} for name in spec.indexes}

    # -- reading: any thread ----------------

    def member(self, key: Key) -> bool:
        """Whether something is committed under `key`."""
        if type(key) is not str:
            keys.check(key)
        return key in self._cells

    def keys(self) -> tuple[Key, ...]:
        """All committed keys, at one moment."""
        return tuple(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    # -- writing: the transaction and the queue ----------------

    def _cell(self, key: Key) -> Cell | None:
        """What will be committed under `key` when everything in flight is."""
        flying = self._flight.get(key)
        return flying[1] if flying is not None else self._cells.get(key)

    def _hold(self, key: Key, cell: Cell | None, commit_number: int) -> None:
        self._rows_to_be += self._weight(cell) - self._weight(self._cell(key))
        self._flight[key] = (commit_number, cell)

    def _publish(self, key: Key, cell: Cell | None, commit_number: int) -> None:
        flying = self._flight.get(key)
        if flying is not None and flying[0] == commit_number:
            del self._flight[key]
        before = self._cells.get(key)
        if self._indexes:
            self._reindex(key, before, cell)
        if cell is not None:
            self._cells[key] = cell
        elif before is not None:
            del self._cells[key]

    def _forget_flight(self) -> None:
        self._flight.clear()
        self._rows_to_be = sum(map(self._weight, self._cells.values()))

    def _refuse_growth(self, rows: int) -> None:
        """Returns only if `rows` more may be inserted beside what is committed and in flight."""
        if rows > 0 and self._rows_to_be + rows > self.spec.rows_max:
            raise LimitReached(
                f"cannot insert into {self.name!r}: expected at most {self.spec.rows_max} rows",
                table=self.name,
            )

    def _weight(self, cell: Cell | None) -> int:
        return len(self._rows_of(cell))

    def _reindex(self, key: Key, before: Cell | None, after: Cell | None) -> None:
        for name, value_of in self.spec.indexes.items():
            entries = self._indexes[name]
            for row in self._rows_of(before):
                found = entries.get(value_of(row), {})
                found.pop(key, None)
                if not found:
                    entries.pop(value_of(row), None)
            if after is not None:
                for row in self._rows_of(after):
                    entries.setdefault(value_of(row), {})[key] = after

    @abstractmethod
    def latest(self, key: Key) -> Any:
        """What is under `key` once everything in flight is committed: guards compare with it."""

    @abstractmethod
    def _rows_of(self, cell: Cell | None) -> Sequence[R]: ...

    @abstractmethod
    def _put(self, row: R, cell: Cell | None, ops: list[Op]) -> tuple[Key, Cell]:
        """The key and the new cell of `row` put over `cell`; adds what the disk must do to `ops`."""

    @abstractmethod
    def _delete(self, key: Key, cell: Cell | None, ops: list[Op]) -> None:
        """Adds what the disk must do to remove `cell` to `ops`."""

    @abstractmethod
    def _load(self, env: Environment) -> None:
        """Fills the empty table from the disk."""

    def _indexed(self, index: str, value: Hashable) -> tuple[Cell, ...]:
        if index not in self._indexes:
            raise StorageError(f"expected an index of table {self.name!r}, got {index!r}")
        return tuple(self._indexes[index].get(value, {}).values())


class Table(TableBase[R, R]):
    """A set or an ordered set: one row under each key. Opened by `Store.table`."""

    def __init__(self, spec: TableSpec[R], new_transaction: Callable[[], Transaction]) -> None:
        super().__init__(spec, new_transaction)
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
        """
        # A dict takes True and 1.0 for 1, the file does not.
        if type(key) is not str:
            keys.check(key)
        return self._cells.get(key, default)

    def latest(self, key: Key) -> R | None:
        """The row under `key` once everything in flight is committed. Runs in: the loop."""
        keys.check(key)
        return self._cell(key)

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

    # -- writing: the loop ----------------

    async def insert(self, *rows: R) -> None:
        """Puts all `rows` in one commit; each replaces the row under its key."""
        txn = self._transaction()
        for row in rows:
            txn.put(self, row)
        await txn.commit()

    async def insert_new(self, *rows: R) -> bool:
        """Puts all `rows` in one commit, or none of them if any key is taken (or about to be); returns which."""
        if any(self.latest(self.spec.key_of(row)) is not None for row in rows):
            return False
        await self.insert(*rows)
        return True

    async def delete(self, key: Key) -> None:
        """Removes the row under `key`, if any."""
        txn = self._transaction()
        txn.delete(self, key)
        await txn.commit()

    async def take(self, key: Key) -> R | None:
        """Removes and returns the row under `key`; of several takers one gets it."""
        row = self.latest(key)
        if row is not None:
            await self.delete(key)
        return row

    async def update_counter(self, key: Key, name: str, increment: int = 1, *, default: R | None = None) -> int:
        """Adds to the int field `name` and returns the sum; increments in flight all count.

        Raises:
            NotFound: No row under `key` and no `default` to start from.
        """
        row = self.latest(key) or default
        if row is None:
            raise NotFound(f"cannot count {name!r} in {self.name!r}: no row under {key!r:.80}")
        total: int = getattr(row, name) + increment
        await self.insert(row.model_copy(update={name: total}))
        return total

    # -- the transaction and the queue ----------------

    def _put(self, row: R, cell: R | None, ops: list[Op]) -> tuple[Key, R]:  # noqa: ARG002 - replaced, whatever it was
        key = self.spec.key_of(row)
        packed = keys.pack(key)
        if self.spec.durable:
            body = self.spec.encode(row)
            ops.append((self.db_name, packed, codec.seal(packed, self.spec.schema, body)))
            # What is shown is what a restart would read: no tuple that comes back as a list.
            row = self.spec.decode(body, self.spec.schema)
        return key, row

    def _delete(self, key: Key, cell: R | None, ops: list[Op]) -> None:
        if self.spec.durable and cell is not None:
            ops.append((self.db_name, keys.pack(key), None))

    def _publish(self, key: Key, cell: R | None, commit_number: int) -> None:
        if self._order is not None and (key in self._cells) is not (cell is not None):
            entry = (keys.pack(key), key)
            if cell is not None:
                insort(self._order, entry)
            else:
                del self._order[bisect_left(self._order, entry[:1])]
        super()._publish(key, cell, commit_number)

    def _load(self, env: Environment) -> None:
        db = env.db(self.db_name)
        with env.read() as txn:
            for packed, record in txn.cursor(db=db):
                schema, body = codec.unseal(packed, record)
                row = self.spec.decode(body, schema)
                key = self.spec.key_of(row)
                if keys.pack(key) != packed:
                    raise Corrupt(f"cannot read table {self.name!r}: a row is stored under another key than its own")
                self._cells[key] = row
                self._rows_to_be += 1
                if self._order is not None:
                    self._order.append((packed, key))
                if self._indexes:
                    self._reindex(key, None, row)

    def _rows_of(self, cell: R | None) -> Sequence[R]:
        return () if cell is None else (cell,)

    def _rows_at(self, order: Sequence[tuple[Any, ...]]) -> tuple[R, ...]:
        found = (self._cells.get(key) for _, key in order)
        return tuple(row for row in found if row is not None)

    def _ordered(self) -> list[tuple[Any, ...]]:
        if self._order is None:
            raise StorageError(f"cannot walk {self.name!r} in order: expected an ordered_set, got a {self.spec.kind}")
        return self._order
