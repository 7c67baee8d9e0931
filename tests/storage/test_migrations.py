"""Migrations of a table's schema: phases, live writes, rollback, old readers, restarts."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from henslowe.errors import Conflict, FormatTooNew, NotFound, StorageDegraded
from henslowe.storage import ReadonlyStore, Store, TableSpec
from henslowe.storage.migrations.declared import Migration
from henslowe.storage.migrations.progress import ORDER, Phase
from tests.storage.faults import Fault, Faults
from tests.storage.migrating import (
    LATER,
    Person1,
    Person2,
    backward,
    finish,
    forward,
    key,
    lead,
    new,
    new_spec,
    old,
    old_spec,
)
from tests.storage.stores import OpenStore

ROWS = 130
"""More than two pages."""


async def fill(open_store: OpenStore, kind: Any = "ordered_set") -> None:
    async with open_store() as store:
        table = opened(store, old_spec(kind))
        await table.insert(*(old(number) for number in range(ROWS)))


def opened(store: Store, spec: TableSpec[Any]) -> Any:
    return store.bag(spec) if spec.kind == "bag" else store.table(spec)


def entries(store: Store, db_name: str) -> int:
    env = store._env
    db = env.db(db_name)
    with env.read() as txn:
        return int(txn.stat(db=db)["entries"])


def read_by(store: Store, spec: TableSpec[Any]) -> tuple[Any, ...]:
    """What another process with this spec reads: LMDB lets one process open an environment once, so here its reader."""
    return ReadonlyStore(store._env).table(spec).rows()


async def test_a_table_of_an_older_schema_is_used_before_anything_is_migrated(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        assert people.lookup(key(5)) == new(5)
        await people.insert(new(5, age_s=9))
        await people.delete(key(6))
        await people.insert(new(900))
    async with open_store() as store:
        # An older Henslowe takes over as if nothing had happened.
        before = store.table(old_spec())
        assert before.lookup(old(5).name) == old(5, age_s=9)
        assert before.lookup(old(6).name) is None
        assert before.lookup(old(900).name) == old(900)


async def test_all_phases_lead_to_the_new_schema(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        expected = people.rows()
        for phase in ORDER:
            await lead(store, phase)
            (row,) = store.migrator.rows()
            assert (row.phase, row.problem) == (phase, "")
            assert people.rows() == expected
        assert entries(store, "t.people@1") == ROWS
        assert entries(store, "t.people") == 0
        said = [event.data["phase"] for event in store.events.read(types="TABLE_MIGRATED")]
        assert said == [phase.value for phase in ORDER]
    async with open_store() as store:
        people = store.table(new_spec())
        assert people.rows() == expected
        assert store.migrator.plan() == []
        assert store.migrator.waiting() == []


@pytest.mark.parametrize("kind", ["set", "ordered_set", "bag"])
@pytest.mark.parametrize("phase", ORDER)
async def test_writes_in_any_phase_are_there_after_it_and_after_a_rollback(
    open_store: OpenStore, kind: Any, phase: Phase
) -> None:
    await fill(open_store, kind)
    async with open_store() as store:
        people = opened(store, new_spec(kind=kind))
        await lead(store, phase)
        await people.delete(key(2))
        await people.insert(new(1, age_s=50), new(700))
        expected = set(people.rows())
        assert expected >= {new(1, age_s=50), new(700)}
    async with open_store() as store:
        people = opened(store, new_spec(kind=kind))
        assert set(people.rows()) == expected
        await store.migrator.roll_back("people", by="ada")
        await finish(store)
        assert set(people.rows()) == expected
        await people.insert(new(701))
        assert set(people.rows()) == expected | {new(701)}
        if phase is Phase.DROP:
            await lead_to_drop(store)
    async with open_store() as store:
        before = opened(store, old_spec(kind))
        assert {(row.name, row.age_s) for row in before.rows()} == {
            (f"{row.zone}/{row.name}", row.age_ms // 1000) for row in expected | {new(701)}
        }


async def lead_to_drop(store: Store) -> None:
    """A rollback after the drop is a migration of its own, which ends with a drop."""
    await lead(store, Phase.DROP)


async def test_before_the_flip_a_row_shows_what_the_old_schema_can_hold_and_then_all_of_it(
    open_store: OpenStore,
) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        await lead(store, Phase.VERIFY)
        await people.insert(new(1, note="hello"))
        assert people.lookup(key(1)) == new(1)
        await lead(store, Phase.FLIP)
        await people.insert(new(1, note="hello"))
        assert people.lookup(key(1)) == new(1, note="hello")
    async with open_store() as store:
        people = store.table(new_spec())
        assert people.lookup(key(1)) == new(1, note="hello")
        await store.migrator.roll_back("people", by="ada")
        # The old schema is the truth again, and shown as such.
        assert people.lookup(key(1)) == new(1)


async def test_a_backfill_copies_what_will_be_there_not_what_was(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        await store.migrator.begin("people", goal=Phase.VERIFY, by="test")

        async def write(number: int) -> None:
            if number % 5 == 0:
                await people.delete(key(number))
            else:
                await people.insert(new(number, age_s=number))

        working = True
        for number in range(0, ROWS, 2):
            # In flight together with a page, submitted before and after it.
            before = asyncio.ensure_future(write(number))
            working = await store.migrator.step("people", now_s=0.0, window_s=LATER)
            await asyncio.gather(before, write(number + 1))
        assert not working
        (row,) = store.migrator.rows()
        assert (row.phase, row.problem) == (Phase.VERIFY, "")
        assert len(people) == ROWS * 4 // 5


@pytest.mark.parametrize("phase", ORDER[:-1])
async def test_readers_of_the_old_schema_read_on_until_the_drop(open_store: OpenStore, phase: Phase) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        await lead(store, phase)
        await people.insert(new(1, age_s=3, note="x"))
        assert ({row.name: row for row in read_by(store, old_spec())})[old(1).name] == old(1, age_s=3)
        assert len(read_by(store, old_spec())) == ROWS
        assert set(read_by(store, new_spec())) == set(people.rows())
        await lead(store, Phase.DROP)
        with pytest.raises(FormatTooNew, match="cannot read table 'people': expected schema 1 or older, got 2"):
            read_by(store, old_spec())
        assert len(read_by(store, new_spec())) == ROWS


async def test_an_older_node_refuses_a_table_that_is_being_migrated_and_changes_nothing(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        store.table(new_spec())
        await lead(store, Phase.BACKFILL)
        data_dir, life = store.data_dir, store.incarnation
    for _ in range(2):
        with pytest.raises(FormatTooNew, match=r"it is being migrated from schema 1 to 2 \(backfill is complete\)"):
            Store.open(data_dir, "n1", tables=[old_spec()])
    async with open_store() as store:
        assert (store.incarnation, store.recovered) == (life + 1, False)
        store.table(new_spec())
        await store.migrator.roll_back("people", by="ada")
    async with open_store() as store:
        assert len(store.table(old_spec())) == ROWS


async def test_rows_of_an_unknown_schema_are_refused_with_their_place(open_store: OpenStore) -> None:
    newer = TableSpec(name="people", row_type=Person1, key="name", schema=2, upcast={1: dict})
    async with open_store() as store:
        await store.table(newer).insert(old(3))
    async with open_store() as store:
        with pytest.raises(FormatTooNew, match=r"'people', .*p0003.*: expected schema 1 or older, got 2"):
            store.table(old_spec())


async def test_a_commit_that_fails_while_flipping_leaves_the_phase_as_it_was(
    open_store: OpenStore, faults: Faults
) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        await lead(store, Phase.VERIFY)
        await store.migrator.begin("people", goal=Phase.FLIP, by="test")
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await store.migrator.step("people", now_s=0.0, window_s=LATER)
        assert store.migrator.rows()[0].phase is Phase.VERIFY
        await people.insert(new(1, note="not kept before the flip"))
        assert people.lookup(key(1)) == new(1)
        await finish(store)
        assert store.migrator.rows()[0].phase is Phase.FLIP


async def test_a_way_back_that_does_not_give_the_old_row_stops_the_migration(open_store: OpenStore) -> None:
    await fill(open_store)
    rounding = replace(new_spec().migrations[0], backward=lambda fields: backward(fields) | {"age_s": 0})
    async with open_store() as store:
        people = store.table(new_spec(rounding))
        expected = people.rows()
        await lead(store, Phase.FLIP)
        (row,) = store.migrator.rows()
        assert row.phase is Phase.BACKFILL
        assert "backward does not undo forward" in row.problem
        assert people.rows() == expected
        (failed,) = [event for event in store.events.read(types="TABLE_MIGRATED") if event.status == "FAILED"]
        assert failed.data["table"] == "people"
        await store.migrator.roll_back("people", by="ada")
    async with open_store() as store:
        assert set(store.table(old_spec()).rows()) == {old(number) for number in range(ROWS)}


async def test_two_rows_that_would_be_one_in_the_kept_old_form_are_refused(open_store: OpenStore) -> None:
    # The old key was the name alone: the new one may hold a name in two zones, the old one not.
    class Zoned1(Person1, frozen=True):
        zone: str

    widening = Migration("people", 1, 2, dict, dict, from_key="name")
    before = TableSpec(name="people", row_type=Zoned1, key="name")
    after = TableSpec(name="people", row_type=Zoned1, key=("zone", "name"), schema=2, migrations=(widening,))
    async with open_store() as store:
        await store.table(before).insert(Zoned1(name="a", zone="x", age_s=1), Zoned1(name="b", zone="x", age_s=1))
    async with open_store() as store:
        people = store.table(after)
        for phase in ORDER[:-1]:
            await lead(store, phase)
            with pytest.raises(Conflict, match=r"it would take the place of \('x', 'a'\)"):
                await people.insert(Zoned1(name="a", zone="y", age_s=2))
            with pytest.raises(Conflict):
                await people.insert(Zoned1(name="c", zone="x", age_s=2), Zoned1(name="c", zone="y", age_s=2))
        # One that makes room in the same commit is fine.
        txn = store.transaction()
        txn.delete(people, ("x", "b"))
        txn.put(people, Zoned1(name="b", zone="y", age_s=3))
        await txn.commit()
        await lead(store, Phase.DROP)
        await people.insert(Zoned1(name="a", zone="y", age_s=2))
        assert len(people) == 3

        # The way back stops at them, with every row where it was, and is open once they are two again.
        await store.migrator.roll_back("people", by="ada")
        await finish(store)
        (row,) = store.migrator.rows()
        assert row.running
        assert row.problem == "expected 3 rows in t.people, got 2: do two rows have one key there?"
        await store.migrator.roll_back("people", by="ada")
        assert len(people) == 3
        await people.delete(("y", "a"))
        await store.migrator.roll_back("people", by="ada")
        await finish(store)
        assert [row.problem for row in store.migrator.rows()] == [""]
        assert {row.name for row in read_by(store, before)} == {"a", "b"}


async def test_without_a_way_back_the_new_rows_are_kept_in_both_forms(open_store: OpenStore) -> None:
    class Hashed(BaseModel, frozen=True):
        name: str
        digest: int

    one_way = Migration("people", 1, 2, lambda fields: {"name": fields["name"], "digest": fields["age_s"] % 5})
    after = TableSpec(name="people", row_type=Hashed, key="name", schema=2, migrations=(one_way,))
    await fill(open_store, "set")
    async with open_store() as store:
        people = store.table(after)
        assert [plan.reversible for plan in store.migrator.plan()] == [False]
        await people.insert(Hashed(name="early", digest=99))
        await lead(store, Phase.FLIP)
        assert store.migrator.rows()[0].phase is Phase.FLIP
        await people.insert(Hashed(name="late", digest=98))
        expected = set(people.rows())
        await store.migrator.roll_back("people", by="ada")
        assert set(people.rows()) == expected
    async with open_store() as store:
        people = store.table(after)
        assert set(people.rows()) == expected
        await lead(store, Phase.DROP)
        assert set(people.rows()) == expected
        with pytest.raises(Conflict, match="has no way back"):
            await store.migrator.roll_back("people", by="ada")


async def test_a_chain_of_upcasts_and_migrations_is_one_migration(open_store: OpenStore) -> None:
    class Third(Person2, frozen=True):
        tags: tuple[str, ...] = ()

    second = Migration(
        "people", 2, 3, lambda fields: fields | {"tags": ["old"]}, lambda fields: without(fields, "tags")
    )
    spec = TableSpec(
        name="people", row_type=Third, key=("zone", "name"), schema=3, migrations=(new_spec().migrations[0], second)
    )
    await fill(open_store, "set")
    async with open_store() as store:
        people = store.table(spec)
        (plan,) = store.migrator.plan()
        assert (plan.from_schema, plan.to_schema, plan.rows, plan.reversible) == (1, 3, ROWS, True)
        assert people.lookup(key(4)).tags == ("old",)
        await lead(store, Phase.DROP)
        await store.migrator.roll_back("people", by="ada")
        await lead(store, Phase.DROP)
    async with open_store() as store:
        # There and back again.
        assert (entries(store, "t.people"), entries(store, "t.people@1")) == (ROWS, 0)
        assert set(store.table(old_spec("set")).rows()) == {old(number) for number in range(ROWS)}


async def test_the_rollback_window_ends_by_itself(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        store.table(new_spec())
        await lead(store, Phase.FLIP)
        flipped_s = store.migrator.rows()[0].flipped_s
        assert not await store.migrator.step("people", now_s=flipped_s + 59, window_s=60)
        assert await store.migrator.step("people", now_s=flipped_s + 61, window_s=60)
        assert store.migrator.rows()[0].phase is Phase.DROP


async def test_what_was_rolled_back_does_not_begin_again_by_itself(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        store.table(new_spec())
        assert store.migrator.waiting() == ["people"]
        await lead(store, Phase.BACKFILL)
        await store.migrator.roll_back("people", by="ada")
        assert store.migrator.waiting() == []
    async with open_store() as store:
        store.table(new_spec())
        assert store.migrator.waiting() == []
        await lead(store, Phase.DROP)
        assert entries(store, "t.people@1") == ROWS


async def test_an_empty_table_and_an_unknown_one_need_no_migration(open_store: OpenStore) -> None:
    async with open_store() as store:
        people = store.table(new_spec())
        assert store.migrator.waiting() == []
        with pytest.raises(NotFound, match="its rows have schema 2, the newest one"):
            await store.migrator.begin("people", by="ada")
        with pytest.raises(NotFound, match="never migrated"):
            await store.migrator.roll_back("people", by="ada")
        with pytest.raises(NotFound, match="cannot find table 'nobody'"):
            await store.migrator.begin("nobody", by="ada")
        await people.insert(new(1, note="all of it"))
    async with open_store() as store:
        assert store.table(new_spec()).lookup(key(1)) == new(1, note="all of it")


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in fields.items() if each != name}


def test_a_declaration_that_cannot_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="to have a way back: it changes the key"):
        Migration("people", 1, 2, forward, from_key="name")
    with pytest.raises(TypeError, match="to a later schema, got 2 to 2"):
        Migration("people", 2, 2, forward)
    with pytest.raises(TypeError, match="an upcast from schema 1, got several"):
        replace(new_spec(), upcast={1: dict})
    with pytest.raises(TypeError, match="expected migrations of table 'other'"):
        replace(new_spec(), name="other")


async def test_what_a_rolled_back_migration_had_copied_is_not_there_in_the_next_one(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        await lead(store, Phase.VERIFY)
        await store.migrator.roll_back("people", by="ada")
        assert entries(store, "t.people@1") == 0
        await people.delete(key(3))
        await people.insert(new(4, age_s=1))
        expected = people.rows()
        await lead(store, Phase.DROP)
        assert store.migrator.rows()[0].problem == ""
        assert (people.rows(), entries(store, "t.people@1")) == (expected, ROWS - 1)


async def test_a_row_that_changes_twice_in_one_commit_leaves_nothing_in_the_old_form(open_store: OpenStore) -> None:
    class Renamed(Person1, frozen=True):
        number: int

    by_number = Migration("people", 1, 2, dict, dict, from_key="name")
    before = TableSpec(name="people", row_type=Renamed, key="name")
    after = TableSpec(name="people", row_type=Renamed, key="number", schema=2, migrations=(by_number,))
    async with open_store() as store:
        await store.table(before).insert(*(Renamed(name=name, number=n, age_s=0) for n, name in enumerate("ab")))
    async with open_store() as store:
        people = store.table(after)
        for phase in ORDER[:-1]:
            await lead(store, phase)
            txn = store.transaction()
            # Two rows change their names with each other, one of them by way of a third one.
            names = [people.lookup(number).name for number in (0, 1)]
            for number, name in ((0, "c"), (1, names[0]), (0, names[1])):
                txn.put(people, Renamed(name=name, number=number, age_s=1))
            await txn.commit()
            assert {row.name: row.number for row in read_by(store, before)} == {names[1]: 0, names[0]: 1}
