"""A disk that fails where no commit is: opening, closing, archiving; and what follows a failed flush."""

import errno
import os
import threading

import pytest
from pydantic import BaseModel

from henslowe.config.settings import StorageSettings
from henslowe.errors import StorageDegraded, StorageError
from henslowe.storage import Archive, Store, TableSpec, filesystem, holder
from henslowe.storage.env import Environment
from tests.storage.faults import Fault
from tests.storage.stores import running

SETTINGS = StorageSettings(map_size_gib=1)


class Row(BaseModel, frozen=True):
    name: str


ROWS = TableSpec(name="rows", row_type=Row, key="name")


def fails(*_arguments, **_options):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_opening_that_the_disk_refuses_is_refused_in_words_and_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(filesystem, "write_durably", fails)
        with pytest.raises(StorageError, match=r"cannot open .*: Input/output error"):
            Store.open(tmp_path / "data", "n1", SETTINGS)
    assert holder(tmp_path / "data") is None
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    assert not store.recovered
    store.close()


def test_a_store_is_closed_and_free_though_the_disk_refuses_to_note_it(tmp_path, monkeypatch, caplog):
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    with monkeypatch.context() as broken:
        broken.setattr(filesystem, "sync_dir", fails)
        store.close()
    assert "storage.end_not_marked" in caplog.text
    assert holder(tmp_path / "data") is None
    Store.open(tmp_path / "data", "n1", SETTINGS).close()


async def test_after_a_failed_commit_nothing_is_begun_before_a_flush_has_passed(tmp_path, faults):
    steps = []
    flush_fails = 1

    class Noting(faults.env_type):
        def begin(self):
            steps.append("begin")
            return super().begin()

        def flush(self):
            nonlocal flush_fails
            steps.append("flush")
            if "begin" in steps and flush_fails:
                flush_fails -= 1
                raise StorageError("injected: cannot flush")
            super().flush()

    faults.env_type = Noting
    async with running(tmp_path / "data", faults) as store:
        table = store.table(ROWS)
        await table.insert(Row(name="a"))
        faults.plan.append(Fault.REFUSED)
        steps.clear()
        with pytest.raises(StorageDegraded):
            await table.insert(Row(name="b"))
        with pytest.raises(StorageDegraded, match="cannot flush"):
            await table.insert(Row(name="c"))
        assert table.lookup("a") == Row(name="a")
        await table.insert(Row(name="d"))
        await table.insert(Row(name="e"))
        assert steps == ["begin", "flush", "flush", "begin", "begin"]
        assert {row.name for row in table.rows()} == {"a", "d", "e"}


async def test_after_a_failed_write_of_another_the_writer_begins_nothing_before_a_flush_has_passed(tmp_path, faults):
    steps = []

    class Noting(faults.env_type):
        def begin(self):
            steps.append("begin")
            return super().begin()

        def flush(self):
            steps.append("flush")
            super().flush()

    faults.env_type = Noting
    async with running(tmp_path / "data", faults) as store:
        table = store.table(ROWS)
        steps.clear()
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageError, match="cannot write"), store._env.write():
            pass
        await table.insert(Row(name="a"))
        await table.insert(Row(name="b"))
        assert steps == ["begin", "flush", "begin", "begin"]


def test_a_table_is_opened_only_between_two_commits(tmp_path):
    env = Environment.open(tmp_path / "env", map_bytes=1 << 24)
    opening = threading.Thread(target=env.declare, args=({"late": False},))
    with env.turn:
        opening.start()
        with env.read() as txn:
            before = txn.id()
        opening.join(0.05)
        assert opening.is_alive()
        assert env.last_txn_id() == before
    opening.join(5)
    assert env.last_txn_id() == before + 1
    env.close()


def test_an_archive_that_the_disk_refuses_says_so_and_has_no_build(tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"1")
    archive = Archive(tmp_path / "archive")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(StorageError, match=r"cannot archive .*: Input/output error"):
            archive.put(tmp_path / "tree")
    assert archive.builds() == []
    archive.verify(archive.put(tmp_path / "tree").build_id)


@pytest.mark.parametrize("own_file", [True, False])
def test_the_names_of_objects_that_another_life_left_are_flushed_again(tmp_path, monkeypatch, own_file):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"1")
    if own_file:
        monkeypatch.setattr("henslowe.storage.packs.PACKED_BYTES_MAX", 0)
    Archive(tmp_path / "archive").put(tmp_path / "tree")
    (stored,) = (path for path in (tmp_path / "archive").glob("objects/*/*" if own_file else "builds/*"))
    flushed, sync_dir = [], filesystem.sync_dir
    monkeypatch.setattr(filesystem, "sync_dir", lambda path: (flushed.append(path), sync_dir(path)))
    # Whoever stored the object may have been killed before its folder was flushed.
    archive = Archive(tmp_path / "archive")
    archive.put(tmp_path / "tree")
    assert stored.parent in flushed
    flushed.clear()
    archive.put(tmp_path / "tree")
    assert flushed == []


def test_folders_are_made_with_names_that_last(tmp_path, monkeypatch):
    flushed, sync_dir = [], filesystem.sync_dir
    monkeypatch.setattr(filesystem, "sync_dir", lambda path: (flushed.append(path), sync_dir(path)))
    filesystem.make_folder(tmp_path / "a" / "b")
    filesystem.make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path, tmp_path / "a"]
    assert (tmp_path / "a" / "b").is_dir()
