"""What would be migrated, or is being: computed from what lies on disk, without changing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from henslowe.storage import codec
from henslowe.storage.env import Environment
from henslowe.storage.migrations.places import Places
from henslowe.storage.migrations.progress import MIGRATIONS, MigrationRow, Phase, db_name
from henslowe.storage.sealing import NO_KEYS
from henslowe.storage.tablespec import Space, TableSpec


@dataclass(frozen=True, slots=True)
class Planned:
    """A migration that is under way or would begin: what `henslowe storage migrate --plan` shows."""

    table: str
    from_schema: int
    to_schema: int
    phase: Phase | None
    """The last one that is complete; None when nothing has begun."""
    rows: int
    size_bytes: int
    reversible: bool
    """Whether an older Henslowe can take over again, with the rows that are written meanwhile."""
    problem: str = ""


def planned(env: Environment, places: Places[Any]) -> Planned | None:
    """What is to be done for one table; None for nothing."""
    row = places.state
    if row is not None and row.running:
        phase, from_schema, to_schema, problem = row.phase, row.from_schema, row.to_schema, row.problem
    elif places.pending:
        phase, from_schema, to_schema, problem = None, places.level_of(row), places.spec.schema, ""
    else:
        return None
    with env.read() as txn:
        facts = txn.stat(db=env.db(places.forms()[0].db_name))
    pages = facts["branch_pages"] + facts["leaf_pages"] + facts["overflow_pages"]
    return Planned(
        table=places.spec.name,
        from_schema=from_schema,
        to_schema=to_schema,
        phase=phase,
        rows=int(facts["entries"]),
        size_bytes=int(pages * facts["psize"]),
        reversible=not places.form(0, min(from_schema, to_schema)).own,
        problem=problem,
    )


def look(data_dir: Path, specs: Iterable[TableSpec[Any]]) -> tuple[list[MigrationRow], list[Planned]]:
    """The migrations of a data directory and what would be migrated, read beside its node or without one.

    Raises:
        StorageError: No store is there.
        FormatTooNew: A newer Henslowe has a table of `specs` in its hands.
        Corrupt: A row of the migrations cannot be read.
    """
    env = Environment.open_readonly(data_dir / Space.CORE)
    try:
        names, rows = env.names(), states(env)
        found = []
        for spec in specs:
            row = rows.get(spec.name)
            place = db_name(spec.name, row.generation if row is not None else 0)
            if not spec.durable or spec.space is not Space.CORE or place not in names:
                continue
            places = Places(spec, NO_KEYS, lambda row=row: row)  # type: ignore[misc]
            if spec.migrations:
                places.settle(_oldest(env, place, spec.schema))
            found.append(planned(env, places))
        return sorted(rows.values(), key=lambda row: row.table), [each for each in found if each is not None]
    finally:
        env.close()


def states(env: Environment) -> dict[str, MigrationRow]:
    """The newest migration of each table that ever had one, as committed now.

    Raises:
        Corrupt: A row cannot be read.
    """
    name = db_name(MIGRATIONS.name, 0)
    if name not in env.names():
        return {}
    db = env.db(name)
    with env.read() as txn:
        found = (codec.unseal(packed, record) for packed, record in txn.cursor(db=db))
        rows = [MIGRATIONS.decode(body, schema) for schema, body in found]
    return {row.table: row for row in rows}


def _oldest(env: Environment, name: str, schema: int) -> int:
    db = env.db(name)
    with env.read() as txn:
        return min((codec.schema_of(record) for record in txn.cursor(db=db).iternext(keys=False)), default=schema)
