"""Scrubbing: everything is read beside the writer, damage is told, healed where something whole is left, remembered."""

import asyncio
import shutil
from pathlib import Path

import lmdb
import pytest

from henslowe.storage import EventDraft
from henslowe.storage.findings import Finding, FindingKind
from henslowe.storage.keys import SEQ, pack
from henslowe.storage.notices import NoticeKind
from henslowe.storage.scrub_pass import ScrubRow
from henslowe.storage.scrubber import SCRUB, ScrubberActor
from tests.storage.faults import Faults
from tests.storage.stored_objects import lose_object, spoil_object
from tests.storage.stores import running
from tests.storage.test_checks import NOTES, SETTINGS, Note


@pytest.fixture
async def store(tmp_path):
    async with running(tmp_path / "data", Faults(), SETTINGS) as opened:
        await opened.table(NOTES).insert(*(Note(name=f"n{at}", text=b"x" * 100) for at in range(20)))
        for at in range(20):
            txn = opened.transaction()
            txn.append(EventDraft("lifecycle", "T", "INFO", "s", 1, {"n": at}))
            await txn.commit()
        yield opened


class Scrub:
    """A scrubber of a store, and what it told."""

    def __init__(self, store, **changes):
        self.work = store.scrubbing
        for name, value in changes.items():
            setattr(self.work, name, value)
        self.told = []
        store.notices.listen(self.told.append)

    async def __aenter__(self):
        self.ref = await ScrubberActor.start_link(self.work, parent=None)
        return self

    async def __aexit__(self, *_):
        await self.ref.stop(block=False)

    async def once(self):
        return await self.ref.call(SCRUB, 20)

    def kinds(self):
        return [notice.kind for notice in self.told]


def spoil(store, name, packed):
    """Damages a record through the store's own environment, as a disk would behind its back."""
    with store._env.write() as txn:
        db = store._env.db(name)
        record = bytearray(txn.get(packed, db=db))
        record[-1] ^= 1
        txn.put(packed, bytes(record), db=db)


def build(store, folder):
    tree = folder / "tree"
    tree.mkdir()
    (tree / "server.py").write_text("print('hello')\n")
    made = store.archive.put(tree)
    return made, made.files[0].digest, tree


async def test_a_sound_store_is_read_whole_beside_its_writer_and_that_is_said(store):
    async with Scrub(store) as scrub:
        done = await scrub.once()
        assert done.findings == ()
        assert done.counts["records"] >= 40
        assert scrub.kinds() == [NoticeKind.SCRUBBED]
        row = store.scrubbing.row
        assert not any(row.position)
        assert row.finished_s == store.scrubbing.integrity.finished_s > 0


async def test_a_damaged_row_is_written_again_from_memory(store):
    spoil(store, "t.notes", pack("n7"))
    async with Scrub(store) as scrub:
        done = await scrub.once()
        assert (done.findings, done.healed) == ((), 1)
        assert scrub.kinds() == [NoticeKind.HEALED, NoticeKind.SCRUBBED]
        assert (await scrub.once()).healed == 0


async def test_a_damaged_event_is_told_and_remembered_until_a_pass_does_not_find_it(store):
    with store._env.read() as txn:
        whole = bytes(txn.get(SEQ.pack(5), db=store._env.db("e.lifecycle.0")))
    spoil(store, "e.lifecycle.0", SEQ.pack(5))
    async with Scrub(store) as scrub:
        (finding,) = (await scrub.once()).findings
        assert (finding.kind, finding.place) == (FindingKind.RECORD, "core/e.lifecycle.0")
        assert scrub.kinds() == [NoticeKind.DAMAGED, NoticeKind.SCRUBBED]
        assert store.scrubbing.integrity.findings == (finding,)
    async with Scrub(store) as scrub:
        store.scrubbing.integrity.findings = ()
        await scrub.ref.call("nothing")
        await scrub.ref.stop(block=False)
    async with Scrub(store) as scrub:
        assert store.scrubbing.integrity.findings == (finding,)  # known from the row
        with store._env.write() as txn:
            txn.put(SEQ.pack(5), whole, db=store._env.db("e.lifecycle.0"))
        assert (await scrub.once()).findings == ()
        assert store.scrubbing.integrity.findings == ()


async def test_a_damaged_object_is_put_back_from_a_folder_that_has_it(store, tmp_path):
    made, digest, tree = build(store, tmp_path)
    spoil_object(store.archive.root, digest)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "server.py").write_text("print('edited')\n")
    async with Scrub(store, folders=lambda build_id: (wrong, tree) if build_id == made.build_id else ()) as scrub:
        done = await scrub.once()
        assert (done.findings, done.healed) == ((), 1)
        assert scrub.told[0].data["source"] == str(tree / "server.py")
    assert store.archive.verify(made.build_id)


async def test_an_object_that_nobody_has_is_told(store, tmp_path):
    _, digest, tree = build(store, tmp_path)
    lose_object(store.archive.root, digest)
    shutil.rmtree(tree)
    async with Scrub(store, folders=lambda _: (tree,)) as scrub:
        (finding,) = (await scrub.once()).findings
        assert finding.kind is FindingKind.OBJECT


async def test_a_pass_that_was_cut_off_goes_on_where_it_was_with_what_it_had_found(store):
    earlier = Finding(FindingKind.OBJECT, "cache/t.some", "found before", key="00")
    await store.scrubbing.table.insert(
        ScrubRow(position=("records", "core/t.notes", pack("n19").hex()), finished_s=1.0, findings=(earlier.as_dict(),))
    )
    spoil(store, "t.notes", pack("n10"))
    async with Scrub(store) as scrub:
        done = await scrub.once()  # due anyway: a pass is under way
        assert done.findings == (earlier,)  # n10 lies before the position
        assert done.healed == 0


async def test_it_begins_by_itself_when_its_time_has_come(store, monkeypatch):
    finished = asyncio.Event()
    store.notices.listen(lambda notice: notice.kind is NoticeKind.SCRUBBED and finished.set())
    await store.scrubbing.table.insert(ScrubRow(finished_s=1.0))
    monkeypatch.setattr("henslowe.storage.scrubber.FIRST_LOOK_S", 0.0)
    async with Scrub(store, interval_s=60.0):
        await asyncio.wait_for(finished.wait(), 20)


async def test_callers_join_the_pass_under_way(store):
    async with Scrub(store) as scrub:
        first, second = await asyncio.gather(scrub.once(), scrub.once())
        assert first is second


async def test_its_end_ends_the_child(store):
    async with Scrub(store, rate_bytes_s=10.0) as scrub:
        call = asyncio.ensure_future(scrub.once())
        await _until(lambda: scrub.ref.info().os_pid is not None)
        pid = scrub.ref.info().os_pid
    call.cancel()
    await _until(lambda: not Path(f"/proc/{pid}").exists())


async def _until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_spoiling_is_what_it_says(tmp_path):
    """The tests above rest on LMDB keeping what it is given, damaged or not."""
    env = lmdb.open(str(tmp_path / "e"), max_dbs=2, lib_version=0)
    db = env.open_db(b"x")
    with env.begin(write=True) as txn:
        txn.put(b"k", b"damaged", db=db)
        assert txn.get(b"k", db=db) == b"damaged"
    env.close()
