"""Owners of tables: one writes, a stale one is fenced, an heir inherits."""

import asyncio

import pytest
from pydantic import BaseModel

from henslowe.actors.kernel import LoopActor, Scheduler
from henslowe.errors import Conflict, Fenced, StorageDegraded
from henslowe.storage import EventDraft, Space, TableSpec
from tests.storage.faults import Fault


class Row(BaseModel, frozen=True):
    name: str
    value: int = 0


ROWS = TableSpec(name="rows", row_type=Row, key="name", kind="ordered_set")
BAG = TableSpec(name="bag", row_type=Row, key="name", kind="bag")
MEMORY = TableSpec(name="memory", row_type=Row, key="name", durable=False)
CACHED = TableSpec(name="cached", row_type=Row, key="name", space=Space.CACHE)


class Idle(LoopActor):
    pass


async def test_a_table_nobody_claimed_is_anybodys(store):
    await store.table(ROWS).insert(Row(name="a"))
    assert store.owners.of("rows") is None


async def test_a_claimed_table_is_read_by_all_and_written_by_its_owner(store):
    table = store.table(ROWS)
    claim = await store.owners.claim(table, "sampler")
    assert (claim.owner, claim.epoch) == ("sampler", 1)
    await table.insert(Row(name="a"), claim=claim)
    assert await table.insert_new(Row(name="b"), claim=claim)
    assert await table.update_counter("a", "value", 5, claim=claim) == 5
    assert await table.take("b", claim=claim) == Row(name="b")
    await table.delete("b", claim=claim)
    for write in (
        lambda: table.insert(Row(name="x")),
        lambda: table.insert_new(Row(name="x")),
        lambda: table.update_counter("a", "value"),
        lambda: table.take("a"),
        lambda: table.delete("a"),
    ):
        with pytest.raises(Fenced, match="cannot write 'rows': 'sampler' owns it"):
            await write()
    assert table.rows() == (Row(name="a", value=5),)


async def test_claims_of_bags_cached_and_memory_tables_hold_too(open_store):
    async with open_store() as store:
        bag, memory = store.bag(BAG), store.table(MEMORY)
        claims = [await store.owners.claim(table, "owner") for table in (bag, memory, store.table(CACHED))]
        await bag.insert(Row(name="a"), claim=claims[0])
        assert await bag.take("a", claim=claims[0]) == (Row(name="a"),)
        await memory.insert(Row(name="a"), claim=claims[1])
        for write in (bag.insert, bag.delete, memory.insert, store.table(CACHED).insert):
            with pytest.raises(Fenced):
                await (write("a") if write == bag.delete else write(Row(name="b")))
        with pytest.raises(Fenced, match="'bag'"):
            await bag.insert(Row(name="a"), claim=claims[1])


async def test_a_transaction_carries_the_claims_of_all_its_tables(store):
    table, bag = store.table(ROWS), store.bag(BAG)
    rows, bags = await store.owners.claim(table, "one"), await store.owners.claim(bag, "two")
    txn = store.transaction(claim=rows)
    txn.put(table, Row(name="a"))
    txn.put(bag, Row(name="a"))
    txn.append(EventDraft("activity", "T", "INFO"))
    with pytest.raises(Fenced, match="'two' owns it"):
        await txn.commit()
    assert (len(table), store.events.last_seq()) == (0, 0)
    await txn.under(bags).commit()
    assert (len(table), len(bag), store.events.last_seq()) == (1, 1, 1)


async def test_claiming_again_fences_whoever_held_it_before_even_before_it_is_on_disk(store):
    table = store.table(ROWS)
    stale = await store.owners.claim(table, "sampler")
    claiming = asyncio.ensure_future(store.owners.claim(table, "sampler"))
    await asyncio.sleep(0)
    with pytest.raises(Fenced, match="expected epoch 2 of 'sampler', got 1"):
        await table.insert(Row(name="late"), claim=stale)
    fresh = await claiming
    assert fresh.epoch == 2
    await table.insert(Row(name="a"), claim=fresh)
    assert [row.name for row in table.rows()] == ["a"]


async def test_a_claim_that_the_disk_refused_changes_nothing(store, faults):
    table = store.table(ROWS)
    claim = await store.owners.claim(table, "sampler")
    faults.plan.append(Fault.REFUSED)
    with pytest.raises(StorageDegraded):
        await store.owners.claim(table, "sampler")
    await table.insert(Row(name="a"), claim=claim)
    assert store.owners.of("rows").epoch == 1


async def test_claims_outlive_the_node_and_a_restarted_owner_claims_with_the_next_epoch(open_store):
    async with open_store() as store:
        stale = await store.owners.claim(store.table(ROWS), "sampler")
    async with open_store() as store:
        table = store.table(ROWS)
        with pytest.raises(Fenced):
            await table.insert(Row(name="a"))
        claim = await store.owners.claim(table, "sampler")
        assert claim.epoch == 2
        with pytest.raises(Fenced):
            await table.insert(Row(name="a"), claim=stale)
        await table.insert(Row(name="a"), claim=claim)


async def test_an_heir_inherits_when_the_owner_has_ended_and_a_stranger_never(store):
    Scheduler.install()
    table = store.table(ROWS)
    owner = await Idle.start_link(name="test_owner", parent=None)
    claim = await store.owners.claim(table, "test_owner", heir="test_heir")
    await table.insert(Row(name="a"), claim=claim)
    with pytest.raises(Conflict, match="'test_owner' owns it and lives"):
        await store.owners.claim(table, "test_heir")
    with pytest.raises(Conflict, match="its heir is 'test_heir'"):
        await store.owners.claim(table, "test_stranger")
    await owner.stop(block=False)
    with pytest.raises(Conflict, match="its heir is 'test_heir'"):
        await store.owners.claim(table, "test_stranger")
    inherited = await store.owners.claim(table, "test_heir")
    assert inherited.epoch == 2
    await table.insert(Row(name="b"), claim=inherited)
    with pytest.raises(Fenced):
        await table.insert(Row(name="c"), claim=claim)
    assert [row.name for row in table.rows()] == ["a", "b"]


async def test_a_table_can_be_given_away_and_given_up(store):
    table, owners = store.table(ROWS), store.owners
    first = await owners.claim(table, "one")
    second = await owners.give_away(first, "two")
    assert (second.owner, second.epoch) == ("two", 2)
    with pytest.raises(Fenced):
        await owners.give_away(first, "three")
    await owners.give_up(second)
    await table.insert(Row(name="free"))
    assert (await owners.claim(table, "three")).epoch == 4
    with pytest.raises(Fenced):
        await table.insert(Row(name="late"), claim=second)


async def test_an_ordered_table_is_read_page_by_page(store):
    table = store.table(ROWS)
    await table.insert(*(Row(name=f"{n:02}") for n in range(25)))
    page, names = table.page(limit=10), []
    while page:
        names += [row.name for row in page]
        page = table.page(page[-1].name, limit=10)
    assert names == [f"{n:02}" for n in range(25)]
    assert [row.name for row in table.page("03zzz", limit=2)] == ["04", "05"]
    assert table.page("99") == ()


async def test_pages_keep_to_a_prefix(store):
    class Pair(BaseModel, frozen=True):
        group: str
        number: int

    pairs = store.table(
        TableSpec(name="pairs", row_type=Pair, key=("group", "number"), kind="ordered_set", durable=False)
    )
    await pairs.insert(*(Pair(group=group, number=n) for group in "abc" for n in range(5)))
    page = pairs.page(limit=3, prefix=("b",))
    assert [(row.group, row.number) for row in page] == [("b", 0), ("b", 1), ("b", 2)]
    rest = pairs.page(("b", 2), limit=3, prefix=("b",))
    assert [(row.group, row.number) for row in rest] == [("b", 3), ("b", 4)]
