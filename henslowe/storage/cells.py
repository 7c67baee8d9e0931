"""What tables and bags share: committed cells by key, cells in flight, and indexes.

Not here: what a cell is (`tables`: a row; `bags`: several) and who moves cells (`transaction`, `commits`).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from henslowe.errors import Conflict, Corrupt, LimitReached, StorageError
from henslowe.storage import keys, quarantine
from henslowe.storage.env import Environment
from henslowe.storage.keys import Key
from henslowe.storage.migrations.forms import Form
from henslowe.storage.quarantine import Damage, Quarantined
from henslowe.storage.tablespec import R, TableSpec

if TYPE_CHECKING:
    from henslowe.storage.transaction import Transaction

Cell = TypeVar("Cell")
Op: TypeAlias = tuple[str, bytes, bytes | None]
"""One change of a sub-database: name, key, record; None deletes, and with the key `WHOLE` empties it."""
Forms: TypeAlias = Callable[[], tuple[Form[R], ...]]
"""Where a table's rows lie now, the form that is read first; none for a table that is in memory only."""


class TableBase(ABC, Generic[R, Cell]):
    """What tables and bags share: committed cells by key, cells in flight, and indexes.

    A cell is all that is stored under one key: a row, or a bag's rows. Only the transaction and the queue touch the
    methods with an underscore, on the loop.
    """

    def __init__(self, spec: TableSpec[R], new_transaction: Callable[[], Transaction], forms: Forms[R]) -> None:
        self.spec = spec
        self.name = spec.name
        self._transaction = new_transaction
        self._forms = forms
        self._aliases: dict[bytes, Key] | None = None
        """While a form has other keys: whose row each of them is."""
        self._cells: dict[Key, Cell] = {}
        self.damage = Damage(spec.name)
        """Its rows in quarantine."""
        self._flight: dict[Key, tuple[int, Cell | None]] = {}
        self._rows_to_be = 0
        self._indexes: dict[str, dict[Hashable, dict[Key, Cell]]] = {name: {} for name in spec.indexes}

    # -- reading: any thread ----------------

    def member(self, key: Key) -> bool:
        """Whether something is committed under `key`."""
        if type(key) is not str:
            keys.check(key)
        return key in self._cells or self._absent(key)

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
        if self._aliases is not None:
            self._note_alias(key, cell)

    def _publish(self, key: Key, cell: Cell | None, commit_number: int) -> None:
        flying = self._flight.get(key)
        if flying is not None and flying[0] == commit_number:
            del self._flight[key]
        before = self._cells.get(key)
        if self._indexes:
            self._reindex(key, before, cell)
        if self.damage and (cell is None or self.spec.kind != "bag"):
            self.damage.forget(key)
        if cell is not None:
            self._cells[key] = cell
        elif before is not None:
            del self._cells[key]

    def _forget_flight(self) -> None:
        self._flight.clear()
        if self._aliases is not None:
            self._track_aliases()
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
    def _load(self, env: Environment) -> int:
        """Fills the empty table from the disk; the oldest schema found, the table's own if there are no rows."""

    @abstractmethod
    def _entries(self, form: Form[R], key: Key, cell: Cell) -> list[tuple[bytes, bytes]]:
        """Keys and records of `cell` in one form, as they should be."""

    @abstractmethod
    def _image(self, form: Form[R], cell: Cell) -> Cell:
        """What one form can hold of `cell`."""

    # -- damaged rows ----------------

    def _absent(self, key: Key) -> bool:
        """False, of a key that was not found.

        Raises:
            Corrupt: Its row is there, and damaged.
        """
        if self.damage and key not in self._flight:
            self.damage.refuse(key)
        return False

    def _settle_damage(self, key: Key, ops: list[Op]) -> None:
        """Adds that what is in quarantine for `key` is done with: it is written or deleted."""
        if self.damage:
            ops.extend((quarantine.DB_NAME, quarantine.place(item.id), None) for item in self.damage.settled(key))

    def _damaged(self, form: Form[R], packed: bytes, record: bytes, error: Corrupt) -> Quarantined:
        """A record that could not be read, if it is damaged.

        Raises:
            Corrupt: `error`, if it is whole: what is wrong then is not the disk.
        """
        why = quarantine.problem(packed, record)
        if not why:
            raise error
        suffix = len(form.suffix(packed))
        found = quarantine.possible_keys(
            packed,
            record,
            lambda fields, schema: self.spec.key_of(self.spec.row_of(fields, schema, packed)),
            suffix_bytes=suffix,
        )
        return Quarantined(
            id=quarantine.id_of(form.db_name, packed),
            table=self.name,
            db_name=form.db_name,
            packed=packed,
            record=record,
            keys=found,
            why=why,
            found_s=time.time(),
        )

    def _set_aside(self, env: Environment, found: Sequence[Quarantined]) -> None:
        """Moves damaged records into quarantine, and takes note of those that are there. Once the rows are loaded."""
        if found and not env.readonly:
            quarantine.move(env, found)
        known = {item.id: item for item in (*quarantine.items(env, self.name), *found)}
        for item in known.values():
            # A row that was written since is no damage any more.
            left = tuple(key for key in item.keys if key not in self._cells or self.spec.kind == "bag")
            if left or not item.keys:
                self.damage.add(replace(item, keys=left))

    # -- keys of another form ----------------

    def _track_aliases(self) -> None:
        """Begins to watch that no two rows have one key in a form with other keys, if there is such a form."""
        if self.spec.kind == "bag" or not any(form.rekeyed for form in self._forms()):
            self._aliases = None
            return
        self._aliases = {}
        for key in (*self._cells, *self._flight):
            self._note_alias(key, self._cell(key))

    def _note_alias(self, key: Key, cell: Cell | None) -> None:
        for form in self._forms():
            if form.rekeyed and self._aliases is not None:
                # What a row leaves stays noted: whether it is still its own is looked up.
                self._aliases.update((form.pack(row), key) for row in self._rows_of(cell))

    def _refuse_clash(self, cells: dict[Key, Cell | None]) -> None:
        """Returns only if the rows to be written have keys of their own in every form.

        Raises:
            Conflict: Two rows, which are two now, would be one in a form that is still kept.
        """
        form = next((form for form in self._forms() if form.rekeyed), None)
        if form is None or self._aliases is None:
            self._aliases = None
            return
        taken: dict[bytes, Key] = {}
        for key, cell in cells.items():
            for row in self._rows_of(cell):
                alias = form.pack(row)
                owner = taken.setdefault(alias, key)
                if owner == key:
                    owner = self._aliases.get(alias, key)
                    there = cells[owner] if owner in cells else self._cell(owner)
                    if alias not in map(form.pack, self._rows_of(there)):
                        owner = key
                if owner != key:
                    raise Conflict(
                        f"cannot insert {key!r:.80} into {self.name!r}: in its form of schema {form.schema}, which is "
                        f"still kept, it would take the place of {owner!r:.80}",
                        hint=f"finish the migration first: henslowe storage migrate {self.name} --to drop",
                        table=self.name,
                    )

    def _alias_ops(self, cells: dict[Key, Cell | None]) -> list[Op]:
        """What a form with other keys must do for the cells of one commit: first what they leave, then what they take.

        For all of them together: one row may move to where another one was. A bag's rows never share a key.
        """
        left: list[Op] = []
        taken: list[Op] = []
        for form in self._forms() if self.spec.kind != "bag" else ():
            if form.rekeyed:
                for key, cell in cells.items():
                    left.extend((form.db_name, form.pack(row), None) for row in self._rows_of(self._cell(key)))
                    taken.extend((form.db_name, *form.put(row)[:2]) for row in self._rows_of(cell))
        return left + taken

    def _indexed(self, index: str, value: Hashable) -> tuple[Cell, ...]:
        if index not in self._indexes:
            raise StorageError(f"expected an index of table {self.name!r}, got {index!r}")
        return tuple(self._indexes[index].get(value, {}).values())
