"""Core and cache: what lives where, what a commit may hold, and what is thrown away."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.errors import StorageError
from henslowe.storage import EventDraft, Space, Store, TableSpec

SETTINGS = StorageSettings(map_size_gib=1)


class Row(BaseModel, frozen=True):
    name: str
    value: int = 0


KEPT = TableSpec(name="kept", row_type=Row, key="name")
CACHED = TableSpec(name="cached", row_type=Row, key="name", space=Space.CACHE)
CACHED_BAG = TableSpec(name="cached_bag", row_type=Row, key="name", kind="bag", space=Space.CACHE)


@asynccontextmanager
async def running(data_dir):
    Scheduler.install()
    store = Store.open(data_dir, "n1", SETTINGS)
    refs = [await spec.actor.start_link(*spec.args, parent=None, **spec.kwargs) for spec in store.child_specs()]
    try:
        yield store
    finally:
        for ref in reversed(refs):
            await ref.stop(block=False)
        store.close()


async def test_a_cached_table_is_a_table(tmp_path):
    async with running(tmp_path / "data") as store:
        table, bag = store.table(CACHED), store.bag(CACHED_BAG)
        await table.insert(Row(name="a"), Row(name="b"))
        assert await table.update_counter("a", "value") == 1
        assert (await table.take("b")) == Row(name="b")
        await bag.insert(Row(name="x", value=1), Row(name="x", value=2))
        info = store.info()
        assert info.rows["cached"] == 1
        assert info.cache.used_bytes > 0
    async with running(tmp_path / "data") as store:
        assert store.table(CACHED).rows() == (Row(name="a", value=1),)
        assert [row.value for row in store.bag(CACHED_BAG).lookup("x")] == [1, 2]


async def test_an_unclean_stop_empties_the_cache_and_nothing_else(tmp_path):
    async with running(tmp_path / "data") as store:
        await store.table(CACHED).insert(Row(name="a"))
        await store.table(KEPT).insert(Row(name="a"))
    (tmp_path / "data" / "running").touch()
    async with running(tmp_path / "data") as store:
        assert store.recovered
        assert store.table(CACHED).rows() == ()
        assert store.table(KEPT).rows() == (Row(name="a"),)


async def test_a_damaged_cache_is_emptied_instead_of_stopping_the_node(tmp_path):
    async with running(tmp_path / "data") as store:
        await store.table(CACHED).insert(Row(name="a"))
    (tmp_path / "data" / "cache" / "data.mdb").write_bytes(b"not a database" * 1000)
    async with running(tmp_path / "data") as store:
        assert store.table(CACHED).rows() == ()
        await store.table(CACHED).insert(Row(name="b"))


async def test_a_commit_stays_in_one_environment(tmp_path):
    async with running(tmp_path / "data") as store:
        kept, cached = store.table(KEPT), store.table(CACHED)
        txn = store.transaction()
        txn.put(kept, Row(name="a"))
        for foreign in (
            lambda: txn.put(cached, Row(name="a")),
            lambda: txn.delete(cached, "a"),
            lambda: txn.expect(cached, "a", None),
        ):
            with pytest.raises(StorageError, match="'cached' in a transaction of core: it lives in cache"):
                foreign()
        await txn.commit()
        txn = store.transaction(Space.CACHE)
        with pytest.raises(StorageError, match="it has no event log"):
            txn.append(EventDraft("activity", "T", "INFO"))
        txn.put(cached, Row(name="a"))
        txn.expect(cached, "a", None)
        await txn.commit()
        assert cached.member("a")
        with pytest.raises(StorageError, match="expected a space with tables"):
            store.transaction(Space.CAPTURE)


async def test_what_is_seldom_written_has_no_thread(tmp_path):
    async with running(tmp_path / "data") as store:
        before = threading.active_count()
        await asyncio.gather(*(store.table(KEPT).insert(Row(name=str(n))) for n in range(50)))
        assert threading.active_count() == before
        names = {thread.name for thread in threading.enumerate()}
        assert not any("cache" in name or "capture" in name for name in names)
        await asyncio.gather(*(store.table(CACHED).insert(Row(name=str(n))) for n in range(50)))
        assert len(store.table(CACHED)) == 50


async def test_commits_of_the_cache_wait_for_its_writer(tmp_path):
    Scheduler.install()
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    waiting = asyncio.ensure_future(store.table(CACHED).insert(Row(name="a")))
    await asyncio.sleep(0)
    spec = next(spec for spec in store.child_specs() if spec.id == "cache writer")
    ref = await spec.actor.start_link(*spec.args, parent=None)
    await asyncio.wait_for(waiting, 5)
    late = asyncio.ensure_future(store.table(CACHED).insert(Row(name="b")))
    await asyncio.sleep(0)
    await ref.stop(block=False)
    await asyncio.wait_for(late, 5)
    assert len(store.table(CACHED)) == 2
    store.close()
