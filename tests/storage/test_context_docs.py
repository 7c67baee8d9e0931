"""Context documents: merged in any order they are the same, and a restart changes nothing."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Map

from henslowe.errors import Corrupt, LimitReached, StorageDegraded, StorageError
from henslowe.storage.context import COMPACT_AFTER_UPDATES, DB_NAME, VALUE_BYTES_MAX
from tests.storage.faults import Fault, Faults
from tests.storage.stores import running

PATHS = st.sampled_from(["a", "a/b", "c"])
NUMBERS = st.integers(-(2**63), 2**64 - 1)
VALUES = st.none() | NUMBERS | st.dictionaries(st.text(max_size=2), NUMBERS, max_size=3)
CHANGES = st.lists(st.tuples(PATHS, VALUES), max_size=8)


async def test_values_are_what_was_set_also_after_a_restart(open_store):
    value = {"n": 3, "f": 2.5, "list": [1, None, True], "raw": b"\x00"}
    async with open_store() as store:
        doc = store.context.open("project")
        await doc.set("a/b", value)
        await doc.set("gone", 1)
        await doc.delete("gone")
        await doc.delete("never")
        assert doc.get("a/b") == value
    async with open_store() as store:
        assert store.context.namespaces() == ["project"]
        doc = store.context.open("project")
        assert doc.snapshot() == {"a/b": value}
        assert type(doc.get("a/b")["n"]) is int
        assert doc.get("gone", "default") == "default"
        assert store.context.open("project") is doc


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=CHANGES, two=CHANGES, order=st.permutations(range(4)))
def test_documents_converge_whatever_the_order_and_repetition(tmp_path_factory, one, two, order):
    async def change(doc, changes):
        for path, value in changes:
            await (doc.delete(path) if value is None else doc.set(path, value))

    async def steps():
        folder = tmp_path_factory.mktemp("merge")
        async with running(folder / "1", Faults()) as first, running(folder / "2", Faults()) as second:
            here, there, third = first.context.open("x"), second.context.open("x"), first.context.open("y")
            await asyncio.gather(change(here, one), change(there, two))
            updates = [here.diff(), there.diff(), here.diff(), there.diff()]
            await there.merge(here.diff(there.state_vector()))
            await here.merge(there.diff(here.state_vector()))
            for number in order:
                await third.merge(updates[number])
            assert here.snapshot() == there.snapshot() == third.snapshot()
            assert await third.merge(here.diff()) is False

    asyncio.run(steps())


async def test_the_log_is_compacted_and_stays_the_same(open_store):
    async with open_store() as store:
        doc = store.context.open("project")
        for n in range(COMPACT_AFTER_UPDATES * 2 + 5):
            await doc.set(f"k{n % 7}", n)
        expected = doc.snapshot()
        with store._env.read() as txn:
            assert txn.stat(db=store._env.db(DB_NAME))["entries"] <= COMPACT_AFTER_UPDATES
    async with open_store() as store:
        assert store.context.open("project").snapshot() == expected


async def test_what_the_disk_refused_is_saved_with_the_next_change(open_store, faults):
    async with open_store() as store:
        doc = store.context.open("project")
        await doc.set("a", 1)
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await doc.set("b", 2)
        assert doc.get("b") == 2
        await doc.set("c", 3)
    async with open_store() as store:
        assert store.context.open("project").snapshot() == {"a": 1, "b": 2, "c": 3}


async def test_refused_changes_around_a_compaction_lose_nothing(open_store, faults):
    async with open_store() as store:
        doc = store.context.open("project")
        for n in range(COMPACT_AFTER_UPDATES):
            await doc.set(f"k{n}", n)
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await doc.set("x", 1)
        await asyncio.gather(*(doc.set(f"y{n}", n) for n in range(5)))
        expected = doc.snapshot()
    async with open_store() as store:
        assert store.context.open("project").snapshot() == expected
        assert len(expected) == COMPACT_AFTER_UPDATES + 6


async def test_every_life_writes_under_an_id_of_its_own(open_store):
    ids = set()
    for _ in range(3):
        async with open_store() as store:
            doc = store.context.open("project")
            await doc.set("a", len(ids))
            ids.add(doc._doc.client_id)
    assert len(ids) == 3


async def test_listeners_get_updates_that_another_document_can_merge(store):
    doc, twin = store.context.open("one"), store.context.open("two")
    updates = []
    cancel = doc.on_change(updates.append)
    await doc.set("a", 1)
    await doc.delete("a")
    await doc.set("b", 2)
    cancel()
    await doc.set("c", 3)
    for update in updates:
        await twin.merge(update)
    assert twin.snapshot() == {"b": 2}
    assert doc.snapshot() == {"b": 2, "c": 3}


async def test_bytes_that_are_no_update_are_refused(store):
    doc = store.context.open("project")
    for junk in (b"", b"\xff\xff\xff", b"hello"):
        with pytest.raises(StorageError):
            await doc.merge(junk)
    with pytest.raises(StorageError):
        doc.diff(b"\xff\xff")
    assert doc.snapshot() == {}


async def test_an_update_whose_values_are_not_ours_is_refused_when_read(store):
    foreign = Doc()
    foreign.get("values", type=Map)["a"] = "not packed"
    doc = store.context.open("project")
    await doc.set("mine", 1)
    await doc.merge(foreign.get_update())
    with pytest.raises(Corrupt):
        doc.get("a")
    assert doc.get("mine") == 1


async def test_a_large_value_is_refused(store):
    doc = store.context.open("project")
    with pytest.raises(LimitReached, match=f"at most {VALUE_BYTES_MAX} bytes"):
        await doc.set("a", "x" * VALUE_BYTES_MAX)
    assert doc.snapshot() == {}
