"""A table in two schemas, for the tests of migrations: the key, a name and a number change."""

from typing import Any

from pydantic import BaseModel

from henslowe.storage import Store, TableSpec
from henslowe.storage.migrations.declared import Migration
from henslowe.storage.migrations.engine import Migrator
from henslowe.storage.migrations.progress import Phase

LATER = 10.0**12
"""Any rollback window is over by then."""


class Person1(BaseModel, frozen=True, extra="forbid"):
    name: str
    age_s: int


class Person2(BaseModel, frozen=True, extra="forbid"):
    zone: str
    name: str
    age_ms: int
    note: str = ""
    """The old schema has no room for it."""


def forward(fields: dict[str, Any]) -> dict[str, Any]:
    zone, _, name = fields["name"].partition("/")
    return {"zone": zone, "name": name, "age_ms": fields["age_s"] * 1000}


def backward(fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"{fields['zone']}/{fields['name']}", "age_s": fields["age_ms"] // 1000}


REKEYED = Migration("people", 1, 2, forward, backward, from_key="name")


def old_spec(kind: Any = "ordered_set") -> TableSpec[Person1]:
    return TableSpec(name="people", row_type=Person1, key="name", kind=kind)


def new_spec(migration: Migration = REKEYED, kind: Any = "ordered_set") -> TableSpec[Person2]:
    return TableSpec(
        name="people", row_type=Person2, key=("zone", "name"), kind=kind, schema=2, migrations=(migration,)
    )


def old(number: int, age_s: int = 7) -> Person1:
    return Person1(name=f"z{number % 3}/p{number:04}", age_s=age_s)


def new(number: int, age_s: int = 7, note: str = "") -> Person2:
    return Person2(zone=f"z{number % 3}", name=f"p{number:04}", age_ms=age_s * 1000, note=note)


def key(number: int) -> tuple[str, str]:
    return (f"z{number % 3}", f"p{number:04}")


def migrator(store: Store) -> Migrator:
    return store.migrator


async def lead(store: Store, to: Phase, table: str = "people") -> None:
    """Begins the migration and works until `to` is complete, without a pause."""
    await store.migrator.begin(table, goal=to, by="test")
    await finish(store, table)


async def finish(store: Store, table: str = "people") -> None:
    while await store.migrator.step(table, now_s=0.0, window_s=LATER):
        pass
