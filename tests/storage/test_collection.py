"""Collecting: what nobody needs goes, in the order of its age, at a cost that does not grow with what stays."""

import hashlib
import time

import pytest

from henslowe.storage import Archive
from henslowe.storage.collection import SWEEP_S

LATER_S = 10_000.0


@pytest.fixture(params=["packed", "own files"])
def archive(tmp_path, monkeypatch, request):
    if request.param == "own files":
        monkeypatch.setattr("henslowe.storage.packs.PACKED_BYTES_MAX", 0)
    return Archive(tmp_path / "archive")


def put(archive, tmp_path, **files):
    tree = tmp_path / "tree"
    tree.mkdir(exist_ok=True)
    for old in tree.iterdir():
        old.unlink()
    for name, content in files.items():
        (tree / name).write_text(content)
    return archive.put(tree)


def gc(archive, *pins, after_s=LATER_S):
    return archive.gc(pins={build.build_id for build in pins}, now_s=time.time() + after_s)


def objects(archive):
    return set(archive.objects())


def digest(content):
    return hashlib.sha256(content.encode()).hexdigest()


def test_an_object_goes_with_the_last_build_that_needs_it(archive, tmp_path):
    one = put(archive, tmp_path, a="shared", b="1")
    two = put(archive, tmp_path, a="shared", b="2")
    assert gc(archive, one, two).objects == 0
    done = gc(archive, two)
    assert (done.builds, done.objects) == (1, 1)
    assert objects(archive) == {digest("shared"), digest("2")}
    three = put(archive, tmp_path, a="3")
    assert gc(archive, three).objects == 2
    assert objects(archive) == {digest("3")}


def test_what_others_need_outlives_the_build_that_brought_it(archive, tmp_path):
    first = put(archive, tmp_path, a="shared", b="other", c="1")
    second = put(archive, tmp_path, a="shared", c="2")
    third = put(archive, tmp_path, b="other")
    done = gc(archive, second, third)
    assert (done.builds, done.objects) == (1, 1)
    for each in (archive, Archive(tmp_path / "archive")):
        assert each.verify(second.build_id) == second
        assert each.verify(third.build_id) == third
        assert objects(each) == {digest("shared"), digest("other"), digest("2")}
    again = put(archive, tmp_path, a="shared", b="other", c="1")
    assert archive.verify(again.build_id) == first
    assert gc(archive).objects == 4
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == []


def test_the_young_are_spared_and_go_when_they_are_old(archive, tmp_path):
    put(archive, tmp_path, a="1")
    assert gc(archive, after_s=0).builds == 0
    assert gc(archive).builds == 1
    assert objects(archive) == set()


def test_what_never_got_a_build_goes_too(archive, tmp_path):
    kept = put(archive, tmp_path, a="1")
    orphan = archive.object_path(digest("orphan"))
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"whatever")
    assert gc(archive, kept).objects == 1


def test_after_the_first_time_only_what_is_new_is_read(archive, tmp_path, monkeypatch):
    builds = [put(archive, tmp_path, a=str(number)) for number in range(20)]
    gc(archive, *builds)
    read = []
    real = archive._collector._digests
    monkeypatch.setattr(archive._collector, "_digests", lambda build: read.append(build) or real(build))
    new = put(archive, tmp_path, a="new")
    gc(archive, *builds[1:], new)
    assert set(read) == {new.build_id, builds[0].build_id}
    assert SWEEP_S > 60


def test_while_a_build_that_must_stay_cannot_be_read_no_object_goes(archive, tmp_path):
    kept, gone = put(archive, tmp_path, a="1"), put(archive, tmp_path, a="2")
    path = archive.manifest_path(kept.build_id)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    done = gc(archive, kept)
    assert (done.builds, done.objects, done.damaged_builds) == (1, 0, (kept.build_id,))
    path.write_bytes(content)
    assert gc(archive, kept).objects == 1
    assert archive.verify(kept.build_id)
    assert gone.build_id not in archive.builds()


def test_a_removed_object_is_stored_again_when_it_is_wanted_again(archive, tmp_path):
    put(archive, tmp_path, a="1")
    gc(archive)
    again = put(archive, tmp_path, a="1")
    assert archive.verify(again.build_id)
    assert gc(archive, again).objects == 0
