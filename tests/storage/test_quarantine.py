"""A damaged row: the others of its table are read, its own key raises, and it can be put back or given up."""

import asyncio

import lmdb
import pytest
from pydantic import BaseModel

from henslowe.errors import Corrupt, NotFound
from henslowe.storage import EventDraft, Store, TableSpec, open_readonly, quarantine
from henslowe.storage.env import Environment
from henslowe.storage.keys import SEQ, pack
from henslowe.storage.scrub_pass import ScrubRow
from tests.storage.faults import Faults
from tests.storage.stores import running
from tests.storage.test_checks import SETTINGS


class Row(BaseModel, frozen=True):
    name: str
    number: int = 0


ROWS = TableSpec(name="rows", row_type=Row, key="name", kind="ordered_set", indexes={"odd": lambda row: row.number % 2})
BAG = TableSpec(name="bag", row_type=Row, key="name", kind="bag")


@pytest.fixture
def folder(tmp_path):
    async def fill():
        async with running(tmp_path / "data", Faults(), SETTINGS) as store:
            await store.table(ROWS).insert(*(Row(name=name, number=at) for at, name in enumerate("abcd")))
            await store.bag(BAG).insert(Row(name="x", number=1), Row(name="x", number=2), Row(name="y", number=3))

    asyncio.run(fill())
    return tmp_path / "data"


def edit(folder, name, act):
    env = lmdb.open(str(folder / "core"), max_dbs=1024, map_size=1 << 30, lib_version=0)
    db = env.open_db(name.encode(), create=False)
    with env.begin(write=True) as txn:
        act(txn, db)
    env.close()


def flip(folder, packed, name="t.rows", at=-1):
    def act(txn, db):
        record = bytearray(txn.get(packed, db=db))
        record[at] ^= 1
        txn.put(packed, bytes(record), db=db)

    edit(folder, name, act)


async def test_the_others_are_read_and_the_damaged_key_raises_until_it_is_written(folder):
    flip(folder, pack("b"))
    for _ in range(2):  # found, then known
        async with running(folder, Faults(), SETTINGS) as store:
            rows = store.table(ROWS)
            assert [row.name for row in rows.rows()] == ["a", "c", "d"]
            assert rows.lookup("nobody") is None
            for read in (rows.lookup, rows.latest, rows.member):
                with pytest.raises(Corrupt, match="'b' in table 'rows': its row is damaged") as raised:
                    read("b")
                assert "quarantine restore" in raised.value.hint
            with pytest.raises(Corrupt):
                await rows.insert_new(Row(name="b"))
            (item,) = store.quarantined()
            assert (item.table, item.keys) == ("rows", ("b",))
    async with running(folder, Faults(), SETTINGS) as store:
        await store.table(ROWS).insert(Row(name="b", number=7))
        assert store.table(ROWS).lookup("b") == Row(name="b", number=7)
        assert store.quarantined() == []
    async with running(folder, Faults(), SETTINGS) as store:
        assert store.table(ROWS).lookup("b") == Row(name="b", number=7)
        assert store.quarantined() == []


async def test_deleting_the_key_gives_the_row_up(folder):
    flip(folder, pack("b"))
    async with running(folder, Faults(), SETTINGS) as store:
        await store.table(ROWS).delete("b")
        assert store.table(ROWS).lookup("b") is None
    async with running(folder, Faults(), SETTINGS) as store:
        assert store.table(ROWS).lookup("b") is None
        assert store.quarantined() == []


async def test_where_key_and_content_disagree_both_raise(folder):
    """A flipped bit in the key: the row of the true key must not look as if it was never there."""

    def act(txn, db):
        record = txn.get(pack("b"), db=db)
        txn.delete(pack("b"), db=db)
        txn.put(pack("bx"), record, db=db)

    edit(folder, "t.rows", act)
    async with running(folder, Faults(), SETTINGS) as store:
        for key in ("b", "bx"):
            with pytest.raises(Corrupt):
                store.table(ROWS).lookup(key)
        await store.table(ROWS).insert(Row(name="b"))
        with pytest.raises(Corrupt):
            store.table(ROWS).lookup("bx")


async def test_where_no_key_can_be_told_every_key_that_is_not_found_raises(folder):
    edit(folder, "t.rows", lambda txn, db: txn.put(b"\xfe rubbish", b"\xc1 rubbish", db=db))
    async with running(folder, Faults(), SETTINGS) as store:
        assert store.table(ROWS).lookup("a").name == "a"
        with pytest.raises(Corrupt):
            store.table(ROWS).lookup("nobody")


async def test_a_bag_that_lost_a_row_of_a_key_raises_for_that_key_alone(folder):
    flip(folder, pack("x") + SEQ.pack(2), "t.bag")
    async with running(folder, Faults(), SETTINGS) as store:
        bag = store.bag(BAG)
        assert [row.number for row in bag.lookup("y")] == [3]
        with pytest.raises(Corrupt):
            bag.lookup("x")
        await bag.insert(Row(name="x", number=9))
        with pytest.raises(Corrupt):
            bag.lookup("x")
        await bag.delete("x")
        assert bag.lookup("x") == ()


async def test_a_row_that_is_whole_but_does_not_fit_its_type_is_not_moved(folder):
    class Other(BaseModel, frozen=True):
        name: int

    other = TableSpec(name="rows", row_type=Other, key="name")
    async with running(folder, Faults(), SETTINGS) as store:
        with pytest.raises(Corrupt, match="cannot read table 'rows'"):
            store.table(other)
    async with running(folder, Faults(), SETTINGS) as store:
        assert len(store.table(ROWS)) == 4
        assert store.quarantined() == []


def test_a_reader_of_another_process_skips_and_raises_too_and_changes_nothing(folder):
    flip(folder, pack("b"))
    with open_readonly(folder) as store:
        rows = store.table(ROWS)
        assert len(rows) == 3
        with pytest.raises(Corrupt):
            rows.lookup("b")
    env = Environment.open_readonly(folder / "core")
    assert quarantine.items(env) == []
    env.close()


async def test_what_was_moved_aside_can_be_put_back_or_dropped(folder):
    env = Environment.open(folder / "core", map_bytes=1 << 30)
    rows = env.db("t.rows")
    with env.read() as txn:
        good = txn.get(pack("b"), db=rows)
    env.close()
    flip(folder, pack("b"))
    flip(folder, pack("c"))
    Store.open(folder, "n1", SETTINGS, tables=[ROWS]).close()
    env = Environment.open(folder / "core", map_bytes=1 << 30)
    found = {item.keys: item for item in quarantine.items(env)}
    with pytest.raises(NotFound):
        quarantine.get(env, "")
    quarantine.settle(env, quarantine.get(env, found[("b",)].id[:10]), good)
    quarantine.settle(env, found[("c",)], None)
    assert quarantine.items(env) == []
    env.close()
    async with running(folder, Faults(), SETTINGS) as store:
        assert store.table(ROWS).lookup("b") == Row(name="b", number=1)
        assert store.table(ROWS).lookup("c") is None


async def test_a_node_starts_though_its_own_rows_are_damaged(folder):
    """How many lives it had, how far the scrubber came: both can be told anew."""
    async with running(folder, Faults(), SETTINGS) as store:
        await store.scrubbing.table.insert(ScrubRow(finished_s=5.0))
        before = store.incarnation
        txn = store.transaction()
        txn.append(EventDraft("lifecycle", "T", "INFO"))
        await txn.commit()
    flip(folder, pack("n1"), "t.lives")
    flip(folder, pack("scrub"), "t.scrubs")
    flip(folder, SEQ.pack(1), "e.lifecycle.0")
    async with running(folder, Faults(), SETTINGS) as store:
        assert store.incarnation > before + 1_000_000
        assert store.scrubbing.row == ScrubRow()
        assert [item.table for item in store.quarantined()] == ["scrubs"]
        with pytest.raises(Corrupt):
            store.events.read()
        await store.scrubbing.table.insert(ScrubRow(finished_s=6.0))
        assert store.quarantined() == []
    async with running(folder, Faults(), SETTINGS) as store:
        assert store.scrubbing.row.finished_s == 6.0
        assert store.quarantined() == []
