"""Backups: whole or not at all, made beside a writer, checked before they are believed, restored as another life."""

import asyncio
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from henslowe.errors import Conflict, Corrupt, DataDirBusy, FormatTooNew, NotFound, StorageError
from henslowe.storage import Archive, EventDraft, Store, filesystem, open_readonly
from henslowe.storage.backup import back_up, verify_backup
from henslowe.storage.compact import compact
from henslowe.storage.inspection import DataDir, records
from henslowe.storage.restore import restore_backup
from tests.storage.faults import Faults
from tests.storage.stores import running
from tests.storage.test_checks import NOTES, SETTINGS, Note, fill


def no_builds(_found):
    return {}


@pytest.fixture
def data(tmp_path):
    asyncio.run(fill(tmp_path / "data"))
    (tmp_path / "data" / "admin.token").write_text("secret")
    return tmp_path / "data"


def raw(folder):
    with DataDir.open(folder, ("core",)) as found:
        return {name: list(records(found.core, name, dup=dup)) for name, dup in found.core.names().items()}


def seqs(folder):
    with open_readonly(folder) as store:
        return [(event.seq, event.type) for event in store.events.scan()]


@pytest.mark.parametrize("name", ["backup", "backup.tar.zst"])
def test_what_is_restored_is_what_was_backed_up_and_another_life(data, tmp_path, name):
    path, target = tmp_path / name, tmp_path / "restored"
    made = back_up(data, path, builds=no_builds)
    manifest, report = verify_backup(path, audit="")
    assert report.ok
    assert manifest == made.manifest
    assert (manifest.last_seq, manifest.incarnation, len(manifest.builds)) == (40, 1, 1)
    done = restore_backup(path, target, audit="")
    assert seqs(target) == [*seqs(data), (41, "STORAGE_RESTORED")]
    assert done.incarnation > 1_000_000
    assert raw(target)["t.notes"] == raw(data)["t.notes"]
    assert Archive(target / "archive").verify(manifest.builds[0])
    store = Store.open(target, "n1", SETTINGS)
    assert store.incarnation == done.incarnation + 1
    assert not store.recovered
    store.close()


def test_neither_token_nor_anything_else_is_in_a_backup(data, tmp_path):
    back_up(data, tmp_path / "backup", builds=no_builds)
    back_up(data, tmp_path / "backup.tar.zst", builds=no_builds)
    names = {str(each.relative_to(tmp_path / "backup")) for each in (tmp_path / "backup").rglob("*") if each.is_file()}
    with (
        (tmp_path / "backup.tar.zst").open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        assert {member.name for member in tar} == names
    assert {name.split("/")[0] for name in names} == {"manifest.json", "core", "archive"}
    assert "secret" not in (tmp_path / "backup" / "manifest.json").read_text()
    for each in (tmp_path / "backup", tmp_path / "backup.tar.zst"):
        assert each.stat().st_mode & 0o077 == 0


def test_a_second_backup_links_what_did_not_change_and_replaces_the_first(data, tmp_path):
    path = tmp_path / "backup"
    assert back_up(data, path, builds=no_builds).objects == 2
    before = {each.name: each.stat().st_ino for each in path.glob("archive/objects/*/*")}
    (data.parent / "tree" / "third.py").write_text("3")
    Archive(data / "archive").put(data.parent / "tree")
    again = back_up(data, path, builds=no_builds)
    after = {each.name: each.stat().st_ino for each in path.glob("archive/objects/*/*")}
    assert again.objects == 1
    assert before.items() <= after.items()
    assert verify_backup(path, audit="")[1].ok
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_backup_that_ended_between_its_renames_is_not_lost(data, tmp_path):
    path = tmp_path / "backup"
    back_up(data, path, builds=no_builds)
    path.rename(tmp_path / ".backup.old")
    assert back_up(data, path, builds=no_builds).objects == 0
    assert verify_backup(path, audit="")[1].ok


def test_what_a_killed_backup_left_is_removed_by_the_next(data, tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    pid = int(dead.stdout)
    for name in (f".backup.new-{pid}", f".backup.core-{pid}"):
        (tmp_path / name / "core").mkdir(parents=True)
    back_up(data, tmp_path / "backup", builds=no_builds)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_build_that_tables_name_and_the_archive_lacks_is_no_backup(data, tmp_path):
    with pytest.raises(Corrupt, match="of hello@1"):
        back_up(data, tmp_path / "backup", builds=lambda _: {"ab" * 32: ("hello@1",)})
    assert not (tmp_path / "backup").exists()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_something_else_is_never_replaced_by_a_backup(data, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(StorageError, match="something other than a backup"):
        back_up(data, tmp_path / "mine", builds=no_builds)
    with pytest.raises(StorageError, match="there is no folder"):
        back_up(data, tmp_path / "no" / "such", builds=no_builds)
    with pytest.raises(NotFound):
        back_up(tmp_path / "empty", tmp_path / "backup", builds=no_builds)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _flip(path / "core" / "data.mdb"),
        lambda path: os.truncate(path / "core" / "data.mdb", 8192),
        lambda path: _flip(next(path.glob("archive/objects/*/*"))),
        lambda path: next(path.glob("archive/builds/*")).unlink(),
        lambda path: (path / "manifest.json").write_text("{"),
    ],
)
def test_a_damaged_backup_is_not_restored_and_nothing_is_changed(data, tmp_path, damage):
    path = tmp_path / "backup"
    back_up(data, path, builds=no_builds)
    damage(path)
    before = raw(data)
    with pytest.raises((Corrupt, NotFound)):
        restore_backup(path, data, audit="", force=True)
    assert raw(data) == before
    assert not (tmp_path / "data.restored").exists()


def test_a_cut_off_or_foreign_tar_is_refused(data, tmp_path):
    path = tmp_path / "backup.tar.zst"
    back_up(data, path, builds=no_builds)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt):
        restore_backup(path, tmp_path / "target", audit="")
    evil = tmp_path / "evil.tar.zst"
    with (
        evil.open("wb") as file,
        zstandard.ZstdCompressor().stream_writer(file) as press,
        tarfile.open(fileobj=press, mode="w|") as tar,
    ):
        link = tarfile.TarInfo("core/data.mdb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(Corrupt, match="which no backup has"):
        restore_backup(evil, tmp_path / "target", audit="")
    assert not (tmp_path / "target").exists()


def test_a_newer_backup_is_refused(data, tmp_path):
    path = tmp_path / "backup"
    back_up(data, path, builds=no_builds)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 2, "new": True}))
    with pytest.raises(FormatTooNew):
        restore_backup(path, tmp_path / "target", audit="")


def test_a_store_is_replaced_only_by_force_and_kept_beside_with_its_token_taken_over(data, tmp_path):
    path = tmp_path / "backup"
    back_up(data, path, builds=no_builds)
    before = raw(data)
    with pytest.raises(Conflict, match="not empty"):
        restore_backup(path, data, audit="")
    done = restore_backup(path, data, audit="", force=True)
    assert raw(done.kept) == before
    assert (data / "admin.token").read_text() == "secret"
    assert seqs(data)[-1] == (41, "STORAGE_RESTORED")


async def test_beside_a_running_store_a_backup_is_made_and_a_restore_refused(tmp_path):
    folder = tmp_path / "data"
    async with running(folder, Faults(), SETTINGS) as store:
        await store.table(NOTES).insert(Note(name="before"))
        stop = asyncio.Event()

        async def write():
            number = 0
            while not stop.is_set():
                number += 1
                txn = store.transaction()
                txn.put(store.table(NOTES), Note(name=f"n{number % 50}", text=str(number).encode()))
                txn.append(EventDraft("lifecycle", "T", "INFO", "s", 1, {"n": number}))
                await txn.commit()

        writing = asyncio.ensure_future(write())
        code = (
            "import sys; from pathlib import Path\n"
            "from henslowe.storage.backup import back_up, verify_backup\n"
            "data, path = map(Path, sys.argv[1:])\n"
            "made = back_up(data, path, builds=lambda _: {})\n"
            "print(made.manifest.last_seq, verify_backup(path, audit='')[1].ok)\n"
        )
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, str(folder), str(tmp_path / "backup")],
            capture_output=True,
            text=True,
            timeout=30,
        )
        stop.set()
        await writing
        last_seq, sound = done.stdout.split()
        assert sound == "True", done.stderr
        assert int(last_seq) <= store.events.last_seq()
        with pytest.raises(DataDirBusy, match="a node is running"):
            restore_backup(tmp_path / "backup", folder, audit="", force=True)
        with pytest.raises(DataDirBusy, match="whose readers need the pages"):
            compact(folder)
        expected = [event for event in store.events.scan() if event.seq <= int(last_seq)]
    with open_readonly(tmp_path / "backup") as copy:
        assert list(copy.events.scan()) == expected
        assert {row.name: row.text for row in copy.table(NOTES).rows() if row.text} == {
            f"n{event.data['n'] % 50}": str(event.data["n"]).encode() for event in expected
        }


def test_a_compacted_store_is_smaller_and_has_the_same_content(tmp_path):
    async def grow_and_shrink():
        async with running(tmp_path / "data", Faults(), SETTINGS) as store:
            notes = store.table(NOTES)
            await notes.insert(*(Note(name=f"n{at}", text=bytes(4_000)) for at in range(300)))
            for at in range(290):
                await notes.delete(f"n{at}")

    asyncio.run(grow_and_shrink())
    before = raw(tmp_path / "data")
    done, _ = compact(tmp_path / "data")
    core = next(each for each in done if each.environment == "core")
    assert core.after_bytes < core.before_bytes / 2
    assert raw(tmp_path / "data") == before
    assert not (tmp_path / "data" / "core" / "data.old").exists()
    Store.open(tmp_path / "data", "n1", SETTINGS).close()


def test_a_damaged_store_is_not_compacted_and_not_changed(data):
    file = data / "core" / "data.mdb"
    _flip(file, all_of=b"a row that can be found")
    content = file.read_bytes()
    with pytest.raises(Corrupt, match="nothing was changed"):
        compact(data)
    assert file.read_bytes() == content
    assert not (data / ".compact").exists()


def _flip(path: Path, *, all_of: bytes = b"") -> None:
    content = path.read_bytes()
    path.chmod(0o600)
    if all_of:
        path.write_bytes(content.replace(all_of, all_of.upper()))
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def test_flipping_changes_a_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    _flip(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() != b"abc"
    filesystem.sync_file(tmp_path / "x")
