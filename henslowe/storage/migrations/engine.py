"""Carries migrations out: one page of one table at a time, each page a commit of its own.

    migrator = Migrator(space)
    await migrator.begin("services", goal=Phase.FLIP, by="ada")
    while await migrator.step("services", now_s=time.time(), window_s=0):
        ...                                     # pause here, so that others are not held up
    await migrator.roll_back("services", by="ada")

Copying is exact without locks: a page is put together from what *will* be committed, in one step of the loop, and
commits are applied in the order of their submission; a write that comes later goes to both forms by itself.

Runs in: the loop. Who calls `step`, and how often, is the caller's: the node's `runner`, or a command without a node.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from henslowe.errors import Conflict, HensloweError, NotFound
from henslowe.storage.cells import TableBase
from henslowe.storage.events import EventDraft
from henslowe.storage.keys import Key
from henslowe.storage.migrations.compare import after, compare
from henslowe.storage.migrations.forms import WHOLE, Form
from henslowe.storage.migrations.places import Places
from henslowe.storage.migrations.planning import Planned, planned
from henslowe.storage.migrations.progress import BY_ITSELF, MIGRATIONS, MigrationRow, Phase, db_name, following, settled

if TYPE_CHECKING:
    from henslowe.storage.tablespace import Tablespace
    from henslowe.storage.transaction import Transaction

PAGE_ROWS: Final = 50
"""Rows copied in one step of the loop: some milliseconds."""
EVENT: Final = "TABLE_MIGRATED"
"""The event of every completed phase; `henslowe.actors.vocabulary` describes it."""


class Migrator:
    """Migrates the tables of one space that are open."""

    def __init__(self, space: Tablespace) -> None:
        self._space = space
        self._rows = space.table(MIGRATIONS)

    # -- looking ----------------

    def rows(self) -> tuple[MigrationRow, ...]:
        """The newest migration of each table that ever had one, by name."""
        return tuple(sorted(self._rows.rows(), key=lambda row: row.table))

    def waiting(self) -> list[str]:
        """Open tables with rows of an older schema whose migration should begin by itself."""
        return [
            name
            for name, places in sorted(self._space.places.items())
            if not settled(places.state, pending=places.pending)
        ]

    def running(self) -> list[str]:
        """Open tables whose migration is under way."""
        return [name for name, places in sorted(self._space.places.items()) if places.state and places.state.running]

    def plan(self) -> list[Planned]:
        """What is under way and what would begin, by table."""
        found = (planned(self._space.env, places) for _, places in sorted(self._space.places.items()))
        return [each for each in found if each is not None]

    def next_phase(self, table: str, *, now_s: float, window_s: float) -> Phase | None:
        """What `step` would work on; None when it has nothing to do."""
        row = self._places(table).state
        return None if row is None else following(row, now_s=now_s, window_s=window_s)

    # -- changing ----------------

    async def begin(self, table: str, *, goal: Phase = Phase.FLIP, by: str = BY_ITSELF) -> MigrationRow:
        """Begins the migration of `table`, or sends one that is under way further: on to `goal`.

        Raises:
            NotFound: No such table is open, or it needs no migration.
            StorageDegraded: The disk refused; nothing changed.
        """
        places = self._places(table)
        row = places.state
        if row is not None and row.running:
            return await self._save(row, row.model_copy(update={"goal": goal, "problem": ""}))
        if not places.pending:
            raise NotFound(
                f"cannot migrate table {table!r}: its rows have schema {places.spec.schema}, the newest one",
                hint="henslowe storage migrate --plan shows what would be migrated",
            )
        return await self._expand(places, places.level_of(row), places.spec.schema, goal, by)

    async def roll_back(self, table: str, *, by: str) -> MigrationRow:
        """Makes the form that `table` had before its migration the table again, with all that was written since.

        At once while there are both; after the drop by a migration the other way round, which then is under way.

        Raises:
            NotFound: The table was never migrated.
            Conflict: It is rolled back already, or there is no way back after the drop.
        """
        places = self._places(table)
        row = places.state
        if row is None:
            raise NotFound(f"cannot roll back table {table!r}: it was never migrated")
        if not row.running:
            return await self._return(places, row, by)
        shown = await self._shown(table, places.forms()[1]) if row.flipped else None
        row = places.state
        if row is None or not row.running:
            raise Conflict(f"cannot roll back table {table!r}: its migration went on meanwhile", hint="try again")
        new = row.model_copy(
            update={"phase": Phase.ROLLED_BACK, "by": by, "changed_s": time.time(), "problem": "", "cursor": b""}
        )
        txn = self._transition(row, new)
        txn.write(db_name(table, row.to_generation), WHOLE, None)
        if shown is not None:
            self._show(txn, table, places.forms()[1], shown)
        await txn.commit()
        return new

    async def step(self, table: str, *, now_s: float, window_s: float) -> bool:
        """Does one page of what is to be done for `table`; whether there may be more.

        A row that cannot be migrated stops the migration and is told in its `problem`: the table works on as it is.

        Raises:
            StorageDegraded: The disk refused; the page can be tried again.
        """
        places = self._places(table)
        row = places.state
        wanted = None if row is None else following(row, now_s=now_s, window_s=window_s)
        if row is None or wanted is None:
            return False
        try:
            match wanted:
                case Phase.BACKFILL:
                    await self._copy(places, row)
                case Phase.VERIFY:
                    await self._compare(places, row)
                case Phase.FLIP:
                    await self._flip(places, row)
                case _:
                    txn = self._transition(row, _completed(row, Phase.DROP))
                    txn.write(db_name(table, row.from_generation), WHOLE, None)
                    await txn.commit()
        except _Stopped as stopped:
            current = places.state
            if current is not None and current.running:
                await self._save(current, current.model_copy(update={"problem": str(stopped)}))
            return False
        except Conflict:
            # Somebody's command came between: what is to be done now is another question.
            pass
        return True

    # -- the phases ----------------

    async def _expand(
        self, places: Places[Any], from_schema: int, to_schema: int, goal: Phase, by: str
    ) -> MigrationRow:
        before, table = places.state, places.spec.name
        generation = before.generation if before is not None else 0
        # The other one of two, which is empty: as many migrations as there may be need no third sub-database.
        other = 0 if generation else 1
        now_s = time.time()
        row = MigrationRow(
            table=table,
            from_schema=from_schema,
            to_schema=to_schema,
            from_generation=generation,
            to_generation=other,
            phase=Phase.EXPAND,
            goal=goal,
            started_s=now_s,
            changed_s=now_s,
            by=by,
        )
        self._space.env.declare({db_name(table, other): False})
        txn = self._transition(before, row)
        txn.write(db_name(table, other), WHOLE, None)
        committed = txn.submit()
        # The forms are both there from here on.
        self._table(table)._track_aliases()
        await committed
        return row

    async def _copy(self, places: Places[Any], row: MigrationRow) -> None:
        table, target = self._table(row.table), places.form(row.to_generation, row.to_schema)
        page = self._page(places, row, PAGE_ROWS)
        if not page:
            await self._save(row, _completed(row, Phase.BACKFILL))
            return
        txn = self._changing(row, _advanced(row, page[-1][0], len(page)))
        source = places.form(row.from_generation, row.from_schema)
        try:
            for packed, record in page:
                key = source.read(packed, record)[0]
                # What will be there, not what is: a commit in flight may have changed or removed it.
                cell = table._cell(key)
                if cell is not None:
                    # Of a bag's rows under the key the one that this is, if it is still there.
                    tail = source.suffix(packed)
                    for copied, sealed in table._entries(target, key, cell):
                        if copied.endswith(tail):
                            txn.write(target.db_name, copied, sealed)
        except HensloweError as error:
            raise _Stopped(error.message) from error
        await txn.commit()

    async def _compare(self, places: Places[Any], row: MigrationRow) -> None:
        source = places.form(row.from_generation, row.from_schema)
        target = places.form(row.to_generation, row.to_schema)
        # In a thread: nothing of the loop is touched, and others have their turn.
        found = await asyncio.to_thread(compare, self._space.env, source, target, row.cursor)
        if found.problem:
            raise _Stopped(found.problem)
        if not found.rows:
            await self._save(row, _completed(row, Phase.VERIFY))
        else:
            await self._save(row, _advanced(row, found.cursor, found.rows))

    async def _flip(self, places: Places[Any], row: MigrationRow) -> None:
        target = places.form(row.to_generation, row.to_schema)
        shown = None if target.own else await self._shown(row.table, target)
        txn = self._transition(row, _completed(row, Phase.FLIP))
        if shown is not None:
            self._show(txn, row.table, target, shown)
        await txn.commit()

    async def _return(self, places: Places[Any], row: MigrationRow, by: str) -> MigrationRow:
        """Begins the way back after the drop."""
        older = min(row.from_schema, row.to_schema)
        if places.pending:
            raise Conflict(f"cannot roll back table {row.table!r}: it is back at schema {places.level_of(row)}")
        if places.form(0, older).own:
            raise Conflict(
                f"cannot roll back table {row.table!r}: its migration from schema {older} has no way back",
                hint="restore a backup from before it",
            )
        return await self._expand(places, places.spec.schema, older, Phase.FLIP, by)

    # -- what readers see ----------------

    async def _shown(self, table: str, form: Form[Any]) -> _Shown:
        """What `form` holds of every row, found out away from the loop while rows may change."""
        found = self._table(table)
        cells = dict(found._cells)
        return _Shown(cells, await asyncio.to_thread(_images, found, form, cells))

    def _show(self, txn: Transaction, table: str, form: Form[Any], shown: _Shown) -> None:
        """Shows every row as `form` holds it from this commit on."""
        found = self._table(table)
        late: dict[Key, Any] = {}
        for key in {*found._cells, *found._flight}:
            cell = found._cell(key)
            if cell is not None and shown.cells.get(key) is not cell:
                late[key] = cell
            elif key in shown.images:
                txn.show(found, key, shown.images[key])
        for key, image in _images(found, form, late).items():
            txn.show(found, key, image)

    # -- commits ----------------

    def _transition(self, before: MigrationRow | None, after: MigrationRow) -> Transaction:
        """A commit that completes a phase, with its event."""
        txn = self._changing(before, after)
        data = {
            "table": after.table,
            "phase": after.phase.value,
            "from_schema": after.from_schema,
            "to_schema": after.to_schema,
            "rows": len(self._table(after.table)),
            "by": after.by,
        }
        txn.append(EventDraft("lifecycle", EVENT, "SUCCESS", data=data))
        return txn

    def _changing(self, before: MigrationRow | None, after: MigrationRow) -> Transaction:
        txn = self._space.transaction()
        txn.expect(self._rows, after.table, before)
        txn.put(self._rows, after)
        return txn

    async def _save(self, before: MigrationRow, after: MigrationRow) -> MigrationRow:
        completed = after.phase is not before.phase
        txn = self._transition(before, after) if completed else self._changing(before, after)
        if after.problem and not before.problem:
            data = {"table": after.table, "phase": after.phase.value, "problem": after.problem, "by": after.by}
            txn.append(EventDraft("lifecycle", EVENT, "FAILED", data=data))
        await txn.commit()
        return after

    # -- rows ----------------

    def _places(self, table: str) -> Places[Any]:
        found = self._space.places.get(table)
        if found is None:
            known = ", ".join(sorted(self._space.places)) or "none"
            raise NotFound(f"cannot find table {table!r}: {known} are open", table=table)
        return found

    def _table(self, table: str) -> TableBase[Any, Any]:
        return self._space.opened(table)

    def _page(self, places: Places[Any], row: MigrationRow, limit: int) -> list[tuple[bytes, bytes]]:
        """The next records of the form that is copied."""
        env = self._space.env
        with env.read() as txn, txn.cursor(db=env.db(db_name(places.spec.name, row.from_generation))) as cursor:
            return list(after(cursor, row.cursor, limit))


@dataclass(slots=True)
class _Shown:
    """The cells that were looked at, and what a form holds of those that it cannot hold whole."""

    cells: dict[Key, Any]
    images: dict[Key, Any]


class _Stopped(Exception):
    """A row does not fit: the migration stands still until somebody looks."""


def _completed(row: MigrationRow, phase: Phase) -> MigrationRow:
    now_s = time.time()
    update = {"phase": phase, "changed_s": now_s, "cursor": b"", "rows": 0}
    if phase is Phase.FLIP:
        update["flipped_s"] = now_s
    return row.model_copy(update=update)


def _advanced(row: MigrationRow, cursor: bytes, count: int) -> MigrationRow:
    return row.model_copy(update={"cursor": cursor, "rows": row.rows + count})


def _images(table: TableBase[Any, Any], form: Form[Any], cells: dict[Key, Any]) -> dict[Key, Any]:
    """What `form` holds of those cells that it cannot hold whole. Runs in: any thread."""
    images = ((key, cell, table._image(form, cell)) for key, cell in cells.items())
    return {key: image for key, cell, image in images if image != cell}
