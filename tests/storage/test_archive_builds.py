"""The archive: content in, the same content out, read-only; links that never dangle."""

import asyncio
import os
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from henslowe.errors import Conflict, Corrupt, NotFound, StorageError
from henslowe.storage import Archive, EntryKind, remove_tree, swap_link
from henslowe.storage.archive import GC_GRACE_S
from tests.storage.stored_objects import cut_object, lose_object

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)
TREES = st.recursive(
    st.binary(max_size=200) | st.tuples(st.binary(max_size=20), st.just("x")),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


def plant(folder, tree):
    folder.mkdir(parents=True)
    for name, content in tree.items():
        path = folder / name
        if isinstance(content, dict):
            plant(path, content)
        else:
            data, mode = (content[0], 0o755) if isinstance(content, tuple) else (content, 0o640)
            path.write_bytes(data)
            path.chmod(mode)


def harvest(folder):
    return {
        path.name: harvest(path)
        if path.is_dir()
        else (path.read_bytes(), "x")
        if path.stat().st_mode & 0o100
        else path.read_bytes()
        for path in folder.iterdir()
    }


@pytest.fixture(params=["packed", "own files"])
def archive(tmp_path, monkeypatch, request):
    """Objects behind manifests, as small ones are, and in files of their own, as large ones are."""
    if request.param == "own files":
        monkeypatch.setattr("henslowe.storage.packs.PACKED_BYTES_MAX", 0)
    return Archive(tmp_path / "archive")


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES)
def test_what_goes_in_comes_out(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("round-trip")
    archive = Archive(folder / "archive")
    plant(folder / "tree", tree)
    build = archive.put(folder / "tree")
    archive.verify(build.build_id)
    out = archive.materialise(build.build_id, folder / "out")
    assert harvest(out) == tree
    assert archive.put(out).build_id == build.build_id
    remove_tree(folder)


def test_the_same_content_is_one_build_and_is_stored_once(archive, tmp_path):
    plant(tmp_path / "one", {"a": b"same", "b": {"c": b"same"}})
    plant(tmp_path / "two", {"b": {"c": b"same"}, "a": b"same"})
    one, two = archive.put(tmp_path / "one"), archive.put(tmp_path / "two")
    assert one == two
    assert len(archive.objects()) == 1
    assert archive.builds() == [one.build_id]


@pytest.mark.parametrize(
    "changed", [{"a": b"2", "b": {}}, {"a": (b"1", "x"), "b": {}}, {"a": b"1"}, {"A": b"1", "b": {}}]
)
def test_other_content_is_another_build(archive, tmp_path, changed):
    plant(tmp_path / "one", {"a": b"1", "b": {}})
    plant(tmp_path / "two", changed)
    assert archive.put(tmp_path / "one").build_id != archive.put(tmp_path / "two").build_id


def test_an_edit_is_seen_though_the_archive_remembers_files(archive, tmp_path, monkeypatch):
    # As if the files had been there for long: nothing young is remembered.
    monkeypatch.setattr("henslowe.storage.archive._RACY_FINE_NS", 0)
    plant(tmp_path / "tree", {"a": b"old", "b": b"kept"})
    for name in ("a", "b"):
        os.utime(tmp_path / "tree" / name, (1, 1))
    first = archive.put(tmp_path / "tree")
    assert len(archive._seen) == 2
    assert archive.put(tmp_path / "tree") == first
    (tmp_path / "tree" / "a").write_bytes(b"new")
    os.utime(tmp_path / "tree" / "a", (1, 1))
    second = archive.put(tmp_path / "tree")
    assert archive.read(second.files[0]) == b"new"


def test_a_file_that_is_young_is_not_remembered(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("henslowe.storage.archive._RACY_FINE_NS", 3_600 * 10**9)
    plant(tmp_path / "tree", {"a": b"1"})
    archive.put(tmp_path / "tree")
    assert archive._seen == {}


def test_what_is_ignored_is_left_out_and_not_entered(archive, tmp_path):
    plant(tmp_path / "tree", {"server.py": b"1", ".venv": {"lib": {"big": b"2"}}, "log.txt": b"3"})
    asked = []

    def ignore(path):
        asked.append(path)
        return path in {".venv/", "log.txt"}

    build = archive.put(tmp_path / "tree", ignore)
    assert [entry.path for entry in build.entries] == ["server.py"]
    assert sorted(asked) == [".venv/", "log.txt", "server.py"]


def test_a_materialised_tree_is_read_only(archive, tmp_path):
    plant(tmp_path / "tree", {"run": (b"#!", "x"), "lib": {"a.py": b"1"}})
    (tmp_path / "tree" / "link").symlink_to("lib/a.py")
    build = archive.put(tmp_path / "tree")
    out = archive.materialise(build.build_id, tmp_path / "out")
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in [out, *out.rglob("*")] if not path.is_symlink()}
    assert modes == {"out": 0o555, "run": 0o555, "lib": 0o555, "a.py": 0o444}
    assert str((out / "link").readlink()) == "lib/a.py"
    assert [entry.kind for entry in build.entries] == [
        EntryKind.FOLDER,
        EntryKind.FILE,
        EntryKind.LINK,
        EntryKind.FILE,
    ]


def test_materialising_again_is_nothing_to_do_and_over_something_else_is_refused(archive, tmp_path):
    plant(tmp_path / "tree", {"a": b"1"})
    build = archive.put(tmp_path / "tree")
    out = archive.materialise(build.build_id, tmp_path / "out")
    before = out.stat().st_ino
    assert archive.materialise(build.build_id, out).stat().st_ino == before
    (tmp_path / "other").mkdir()
    with pytest.raises(Conflict, match="is something else"):
        archive.materialise(build.build_id, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "other", "out", "tree"]


def test_a_damaged_or_missing_object_is_never_a_file(archive, tmp_path):
    plant(tmp_path / "tree", {"a": b"content" * 100})
    build = archive.put(tmp_path / "tree")
    digest = build.files[0].digest
    own = archive.object_path(digest)
    stored = own if own.exists() else archive.manifest_path(build.build_id)
    whole = stored.read_bytes()
    stored.chmod(0o600)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        stored.write_bytes(damaged)
        fresh = Archive(tmp_path / "archive")
        try:
            assert fresh.read(fresh.build(build.build_id).files[0]) == b"content" * 100
        except Corrupt:
            continue
    stored.write_bytes(whole)
    cut_object(tmp_path / "archive", digest)
    with pytest.raises(Corrupt):
        archive.materialise(build.build_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    lose_object(tmp_path / "archive", digest)
    with pytest.raises(Corrupt, match="is missing"):
        Archive(tmp_path / "archive").verify(build.build_id)
    # Stored again, by whoever has it.
    again = Archive(tmp_path / "archive")
    assert again.verify(again.put(tmp_path / "tree").build_id) == build


def test_a_version_is_one_new_file_however_many_files_it_changes(tmp_path):
    archive = Archive(tmp_path / "archive")
    plant(tmp_path / "tree", {f"f{number}": b"%d" % number for number in range(50)})
    first = archive.put(tmp_path / "tree")
    assert [path.name for path in (tmp_path / "archive").rglob("*") if path.is_file()] == [first.build_id]
    big = os.urandom(2 << 20)
    plant(tmp_path / "more", {"f1": b"1", "new": b"new", "big": big})
    second = archive.put(tmp_path / "more")
    assert {path.name for path in (tmp_path / "archive").rglob("*") if path.is_file()} == {
        first.build_id,
        second.build_id,
        next(entry.digest for entry in second.files if entry.path == "big"),
    }
    other = Archive(tmp_path / "archive")
    assert [other.verify(build.build_id) for build in (first, second)] == [first, second]


def test_a_build_that_another_process_stores_is_found(tmp_path):
    mine, other = Archive(tmp_path / "archive"), Archive(tmp_path / "archive")
    plant(tmp_path / "one", {"a": b"1"})
    plant(tmp_path / "two", {"a": b"2"})
    mine.verify(mine.put(tmp_path / "one").build_id)
    assert mine.verify(other.put(tmp_path / "two").build_id)
    assert len(mine.objects()) == 2


def test_a_damaged_manifest_is_refused(archive, tmp_path):
    plant(tmp_path / "tree", {"a": b"1"})
    build = archive.put(tmp_path / "tree")
    path = tmp_path / "archive" / "builds" / build.build_id
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(Corrupt, match="another digest"):
        archive.build(build.build_id)
    with pytest.raises(NotFound):
        archive.build("0" * 64)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside"])
def test_a_link_that_leaves_the_tree_is_refused(archive, tmp_path, target):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(target)
    with pytest.raises(StorageError, match="inside the tree"):
        archive.put(tmp_path / "tree")


def test_a_pipe_is_refused(archive, tmp_path):
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(StorageError, match="got a socket, pipe or device"):
        archive.put(tmp_path / "tree")
    with pytest.raises(NotFound):
        archive.put(tmp_path / "nowhere")


def test_collecting_spares_pinned_builds_shared_files_and_what_is_young(archive, tmp_path):
    plant(tmp_path / "old", {"a": b"only old", "b": b"shared"})
    plant(tmp_path / "new", {"a": b"only new", "b": b"shared"})
    old, new = archive.put(tmp_path / "old"), archive.put(tmp_path / "new")
    assert archive.gc(pins=[]).builds == 0
    later = (tmp_path / "archive" / "builds" / old.build_id).stat().st_mtime + GC_GRACE_S + 60
    collected = archive.gc(pins=[new.build_id], now_s=later)
    assert (collected.builds, collected.objects) == (1, 1)
    assert archive.builds() == [new.build_id]
    archive.verify(new.build_id)
    again = archive.put(tmp_path / "old")
    assert archive.verify(again.build_id) == old


async def test_a_build_is_laid_out_by_several_at_once(archive, tmp_path):
    plant(tmp_path / "tree", {"a": b"1"})
    build = archive.put(tmp_path / "tree")
    out = tmp_path / "out"
    await asyncio.gather(*(asyncio.to_thread(archive.materialise, build.build_id, out) for _ in range(3)))
    assert harvest(out) == {"a": b"1"}


def test_who_follows_a_swapped_link_always_finds_one_of_the_two(tmp_path):
    for name in ("v1", "v2"):
        plant(tmp_path / "archive" / name, {"version": name.encode()})
    link = tmp_path / "active"
    swap_link(link, tmp_path / "archive" / "v1")
    done, seen, failures = threading.Event(), set(), []

    def follow():
        while not done.is_set():
            try:
                seen.add((link / "version").read_bytes())
            except OSError as error:
                failures.append(error)

    reader = threading.Thread(target=follow)
    reader.start()
    for number in range(300):
        assert swap_link(link, tmp_path / "archive" / ("v2", "v1")[number % 2])
    done.set()
    reader.join(5)
    assert failures == []
    assert seen <= {b"v1", b"v2"}
    assert swap_link(link, tmp_path / "archive" / "v1") is False
    assert str(link.readlink()) == "archive/v1"


def test_a_folder_is_not_replaced_by_a_link(tmp_path):
    (tmp_path / "active").mkdir()
    with pytest.raises(StorageError, match="expected a link there"):
        swap_link(tmp_path / "active", tmp_path / "v1")
