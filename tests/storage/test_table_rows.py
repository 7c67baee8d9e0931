"""What a row may be, and what a restart makes of it."""

import asyncio

import pytest
from pydantic import BaseModel, Field

from henslowe.errors import FormatTooNew, KeyRefused, LimitReached, NotFound, StorageError
from henslowe.storage import EventDraft, TableSpec


class Service(BaseModel, frozen=True, extra="forbid"):
    name: str
    epoch: int = 0
    shares: tuple[tuple[int, int], ...] = ()
    state: str = "idle"
    by_whom: str = Field(default="", alias="byWhom")


SERVICES = TableSpec(name="services", row_type=Service, key="name", indexes={"state": lambda row: row.state})


async def test_a_row_is_the_same_before_and_after_a_restart(open_store):
    row = Service(name="hello", shares=((1, 9000), (2, 1000)), byWhom="ada")
    async with open_store() as store:
        services = store.table(SERVICES)
        await services.insert(row)
        before = services.lookup("hello")
    async with open_store() as store:
        assert store.table(SERVICES).lookup("hello") == before == row


async def test_what_readers_see_does_not_change_with_what_the_writer_holds(store):
    class Loose(BaseModel, frozen=True):
        key: int
        data: dict[str, list[int]]

    table = store.table(TableSpec(name="loose", row_type=Loose, key="key"))
    mine = Loose(key=1, data={"a": [1]})
    await table.insert(mine)
    mine.data["a"].append(2)
    assert table.lookup(1) == Loose(key=1, data={"a": [1]})


async def test_readers_see_nothing_before_the_commit_and_everything_after(store):
    services, txn = store.table(SERVICES), store.transaction()
    other = store.table(TableSpec(name="other", row_type=Service, key="name"))
    txn.put(services, Service(name="a"))
    txn.put(other, Service(name="a"))
    acknowledged = txn.submit()
    assert (services.lookup("a"), other.lookup("a")) == (None, None)
    assert services.latest("a") == Service(name="a")
    await acknowledged
    assert services.lookup("a") == other.lookup("a") == Service(name="a")


async def test_lookups_by_true_or_a_float_do_not_find_the_row_of_one(store):
    class Numbered(BaseModel, frozen=True):
        number: int

    table = store.table(TableSpec(name="numbers", row_type=Numbered, key="number"))
    await table.insert(Numbered(number=1))
    assert table.lookup(1) is not None
    for key in (True, 1.0):
        with pytest.raises(KeyRefused):
            table.lookup(key)
        with pytest.raises(KeyRefused):
            table.member(key)


async def test_an_old_row_is_brought_to_the_current_schema_when_read(open_store):
    class Before(BaseModel, frozen=True):
        name: str
        weight: int

    class After(BaseModel, frozen=True):
        name: str
        weight_bp: int

    def to_basis_points(fields):
        return {"name": fields["name"], "weight_bp": fields["weight"] * 100}

    new = TableSpec(name="w", row_type=After, key="name", schema=2, upcast={1: to_basis_points})
    async with open_store() as store:
        await store.table(TableSpec(name="w", row_type=Before, key="name")).insert(Before(name="a", weight=7))
    async with open_store() as store:
        table = store.table(new)
        assert table.lookup("a") == After(name="a", weight_bp=700)
        await table.insert(After(name="a", weight_bp=701))
    async with open_store() as store:
        assert store.table(new).lookup("a") == After(name="a", weight_bp=701)
    async with open_store() as store:
        with pytest.raises(FormatTooNew, match="schema 1 or older, got 2"):
            store.table(TableSpec(name="w", row_type=Before, key="name"))


def test_a_schema_without_its_upcasts_is_a_programming_error():
    with pytest.raises(TypeError, match="upcast from schema 2"):
        TableSpec(name="w", row_type=Service, key="name", schema=3, upcast={1: dict})


def test_rows_that_can_change_are_a_programming_error():
    class Mutable(BaseModel):
        name: str

    with pytest.raises(TypeError, match="frozen"):
        TableSpec(name="m", row_type=Mutable, key="name")


async def test_a_full_table_refuses_new_keys_and_takes_old_ones(store):
    table = store.table(TableSpec(name="small", row_type=Service, key="name", rows_max=2))
    await table.insert(Service(name="a"), Service(name="b"))
    await table.insert(Service(name="a", epoch=1))
    with pytest.raises(LimitReached, match="at most 2 rows"):
        await table.insert(Service(name="c"))
    txn = store.transaction()
    txn.delete(table, "a")
    txn.put(table, Service(name="c"))
    await txn.commit()
    assert {row.name for row in table.rows()} == {"b", "c"}


async def test_one_transaction_cannot_overfill_a_table(store):
    table = store.table(TableSpec(name="small", row_type=Service, key="name", rows_max=2))
    with pytest.raises(LimitReached):
        await table.insert(*(Service(name=name) for name in "abc"))
    assert table.rows() == ()


async def test_memory_only_tables_have_the_same_api_and_are_empty_after_a_restart(open_store):
    spec = TableSpec(name="seen", row_type=Service, key="name", durable=False, kind="ordered_set")
    async with open_store() as store:
        table = store.table(spec)
        await table.insert(Service(name="b"), Service(name="a"))
        assert await table.update_counter("a", "epoch", 5) == 5
        assert [row.name for row in table.rows()] == ["a", "b"]
        assert await table.take("b") == Service(name="b")
    async with open_store() as store:
        assert store.table(spec).rows() == ()


async def test_memory_and_durable_rows_of_one_transaction_appear_together(store):
    seen = store.table(TableSpec(name="seen", row_type=Service, key="name", durable=False))
    services, txn = store.table(SERVICES), store.transaction()
    txn.put(seen, Service(name="a", epoch=1))
    txn.put(services, Service(name="a"))
    acknowledged = txn.submit()
    later = asyncio.ensure_future(seen.insert(Service(name="a", epoch=2)))
    await acknowledged
    assert services.member("a")
    await later
    assert seen.lookup("a") == Service(name="a", epoch=2)


async def test_counting_what_is_not_there_needs_a_default(store):
    with pytest.raises(NotFound, match="no row under 'a'"):
        await store.table(SERVICES).update_counter("a", "epoch")


async def test_of_two_takers_one_gets_the_row(store):
    services = store.table(SERVICES)
    await services.insert(Service(name="a"))
    taken = await asyncio.gather(services.take("a"), services.take("a"))
    assert taken == [Service(name="a"), None]


async def test_walking_a_set_in_order_is_refused(store):
    with pytest.raises(StorageError, match="expected an ordered_set, got a set"):
        store.table(SERVICES).first()


async def test_a_name_means_one_table(store):
    assert store.table(SERVICES) is store.table(SERVICES)
    with pytest.raises(StorageError, match="declared otherwise"):
        store.table(TableSpec(name="services", row_type=Service, key="name"))
    with pytest.raises(StorageError, match="it is a set"):
        store.bag(TableSpec(name="third", row_type=Service, key="name"))


async def test_a_row_of_another_type_is_refused_and_nothing_is_sent(store):
    class Other(BaseModel, frozen=True):
        name: str

    services, txn = store.table(SERVICES), store.transaction()
    txn.put(services, Service(name="a"))
    txn.put(services, Other(name="b"))  # type: ignore[type-var]
    with pytest.raises(StorageError, match="expected a row of Service"):
        await txn.commit()
    assert services.latest("a") is None


async def test_a_transaction_is_committed_once(store):
    txn = store.transaction()
    txn.append(EventDraft("activity", "TOLD", "INFO"))
    await txn.commit()
    with pytest.raises(StorageError, match="twice"):
        await txn.commit()
