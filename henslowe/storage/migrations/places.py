"""Which forms a table has now: what a write goes to, and what a reader may read.

`Places` answers for the node that writes; it asks for the newest state of the migration with every write, so that a
phase holds from the very commit that brings it. `readable` answers for a reader in another process, which may be older
than the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from henslowe.errors import FormatTooNew
from henslowe.storage.migrations.forms import Form
from henslowe.storage.migrations.progress import MigrationRow, db_name
from henslowe.storage.sealing import Sealer
from henslowe.storage.tablespec import R, TableSpec

State = Callable[[], MigrationRow | None]
"""The newest state of a table's migration, in flight or committed."""


class Places(Generic[R]):
    """The forms of one table, the one that is read first. Runs in: the loop."""

    def __init__(self, spec: TableSpec[R], sealer: Sealer, state: State) -> None:
        self.spec = spec
        self._sealer = sealer
        self._state = state
        row = state()
        if row is not None:
            refuse_newer(spec, row)
        self._generation = row.generation if row is not None else 0
        self._row = row
        self._level = spec.schema
        self._forms = self._made(row)

    @property
    def state(self) -> MigrationRow | None:
        """The newest state of the migration, in flight or committed; None when there never was one."""
        return self._state()

    @property
    def pending(self) -> bool:
        """Whether rows are kept under an older schema than the current one."""
        row = self._state()
        return self.level_of(row) < self.spec.schema

    def forms(self) -> tuple[Form[R], ...]:
        """Where a row is written now."""
        row = self._state()
        if row is not self._row:
            self._row, self._forms = row, self._made(row)
        return self._forms

    def names(self) -> list[str]:
        """The sub-databases that it is in, or may be in when it is migrated."""
        row = self._state()
        if row is None and not self.pending:
            return [db_name(self.spec.name, 0)]
        return [db_name(self.spec.name, 0), db_name(self.spec.name, 1)]

    def settle(self, oldest_schema: int) -> None:
        """Takes note of the oldest schema that was found while the table was read."""
        self._level = self.spec.level_of(oldest_schema)
        self._forms = self._made(self._row)

    def form(self, generation: int, schema: int) -> Form[R]:
        """The table's form in one of its sub-databases."""
        return Form(self.spec, db_name(self.spec.name, generation), schema, self._sealer)

    def level_of(self, row: MigrationRow | None) -> int:
        """The schema under which the table is kept."""
        if row is None:
            return self._level
        # What came to be in this life, or was rolled back, is of the schema that the row says; else newer migrations
        # may have been declared since, or none be needed because nothing old is left.
        if row.running or row.generation != self._generation or row.schema_now < max(row.from_schema, row.to_schema):
            return row.schema_now
        return self._level

    def _made(self, row: MigrationRow | None) -> tuple[Form[R], ...]:
        level = self.level_of(row)
        if row is None:
            return (self.form(0, level),)
        if not row.running:
            return (self.form(row.generation, level),)
        old, new = self.form(row.from_generation, row.from_schema), self.form(row.to_generation, row.to_schema)
        return (new, old) if row.flipped else (old, new)


def refuse_newer(spec: TableSpec[Any], row: MigrationRow) -> None:
    """Returns only if this Henslowe may write the table in the state that its migration is in.

    Raises:
        FormatTooNew: Another Henslowe is migrating it, or has migrated it further than this one knows.
    """
    latest = max(row.from_schema, row.to_schema)
    if row.running and latest != spec.schema:
        raise FormatTooNew(
            f"cannot open table {spec.name!r}: it is being migrated from schema {row.from_schema} to {row.to_schema} "
            f"({row.phase} is complete), and this Henslowe has schema {spec.schema}",
            hint="start the Henslowe that began it; it can finish it or take it back: "
            f"henslowe storage migrate {spec.name} --rollback",
            table=spec.name,
            found=latest,
            supported=spec.schema,
        )
    if row.schema_now > spec.schema:
        raise FormatTooNew(
            f"cannot open table {spec.name!r}: expected schema {spec.schema} or older, got {row.schema_now}",
            hint="start the newer Henslowe, or have it take the migration back: "
            f"henslowe storage migrate {spec.name} --rollback",
            table=spec.name,
            found=row.schema_now,
            supported=spec.schema,
        )


def readable(spec: TableSpec[R], row: MigrationRow | None, sealer: Sealer) -> Form[R]:
    """The form that a reader of this age reads: while there are two, there is one for older readers.

    Raises:
        FormatTooNew: All that is there is newer than the reader.
    """
    if row is None:
        return Form(spec, db_name(spec.name, 0), spec.schema, sealer)
    kept = [(row.generation, row.schema_now)]
    if row.running:
        kept += {(row.from_generation, row.from_schema), (row.to_generation, row.to_schema)} - set(kept)
    for generation, schema in kept:
        if schema <= spec.schema and (row.flipped or generation == row.generation):
            return Form(spec, db_name(spec.name, generation), spec.schema, sealer)
    raise FormatTooNew(
        f"cannot read table {spec.name!r}: expected schema {spec.schema} or older, got {row.schema_now}",
        hint="use the newer Henslowe",
        table=spec.name,
        found=row.schema_now,
        supported=spec.schema,
    )
