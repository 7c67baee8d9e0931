"""Every way in which programs save files is one change with the final content, or none when nothing changed."""

import compileall
import mmap
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from watched_workspace import Workspace

from henslowe.actors.sources import Tree, scan

NEW = "v1\n"


def vim_with_a_renamed_backup(file: Path, _: Path) -> None:
    probe = file.with_name("4913")
    probe.write_text("")
    probe.unlink()
    file.rename(f"{file}~")
    file.write_text(NEW)
    file.chmod(0o644)
    Path(f"{file}~").unlink()


def vim_with_a_copied_backup(file: Path, _: Path) -> None:
    shutil.copy(file, f"{file}~")
    file.write_text(NEW)
    Path(f"{file}~").unlink()


def jetbrains_safe_write(file: Path, _: Path) -> None:
    temporary, old = Path(f"{file}___jb_tmp___"), Path(f"{file}___jb_old___")
    temporary.write_text(NEW)
    file.rename(old)
    temporary.rename(file)
    old.unlink()


def vscode_truncate_and_write(file: Path, _: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, NEW.encode())
    os.close(descriptor)


def emacs_with_a_lock_link(file: Path, _: Path) -> None:
    lock = file.with_name(f".#{file.name}")
    lock.symlink_to("someone@somewhere.1:2")
    file.rename(f"{file}~")
    file.write_text(NEW)
    lock.unlink()


def sed_in_place(file: Path, _: Path) -> None:
    subprocess.run(["sed", "-i", "s/v0/v1/", file], check=True)


def replacement_from_outside_the_tree(file: Path, outside: Path) -> None:
    (outside / "new").write_text(NEW)
    (outside / "new").replace(file)


def git_checkout(file: Path, _: Path) -> None:
    """What git does to a file: it is made anew."""
    file.unlink()
    file.write_text(NEW)


def memory_mapped_write(file: Path, _: Path) -> None:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[:3] = NEW.encode()


def hard_link_swap(file: Path, outside: Path) -> None:
    (outside / "new").write_text(NEW)
    file.unlink()
    os.link(outside / "new", file)


def something_to_the_trash_and_a_save(file: Path, outside: Path) -> None:
    file.with_name("junk~").rename(outside / "junk")
    file.write_text(NEW)


SAVES = [
    vim_with_a_renamed_backup,
    vim_with_a_copied_backup,
    jetbrains_safe_write,
    vscode_truncate_and_write,
    emacs_with_a_lock_link,
    sed_in_place,
    replacement_from_outside_the_tree,
    git_checkout,
    memory_mapped_write,
    hard_link_swap,
    something_to_the_trash_and_a_save,
]


@pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
async def test_a_save_is_one_change(workspace: Workspace, tmp_path: Path, save) -> None:
    file = workspace.write("hello/server.py")
    workspace.write("hello/junk~")
    outside = tmp_path / "outside"
    outside.mkdir()
    await workspace.start(debounce_ms=100)
    found = await workspace.next()

    save(file, outside)

    changed = await workspace.next()
    assert changed.changed == ("server.py",)
    assert changed.digest != found.digest
    assert changed.digest == scan(file.parent, Tree(), 0).digest
    assert list((await workspace.status()).services[0].path.glob("server.py"))
    await workspace.only_this_follows()


def touch(file: Path) -> None:
    os.utime(file)


def change_the_mode(file: Path) -> None:
    file.chmod(0o755)


def save_the_same_content(file: Path) -> None:
    file.write_text("v = 0\n")


def write_temporary_files(file: Path) -> None:
    for name in ("server.py~", ".server.py.swp", "4913", "module.pyc", ".#server.py"):
        file.with_name(name).write_text("x")


def write_into_ignored_folders(file: Path) -> None:
    for name in (".venv/lib/x.py", "node_modules/m/index.js", ".git/HEAD"):
        target = file.parent / name
        target.parent.mkdir(parents=True)
        target.write_text("x")


def build_and_test_it_in_its_own_folder(file: Path) -> None:
    assert compileall.compile_dir(file.parent, quiet=1)
    for name in (
        "dist/out.js", "build/lib/server.py", "hello.egg-info/PKG-INFO", ".pytest_cache/v/cache", ".ruff_cache/0",
        ".mypy_cache/m.json", ".coverage", "htmlcov/index.html", ".nyc_output/a.json", ".tox/py/log",
    ):  # fmt: skip
        target = file.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("x")


def make_and_remove(file: Path) -> None:
    file.with_name("passing.py").write_text("x")
    file.with_name("passing.py").unlink()


@pytest.mark.parametrize(
    "act",
    [
        touch,
        change_the_mode,
        save_the_same_content,
        write_temporary_files,
        write_into_ignored_folders,
        build_and_test_it_in_its_own_folder,
        make_and_remove,
    ],
    ids=lambda act: act.__name__,
)
async def test_nothing_changes_when_the_content_does_not(workspace: Workspace, act) -> None:
    file = workspace.write("hello/server.py", "v = 0\n")
    await workspace.start()
    await workspace.next()
    act(file)
    await workspace.only_this_follows()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_a_branch_that_is_checked_out_is_one_change(workspace: Workspace) -> None:
    folder = workspace.write("hello/server.py").parent
    workspace.write("hello/only_here/module.py")

    def git(*words: str) -> None:
        me = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", folder, *me, *words], check=True, capture_output=True)

    git("init", "--initial-branch=main")
    git("add", ".")
    git("commit", "--message=first")
    git("checkout", "-b", "other")
    git("rm", "-r", "only_here")
    workspace.write("hello/server.py", NEW)
    git("commit", "--all", "--message=second")
    await workspace.start(debounce_ms=200)
    await workspace.next()
    git("checkout", "main")
    assert (await workspace.next()).changed == ("only_here/module.py", "server.py")
    workspace.write("hello/only_here/module.py", "made again, and watched")
    assert (await workspace.next()).changed == ("only_here/module.py",)
    await workspace.only_this_follows()


async def test_the_empty_moment_of_a_truncating_editor_is_never_a_change(workspace: Workspace) -> None:
    file = workspace.write("hello/server.py")
    await workspace.start(debounce_max_ms=10_000)
    await workspace.next()
    scans = (await workspace.status()).scans

    with file.open("w") as opened:  # truncated now, written later
        workspace.write("hello/other.py")
        await workspace.until(lambda status: status.scans > scans)
        assert workspace.told.empty()
        opened.write(NEW)

    changed = await workspace.next()
    assert changed.changed == ("other.py", "server.py")
    assert file.read_text() == NEW
    await workspace.only_this_follows()


async def test_a_file_that_stays_empty_is_a_change_in_the_end(workspace: Workspace) -> None:
    file = workspace.write("hello/server.py")
    await workspace.start()
    await workspace.next()
    file.write_text("")
    assert (await workspace.next()).changed == ("server.py",)


async def test_a_burst_of_two_thousand_files_is_one_change(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start(debounce_ms=1_000, debounce_max_ms=10_000)  # a busy disk pauses in the middle of a burst
    await workspace.next()
    for number in range(2_000):
        workspace.write(f"hello/package{number % 10}/module{number}.py", f"{number}")
    changed = await workspace.next()
    assert len(changed.changed) == 50
    assert (await workspace.status()).services[0].files == 2_001
    await workspace.only_this_follows()
