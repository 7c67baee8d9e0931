"""Opening: one node per directory, nothing changed that is newer, damage found after an unclean stop."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest
from pydantic import BaseModel

from henslowe.config.settings import StorageSettings
from henslowe.errors import Corrupt, DataDirBusy, FormatTooNew, StorageError
from henslowe.storage import EventDraft, Store, TableSpec, filesystem, holder, open_readonly, remove_tree
from henslowe.storage.env import Environment
from henslowe.storage.env_files import META, verify_offline
from tests.storage.faults import Faults
from tests.storage.stores import running

SETTINGS = StorageSettings(map_size_gib=1)


class Row(BaseModel, frozen=True):
    name: str
    load: bytes = b""


ROWS = TableSpec(name="rows", row_type=Row, key="name")


def digest(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "node.lock"}


def in_another_process(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_directory_of_a_newer_henslowe_is_refused_and_not_changed(tmp_path):
    Store.open(tmp_path / "data", "n1", SETTINGS).close()
    env = lmdb.open(str(tmp_path / "data" / "core"), max_dbs=4, map_size=1 << 30, lib_version=0)
    meta = env.open_db(META.encode())
    with env.begin(write=True) as txn:
        txn.put(b"format", (99).to_bytes(2, "big"), db=meta)
    env.close()
    before = digest(tmp_path)
    for _ in range(2):
        with pytest.raises(FormatTooNew, match="format 1 or older, got 99"):
            Store.open(tmp_path / "data", "n1", SETTINGS)
    assert digest(tmp_path) == before
    with pytest.raises(FormatTooNew), open_readonly(tmp_path / "data"):
        pass


def test_a_store_has_one_holder_in_a_process_and_is_free_after_close(tmp_path):
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    with pytest.raises(DataDirBusy, match=f"a node is running on it, process {os.getpid()} holds it"):
        Store.open(tmp_path / "data", "n1", SETTINGS)
    store.close()
    assert holder(tmp_path / "data") is None
    Store.open(tmp_path / "data", "n1", SETTINGS).close()


OPEN = """
import sys, pathlib
from henslowe.errors import DataDirBusy
from henslowe.storage import Store, holder
found = holder(pathlib.Path(sys.argv[1]))
print(found.pid, found.url)
try:
    Store.open(pathlib.Path(sys.argv[1]), "n2")
except DataDirBusy as busy:
    print(busy.details["pid"], busy.details["url"])
"""


def test_another_process_is_told_who_holds_the_store_and_where(tmp_path):
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    store.lock.announce("http://127.0.0.1:4180")
    told = in_another_process(OPEN, tmp_path / "data")
    assert told.splitlines() == [f"{os.getpid()} http://127.0.0.1:4180"] * 2
    store.close()


DIE = """
import os, sys, pathlib
from henslowe.storage import Store
Store.open(pathlib.Path(sys.argv[1]), "n1")
print("open", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_killed_holder_leaves_the_store_free_and_the_unclean_stop_is_noticed(tmp_path):
    killed = subprocess.run([sys.executable, "-c", DIE, str(tmp_path / "data")], capture_output=True, check=False)
    assert (killed.returncode, killed.stdout) == (-9, b"open\n")
    assert holder(tmp_path / "data") is None
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    assert (store.recovered, store.incarnation) == (True, 2)
    store.close()
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    assert (store.recovered, store.incarnation) == (False, 3)
    store.close()


READ = """
import sys, pathlib
from pydantic import BaseModel
from henslowe.errors import StorageError
from henslowe.storage import TableSpec, open_readonly
class Row(BaseModel, frozen=True):
    name: str
    load: bytes = b""
with open_readonly(pathlib.Path(sys.argv[1])) as store:
    table = store.table(TableSpec(name="rows", row_type=Row, key="name"))
    print([row.name for row in table.rows()], [event.type for event in store.events.read()])
    try:
        store.table(TableSpec(name="none", row_type=Row, key="name"))
    except StorageError as error:
        print("refused")
"""


async def test_another_process_reads_while_the_node_writes(tmp_path):
    async with running(tmp_path / "data", Faults()) as store:
        txn = store.transaction()
        txn.put(store.table(ROWS), Row(name="a"))
        txn.append(EventDraft("lifecycle", "PROMOTE", "SUCCESS"))
        await txn.commit()
        told = await asyncio.to_thread(in_another_process, READ, tmp_path / "data")
        assert told.splitlines() == ["['a'] ['PROMOTE']", "refused"]
        await store.table(ROWS).insert(Row(name="b"))


def test_reading_where_no_store_is_says_so(tmp_path):
    with pytest.raises(StorageError, match="cannot open"), open_readonly(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found_when_the_last_stop_was_unclean(tmp_path):
    Store.open(tmp_path / "data", "n1", SETTINGS).close()
    data = tmp_path / "data" / "core" / "data.mdb"
    whole = bytearray(data.read_bytes())
    # Every page's own number: no page is what it says.
    for page in range(2, len(whole) // 4096):
        whole[page * 4096] ^= 0x40
    data.write_bytes(whole)
    (tmp_path / "data" / "running").touch()
    with pytest.raises(Corrupt, match="cannot open"):
        Store.open(tmp_path / "data", "n1", SETTINGS)
    assert holder(tmp_path / "data") is None


async def test_a_short_row_over_a_long_one_in_one_batch_is_no_damage(tmp_path):
    async with running(tmp_path / "data", Faults()) as store:
        table = store.table(ROWS)
        await asyncio.gather(table.insert(Row(name="a", load=b"x" * 9000)), table.insert(Row(name="a", load=b"y")))
    assert verify_offline(tmp_path / "data" / "core", bytes_max=1 << 30)


def test_a_file_too_large_to_verify_is_said_to_be_unverified(tmp_path):
    Store.open(tmp_path / "data", "n1", SETTINGS).close()
    assert verify_offline(tmp_path / "data" / "core", bytes_max=100) is False


def test_a_crash_while_creating_leaves_nothing_in_the_way(tmp_path):
    half = tmp_path / "data" / "core.tmp"
    half.mkdir(parents=True)
    (half / "data.mdb").write_bytes(b"half")
    Store.open(tmp_path / "data", "n1", SETTINGS).close()
    assert not half.exists()


def test_what_is_no_environment_is_refused(tmp_path):
    core = tmp_path / "data" / "core"
    core.mkdir(parents=True)
    (core / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(Corrupt):
        Store.open(tmp_path / "data", "n1", SETTINGS)
    assert holder(tmp_path / "data") is None


def test_children_do_not_inherit_the_data_file(tmp_path):
    store = Store.open(tmp_path / "data", "n1", SETTINGS)
    list_fds = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n != '3'])"
    done = subprocess.run([sys.executable, "-c", list_fds], capture_output=True, text=True, check=True, close_fds=False)
    assert "data" not in done.stdout.replace("/dev", "")
    store.close()


def test_reader_slots_of_killed_processes_are_freed(tmp_path):
    env = Environment.open(tmp_path / "core", map_bytes=1 << 30)
    killed = """
import os, sys, lmdb
env = lmdb.open(sys.argv[1], readonly=True, map_size=0, lib_version=0)
txn = env.begin()
print(txn.id(), flush=True)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "core")], capture_output=True, check=False)
    assert env.clean_readers() == 1
    assert env.clean_readers() == 0
    env.close()


MOUNTS = """22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:40 / /mnt/my\\040share rw - nfs4 server:/x rw
31 22 0:41 / /mnt/local rw shared:1 - tmpfs tmpfs rw
32 30 0:42 / /mnt/my\\040share/over rw - fuse.sshfs me@there: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "ext4"),
        ("/mnt/my share/data", "nfs4"),
        ("/mnt/my", "ext4"),
        ("/mnt/local/a/b", "tmpfs"),
        ("/mnt/my share/over/a", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_path_is_its_innermost_mount(tmp_path, path, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert filesystem.filesystem_type(Path(path), mounts) == kind


def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "filesystem_type", lambda _: "nfs4")
    with pytest.raises(StorageError, match="expected a local file system, got nfs4"):
        Store.open(tmp_path / "data", "n1", SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_writing_durably_replaces_whole(tmp_path):
    target = tmp_path / "file"
    (tmp_path / ".file.tmp").write_bytes(b"left by a crash")
    filesystem.write_durably(target, b"one", mode=0o444)
    filesystem.write_durably(target, b"two", mode=0o444)
    assert target.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_removing_a_tree_does_not_follow_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "link").symlink_to(outside)
    (tree / "a" / "file").touch(0o444)
    (tree / "a").chmod(0o555)
    remove_tree(tree)
    remove_tree(tree)
    assert (outside / "kept").exists()
    assert not tree.exists()
    shutil.rmtree(outside)


def zeroed_entry(core, name, key):
    """Makes the entry under `key` zeros where it stands, as a sector that was lost would."""
    data = core / "data.mdb"
    whole = data.read_bytes()
    env = lmdb.open(str(core), max_dbs=512, map_size=1 << 30, lib_version=0, readonly=True, lock=False)
    db = env.open_db(name, create=False) if name else None
    with env.begin() as txn:
        value = bytes(txn.get(key, db=db))
    env.close()
    # A node of LMDB: its value's size, flags, the key's size, key, value.
    node = key + value
    places = [at for at in range(len(whole)) if whole.startswith(node, at)]
    assert places
    for at in places:
        whole = whole[: at - 8] + bytes(8 + len(node)) + whole[at + len(node) :]
    data.write_bytes(whole)


@pytest.mark.parametrize("lost", ["the map of partitions", "the end of the log"])
async def test_a_log_that_would_silently_not_be_read_is_refused(tmp_path, lost):
    async with running(tmp_path / "data", Faults()) as store:
        txn = store.transaction()
        txn.append(EventDraft("lifecycle", "T", "INFO"))
        await txn.commit()
        with store._env.read() as txn:
            (entry,) = [bytes(key) for key, _ in txn.cursor(db=store._env.db("parts"))]
    core = tmp_path / "data" / "core"
    name, key = (b"parts", entry) if lost == "the map of partitions" else (b"meta", b"seq")
    zeroed_entry(core, name, key)
    (tmp_path / "data" / "running").touch()
    with pytest.raises(Corrupt):
        Store.open(tmp_path / "data", "n1", SETTINGS)
    assert holder(tmp_path / "data") is None
