"""The contract with watchdog's private parts: what `WatchTree` relies on holds in the installed version."""

import importlib.metadata
import inspect
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyFD
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from henslowe.actors.sources import IgnoreRules
from henslowe.actors.watcher.inotify import Trouble, WatchTree

WAIT_S = 5.0


class Heard:
    """Collects hints, and waits for a certain one."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.troubles: list[tuple] = []
        self._changed = threading.Condition()

    def hint(self, key: str, path: str) -> None:
        with self._changed:
            self.paths.append(path)
            self._changed.notify_all()

    def trouble(self, *what) -> None:
        self.troubles.append(what)

    def wait_for(self, path: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: path in self.paths, WAIT_S), self.paths


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def tree(heard: Heard) -> Iterator[WatchTree]:
    tree = WatchTree(heard.hint, heard.trouble)
    yield tree
    tree.close()


def test_the_installed_watchdog_is_the_one_whose_private_parts_are_used() -> None:
    assert importlib.metadata.version("watchdog").startswith("7.1.")


def test_the_hooks_that_are_overridden_exist_with_the_same_parameters() -> None:
    expected = {
        "_add_all_callbacks": ["self", "path"],
        "_add_callback": ["self", "path"],
        "_remove_watch_internally": ["self", "wd"],
        "on_event": ["self", "event"],
        "on_queue_overflow": ["self"],
    }
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(InotifyWatchGroup, name)).parameters) == parameters
    for name in ("put_event", "get_queued_moved_from_event", "discard_pending_events", "read_event"):
        assert callable(getattr(InotifyMoveEventGrouper, name))
    assert list(inspect.signature(InotifyFD.add_callback).parameters) == ["self", "path", "mask", "callback", "id_"]


def test_hints_carry_the_path_below_the_root(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    tree.watch("k", tmp_path, IgnoreRules())
    (tmp_path / "a/module.py").write_text("x")
    heard.wait_for("a/module.py")


def test_reading_gives_no_hint(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("x")
    tree.watch("k", tmp_path, IgnoreRules())
    file.read_text()
    list(tmp_path.iterdir())
    (tmp_path / "end").write_text("")
    heard.wait_for("end")
    assert set(heard.paths) == {"end"}


def test_an_event_after_a_file_left_the_tree_is_not_held_back(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (root / "junk").write_text("x")
    tree.watch("k", root, IgnoreRules())
    grouper = tree._groups["k"]._move_event_grouper
    (root / "junk").rename(outside)
    (root / "module.py").write_text("x")
    heard.wait_for("module.py")
    assert grouper._queue._queue == type(grouper._queue._queue)()  # nothing waits in watchdog's own queue


def test_an_ignored_folder_made_later_is_not_watched(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    tree.watch("k", tmp_path, IgnoreRules())
    (tmp_path / "node_modules/m").mkdir(parents=True)
    (tmp_path / "src/sub").mkdir(parents=True)
    (tmp_path / "src/sub/m.js").write_text("x")
    heard.wait_for("src/sub/m.js")
    assert tree.folders == 3
    assert not any(path.startswith("node_modules") for path in heard.paths)


def test_a_moved_folder_keeps_its_watches_under_its_new_name(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "a/sub").mkdir(parents=True)
    tree.watch("k", tmp_path, IgnoreRules())
    (tmp_path / "a").rename(tmp_path / "b")
    heard.wait_for("b")
    (tmp_path / "b/sub/m.py").write_text("x")
    heard.wait_for("b/sub/m.py")
    assert (tree.folders, tree.is_stale("k")) == (3, False)


def test_a_folder_that_left_the_tree_makes_its_watches_stale(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    tree.watch("k", root, IgnoreRules())
    (root / "a").rename(tmp_path / "away")
    heard.wait_for("a")
    assert tree.is_stale("k")
    tree.watch("k", root, IgnoreRules())
    assert (tree.folders, tree.is_stale("k")) == (1, False)


def test_folders_that_come_and_go_leave_no_watch_and_no_dead_thread(
    tree: WatchTree, heard: Heard, tmp_path: Path
) -> None:
    tree.watch("k", tmp_path, IgnoreRules())
    for number in range(30):
        (tmp_path / f"a{number % 3}/b/c").mkdir(parents=True)
        (tmp_path / f"a{number % 3}").rename(tmp_path / "x")
        shutil.rmtree(tmp_path / "x")
    (tmp_path / "end").write_text("")
    heard.wait_for("end")
    assert tree.is_alive()
    assert tree.folders == 1


def test_the_loss_of_the_root_is_a_hint(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    tree.watch("k", root, IgnoreRules())
    root.rmdir()
    heard.wait_for("")


def test_a_root_that_cannot_be_watched_is_reported(tree: WatchTree, heard: Heard, tmp_path: Path) -> None:
    tree.watch("k", tmp_path / "missing", IgnoreRules())
    assert not tree.is_watched("k")
    assert heard.troubles == []  # a folder that is gone is no trouble: its parent tells


def test_an_overflow_finds_what_came_went_and_moved_and_takes_no_watch_away(
    tree: WatchTree, heard: Heard, tmp_path: Path
) -> None:
    for name in ("stays", "moves/sub", "goes"):
        (tmp_path / name).mkdir(parents=True)
    tree.watch("k", tmp_path, IgnoreRules())
    group = tree._groups["k"]
    watches = dict(group._active_callbacks_by_path)
    with group._lock:  # the reading thread hears of none of this before the overflow
        (tmp_path / "moves").rename(tmp_path / "moved")
        (tmp_path / "goes").rmdir()
        (tmp_path / "came/sub").mkdir(parents=True)
        group._lock.release()
        group.on_queue_overflow()
        group._lock.acquire()
    assert heard.troubles == [("", Trouble.OVERFLOW, "the kernel's queue of events was full, and some were lost")]
    assert not tree.is_recovering
    after = group._active_callbacks_by_path
    root = str(tmp_path).encode()
    assert after.keys() == {root + b for b in (b"", b"/stays", b"/moved", b"/moved/sub", b"/came", b"/came/sub")}
    assert after[root + b"/moved/sub"] == watches[root + b"/moves/sub"]
    assert after[root + b"/stays"] == watches[root + b"/stays"]
    for name in ("stays", "moved/sub", "came/sub"):
        (tmp_path / name / "module.py").write_text("x")
        heard.wait_for(f"{name}/module.py")
