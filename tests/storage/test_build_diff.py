"""Diffs of builds: which paths changed and how, read only where it must be, whole where contents are odd."""

import pytest

from henslowe.errors import Corrupt
from henslowe.storage import Archive
from henslowe.storage.build_diff import TEXT_BYTES_MAX, ChangeKind, changes, text_of
from tests.storage.stored_objects import spoil_object


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "archive")


def put(archive, folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    folder.mkdir(exist_ok=True)
    return archive.put(folder)


def diff(archive, tmp_path, before, after):
    old, new = put(archive, tmp_path / "old", before), put(archive, tmp_path / "new", after)
    return {change.path: (change.kind, text_of(archive, change)) for change in changes(old, new)}


def test_added_removed_and_changed_files_are_told_apart_and_same_ones_left_out(archive, tmp_path):
    found = diff(
        archive, tmp_path, {"a": "1\n", "b": "1\n2\n3\n", "c": "x"}, {"b": "1\ntwo\n3\n", "c": "x", "d": "4\n"}
    )
    assert {path: kind for path, (kind, _) in found.items()} == {
        "a": ChangeKind.REMOVED,
        "b": ChangeKind.CHANGED,
        "d": ChangeKind.ADDED,
    }
    assert found["b"][1].lines == ("--- a/b", "+++ b/b", "@@ -1,3 +1,3 @@", " 1", "-2", "+two", " 3")
    assert (found["b"][1].added, found["b"][1].removed) == (1, 1)
    assert found["d"][1].lines[:2] == ("--- /dev/null", "+++ b/d")


def test_a_lost_line_end_is_a_change(archive, tmp_path):
    _, text = diff(archive, tmp_path, {"a": "1\n2\n"}, {"a": "1\n2"})["a"]
    assert text.lines[-1] == "+2\n\\ no newline at the end"


@pytest.mark.parametrize("content", [b"\x00\x01", b"\xff\xfe", b"x" * (TEXT_BYTES_MAX + 1)])
def test_what_is_no_text_or_too_long_is_said_to_be_so(archive, tmp_path, content):
    _, text = diff(archive, tmp_path, {"a": "1\n"}, {"a": content})["a"]
    assert not text.readable


def test_links_modes_and_folders_are_changes_too(archive, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        put(archive, folder, {"run.sh": "echo\n"})
    (old / "link").symlink_to("run.sh")
    (new / "link").symlink_to("./run.sh")
    (new / "run.sh").chmod(0o755)
    (new / "empty").mkdir()
    (new / "deep").mkdir()
    (new / "deep" / "file").write_text("1\n")
    found = {change.path: text_of(archive, change) for change in changes(archive.put(old), archive.put(new))}
    assert sorted(found) == ["deep/file", "empty", "link", "run.sh"]
    assert "+link to ./run.sh" in found["link"].lines
    assert found["run.sh"].lines == ("run.sh is executable now",)


def test_equal_builds_have_no_changes(archive, tmp_path):
    assert diff(archive, tmp_path, {"a": "1"}, {"a": "1"}) == {}


def test_a_damaged_object_is_an_error_and_no_diff(archive, tmp_path):
    old, new = put(archive, tmp_path / "old", {"a": "1"}), put(archive, tmp_path / "new", {"a": "2"})
    spoil_object(archive.root, new.files[0].digest)
    (change,) = changes(old, new)
    with pytest.raises(Corrupt):
        text_of(archive, change)
