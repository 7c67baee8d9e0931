"""Which files count, what their content is, and when a scan may be believed."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.sources import IgnoreRules, Tree, changed_paths, content_digest, list_sources, scan, unsettled_s
from henslowe.errors import LimitReached

SECOND_NS = 1_000_000_000


def write(root: Path, path: str, content: str = "x") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    return target


def names(root: Path, **options) -> list[str]:
    return list(scan(root, Tree(), 0, **options).files)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("server.py", False),
        ("package/module.py", False),
        (".env.example", False),
        ("module.pyc", True),
        ("server.py~", True),
        (".server.py.swp", True),
        ("package/.#module.py", True),
        ("4913", True),
        (".venv/lib/x.py", True),
        ("package/__pycache__/x.pyc", True),
        ("node_modules/m/index.js", True),
        ("thing.egg-info/PKG-INFO", True),
        ("dist/bundle.js", True),
        ("distribution/bundle.js", False),
        (".git/HEAD", True),
        (".gitignore", False),
    ],
)
def test_what_is_built_in_to_be_ignored(path: str, ignored: bool) -> None:
    assert IgnoreRules().ignores_path(path) is ignored


def test_rules_of_the_project_are_obeyed_from_the_root_and_from_folders(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", "*.log\n/data/\n")
    write(tmp_path, "sub/.gitignore", "local.py\n!keep.log\n")
    for path in ("a.log", "data/x", "sub/data/x", "sub/local.py", "sub/keep.log", "local.py"):
        write(tmp_path, path)
    assert names(tmp_path) == [".gitignore", "local.py", "sub/.gitignore", "sub/data/x", "sub/keep.log"]


def test_the_nodes_own_file_can_take_back_any_rule(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", ".env\n")
    write(tmp_path, ".henslowe-ignore", "!.env\n!dist/\nnotes.md\n")
    for path in (".env", "dist/index.js", "notes.md"):
        write(tmp_path, path)
    assert names(tmp_path) == [".env", ".gitignore", ".henslowe-ignore", "dist/index.js"]


def test_the_nodes_setting_ignores_more(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    write(tmp_path, "fixtures/big.bin")
    assert names(tmp_path, ignore=("fixtures/",)) == ["a.py"]


def test_the_digest_is_of_paths_and_contents_only(tmp_path: Path) -> None:
    file = write(tmp_path, "a.py", "one")
    first = scan(tmp_path, Tree(), 0)
    os.utime(file, (1, 1))
    file.chmod(0o755)
    assert scan(tmp_path, first, 0).digest == first.digest
    file.write_text("two")
    second = scan(tmp_path, first, 0)
    assert second.digest != first.digest
    file.rename(tmp_path / "b.py")
    assert scan(tmp_path, second, 0).digest != second.digest


def test_an_old_file_is_not_read_again_and_a_fresh_one_is(tmp_path: Path) -> None:
    file = write(tmp_path, "a.py", "one")
    modified_ns = file.stat().st_mtime_ns
    fresh = scan(tmp_path, Tree(), modified_ns)
    stat = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time: the file system's clock stood still
    assert changed_paths(fresh, scan(tmp_path, fresh, modified_ns)) == ("a.py",)

    settled = scan(tmp_path, Tree(), modified_ns + SECOND_NS)
    file.write_bytes(b"six")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert scan(tmp_path, settled, modified_ns + SECOND_NS).files["a.py"] is settled.files["a.py"]


def test_links_are_followed_and_circles_cut(tmp_path: Path) -> None:
    outside = write(tmp_path, "outside/util.py")
    root = tmp_path / "service"
    write(root, "server.py")
    (root / "util.py").symlink_to(outside)
    (root / "shared").symlink_to(outside.parent)
    (root / "again").symlink_to(root)
    (root / "broken").symlink_to(tmp_path / "nowhere")
    tree = scan(root, Tree(), 0)
    assert list(tree.files) == ["server.py", "shared/util.py", "util.py"]
    assert tree.linked


def test_a_folder_with_two_names_counts_under_both(tmp_path: Path) -> None:
    write(tmp_path, "releases/r1/rules.txt")
    (tmp_path / "current").symlink_to("releases/r1")
    (tmp_path / "releases/r1/up").symlink_to(tmp_path / "releases")
    assert names(tmp_path) == ["current/rules.txt", "releases/r1/rules.txt"]


RULE_EDITS = [
    ("a/.gitignore", "x.py\n"),
    ("a/.gitignore", "!x.py\ny.py\n"),
    (".gitignore", "x.py\n"),
    ("a/.gitignore", None),
    (".henslowe-ignore", "!b/x.py\n"),
    (".gitignore", "b/\n"),
    ("a/b/.gitignore", "*\n"),
    (".gitignore", None),
    (".henslowe-ignore", None),
    ("a/b/.gitignore", ""),
]


def test_a_scan_that_knows_an_earlier_one_finds_what_a_first_scan_finds(tmp_path: Path) -> None:
    for path in ("x.py", "y.py", "a/x.py", "a/y.py", "a/b/x.py", "b/x.py", "b/c/y.py"):
        write(tmp_path, path)
    before = scan(tmp_path, Tree(), 0)
    for path, text in RULE_EDITS:
        if text is None:
            (tmp_path / path).unlink()
        else:
            write(tmp_path, path, text)
        first, before = scan(tmp_path, Tree(), 0), scan(tmp_path, before, 0)
        assert (before.files.keys(), before.folders) == (first.files.keys(), first.folders), path
        assert (before.digest, before.rules.texts) == (first.digest, first.rules.texts)


def test_a_pipe_does_not_hang_the_scan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path, "a.py")
    assert names(tmp_path) == ["a.py"]


def test_more_files_than_allowed_is_an_error_with_a_hint(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, f"{number}.py")
    with pytest.raises(LimitReached, match="at most 3 source files") as raised:
        scan(tmp_path, Tree(), 0, files_max=3)
    assert ".henslowe-ignore" in raised.value.hint


def test_listing_finds_what_scanning_finds(tmp_path: Path) -> None:
    for path in ("a.py", "sub/b.py", ".venv/c.py"):
        write(tmp_path, path)
    assert list_sources(tmp_path) == names(tmp_path)


def test_a_newly_empty_file_is_believed_only_after_a_while(tmp_path: Path) -> None:
    file = write(tmp_path, "a.py", "one")
    before = scan(tmp_path, Tree(), 0)
    file.write_text("")
    after = scan(tmp_path, before, 0)
    emptied_ns = file.stat().st_mtime_ns
    assert unsettled_s(before, after, emptied_ns + SECOND_NS // 10, 0.5) == pytest.approx(0.4)
    assert unsettled_s(before, after, emptied_ns + SECOND_NS, 0.5) == 0.0
    assert unsettled_s(after, after, emptied_ns, 0.5) == 0.0  # empty before, too
    assert unsettled_s(before, after, emptied_ns - SECOND_NS, 0.5) == 0.0  # a time stamp from the future says nothing


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from(["aa", "bb"]), max_size=6))
def test_the_order_of_files_does_not_matter_to_the_digest(files: dict[str, str]) -> None:
    assert content_digest(files.items()) == content_digest(reversed(list(files.items())))
