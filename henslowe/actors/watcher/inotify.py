"""Hints from the kernel: watchdog's inotify engine, pruned and made honest.

watchdog's own observer cannot leave folders out, hides the kernel's watch limit and tells nobody when events were lost;
with its default mask a tree of 5,000 folders keeps it busy for ever (its own walk produces the next overflow), and a
file that is moved away holds back all later events for half a second. This module therefore uses its two lower
layers, `InotifyFD` (the reading thread) and `InotifyWatchGroup` (which path has which watch), with

- a mask without opens, reads and closes of files that were only read;
- a walk that asks before it descends, so ignored folders have no watches;
- a move grouper that passes each event on at once: these are hints, and a pair of them means the same as one;
- a report of each problem: the limit, a folder that cannot be watched, an overflow.

Both are private parts of watchdog: the dependency is held to 7.1, and `tests/actors/watcher/test_inotify.py` is the
contract that they keep. Hints come from the reading thread, which must never block.

Not here: what a hint leads to (`actor`).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor
from watchdog.observers.inotify_c import inotify_add_watch as _add_watch
from watchdog.observers.inotify_c import inotify_init as _new_instance
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)

from henslowe.actors.sources.ignoring import IgnoreRules

MASK: Final = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_CREATE  # a replacement from outside the tree shows as nothing else
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
)
MOVES_MAX: Final = 64
"""Moves that wait for their other half; a forgotten one costs watches that are added twice, nothing else."""


class Trouble(StrEnum):
    """What can go wrong with watching."""

    WATCH_LIMIT = "watch_limit"
    """The kernel (`fs.inotify.max_user_watches`) or our own limit refuses more watches."""
    WATCH_FAILED = "watch_failed"
    OVERFLOW = "overflow"
    """Events were lost; everything is looked at again."""


OnHint = Callable[[str, str], None]
"""(key of the root, path below it with slashes, or "" for the root itself)."""
OnTrouble = Callable[[str, Trouble, str], None]
"""(key of the root, what, the folder or the error's text)."""


class WatchTree:
    """Watches on any number of roots, through one inotify instance and one thread.

    Args:
        on_hint: Told of each change, in the reading thread.
        on_trouble: Told of each problem, in the reading thread or in the caller of `watch`.
        watches_max: Most watched folders; the kernel may have a lower limit.

    Raises:
        OSError: There is no inotify instance to be had (`fs.inotify.max_user_instances`).
    """

    def __init__(self, on_hint: OnHint, on_trouble: OnTrouble, *, watches_max: int = 100_000) -> None:
        self._on_hint = on_hint
        self._on_trouble = on_trouble
        self._watches_max = watches_max
        self._groups: dict[str, _Group] = {}
        self._recovering: set[str] = set()
        self._refused: dict[str, str] = {}
        """By key, the folder for which there was no watch left."""
        self._source = InotifyFD()
        self._source.start()

    def watch(self, key: str, root: Path, rules: IgnoreRules | None) -> None:
        """Watch `root` under `key`, with the folders below it that `rules` keep (None: only `root` itself).

        An earlier watch under `key` ends. Trouble is reported, not raised: `is_watched` tells.
        """
        self.unwatch(key)
        try:
            self._groups[key] = _Group(
                self._source,
                os.fsencode(root),
                event_mask=MASK,
                is_recursive=rules is not None,
                key=key,
                rules=rules,
                tree=self,
            )
        except OSError as error:
            self.report(key, error, str(root))

    def watch_the_rest(self, key: str) -> bool:
        """Watch what was refused under `key`, and keep the watches that there are; False where there are none."""
        group = self._groups.get(key)
        if group is None:
            return False
        self._refused.pop(key, None)
        group.watch_the_rest()
        return True

    def unwatch(self, key: str) -> None:
        """End the watches under `key`; unknown keys are ignored."""
        self._refused.pop(key, None)
        self._recovering.discard(key)
        group = self._groups.pop(key, None)
        if group is not None:
            group.deactivate()

    def is_watched(self, key: str) -> bool:
        """Whether every folder under `key` is watched."""
        group = self._groups.get(key)
        return group is not None and group.complete

    def is_stale(self, key: str) -> bool:
        """Whether a folder was moved out, whose watches only a new `watch` gives back."""
        group = self._groups.get(key)
        return group is not None and group.moves.lost

    def has_room_again(self, key: str) -> bool:
        """Whether a folder under `key` was refused for the limit, and would not be now. A few system calls.

        What could be watched keeps its watches, so this stays False until somebody else gives some back.
        """
        refused = self._refused.get(key)
        if refused is None or sum(group.size for group in tuple(self._groups.values())) >= self._watches_max:
            return False
        trial = _new_instance()  # one of its own: the folder may be watched here under another name
        if trial == -1:
            return False
        try:
            return _add_watch(trial, os.fsencode(refused), MASK) != -1 or ctypes.get_errno() != errno.ENOSPC
        finally:
            os.close(trial)

    @property
    def lacks_room(self) -> bool:
        """Whether a folder was refused for the limit, and is not watched since."""
        return bool(self._refused)

    def is_alive(self) -> bool:
        """Whether the reading thread runs."""
        return self._source.is_alive()

    @property
    def is_recovering(self) -> bool:
        """Whether events were lost, and folders are being walked again; the last one's hint is the end of it."""
        return bool(self._recovering)

    @property
    def folders(self) -> int:
        """Number of watched folders."""
        return sum(group.size for group in tuple(self._groups.values()))

    def close(self) -> None:
        """Give everything back: watches, descriptors and the thread. Waits for the thread, at most 5 s."""
        for key in tuple(self._groups):
            self.unwatch(key)
        self.give_up()
        self._source.join(5.0)

    def give_up(self) -> None:
        """As `close`, for any thread: the reading thread gives everything back, and nobody waits for it. Idempotent."""
        self._source.stop()

    def hint(self, key: str, path: str) -> None:
        """For the groups: pass a hint on."""
        self._on_hint(key, path)

    def begin_recovery(self, key: str) -> None:
        """For the groups, each in turn: events were lost, of any of them."""
        self._recovering.add(key)
        self._on_trouble("", Trouble.OVERFLOW, "the kernel's queue of events was full, and some were lost")

    def end_recovery(self, key: str) -> None:
        """For the groups: all folders are watched again; what changed meanwhile shows at once."""
        self._recovering.discard(key)
        self.hint(key, "")

    def report(self, key: str, error: OSError, where: str) -> None:
        """For the groups: pass a problem on."""
        if error.errno == errno.ENOSPC:
            self._refused[key] = where
            self._on_trouble(key, Trouble.WATCH_LIMIT, where)
        elif error.errno not in (errno.ENOENT, errno.ENOTDIR):  # not: it vanished meanwhile
            self._on_trouble(key, Trouble.WATCH_FAILED, f"{where}: {error.strerror}")

    def has_room(self, group: _Group) -> bool:
        """For the groups: whether `group`, which may be in the making, may watch one more folder."""
        others = sum(other.size for other in tuple(self._groups.values()) if other is not group)
        return others + group.size < self._watches_max


class _Moves(InotifyMoveEventGrouper):
    """Pairs moves for the group's bookkeeping, and passes every event on without delay."""

    def __init__(self, passed_on: Callable[[bytes, bool], None]) -> None:
        super().__init__()
        self._passed_on = passed_on
        self._from: OrderedDict[int, PathedInotifyEvent] = OrderedDict()
        self.lost = False

    def put_event(self, event: PathedInotifyEvent) -> None:
        if event.ev.is_moved_from:
            self._from[event.ev.cookie] = event
            if len(self._from) > MOVES_MAX:
                self._from.popitem(last=False)
            self.lost = self.lost or event.ev.is_directory
        elif event.ev.is_moved_to and self._from.pop(event.ev.cookie, None) is not None:
            self.lost = any(known.ev.is_directory for known in self._from.values())
        self._passed_on(event.path, event.ev.is_directory)

    def get_queued_moved_from_event(self, cookie: int) -> PathedInotifyEvent | None:
        return self._from.get(cookie)

    def discard_pending_events(self) -> None:
        self._from.clear()

    def read_event(self) -> GroupedInotifyEvent | None:
        raise NotImplementedError("hints are passed on, not read")


@dataclass
class _Group(InotifyWatchGroup):
    """The watches of one root."""

    _: KW_ONLY
    key: str
    rules: IgnoreRules | None
    tree: WatchTree
    complete: bool = field(default=True, init=False)
    met: set[WatchDescriptor] = field(default_factory=set, init=False)
    """The watches that a walk found, after an overflow."""

    def __post_init__(self) -> None:
        self.moves = self._move_event_grouper = _Moves(self._pass_on)
        super().__post_init__()

    @property
    def size(self) -> int:
        return len(self._active_callbacks_by_watch)

    def on_event(self, event: InotifyEvent) -> None:
        if event.is_delete_self or event.is_move_self:
            self.tree.hint(self.key, "")
        super().on_event(event)

    def on_queue_overflow(self) -> None:
        """Walks again, adds what is new and forgets what is gone.

        Not watchdog's way, which gives all watches back first: each tells of its end, and where there are more folders
        than the queue holds events, that is the next overflow, and so on for ever.
        """
        self.tree.begin_recovery(self.key)
        with self._lock:
            if self.is_active:
                self._move_event_grouper.discard_pending_events()
                self._walk_again()
        self.tree.end_recovery(self.key)

    def watch_the_rest(self) -> None:
        """Adds the watches for which there was no room."""
        with self._lock:
            self.complete = True
            if self.is_active:
                self._walk_again()

    def _walk_again(self) -> None:
        before = set(self._active_callbacks_by_watch)
        self.met.clear()
        with suppress(OSError):  # the root is gone: the listing tells what became of it
            self._add_all_callbacks(self.path)
        gone = before - self.met
        kept = {watch: path for watch, path in self._active_callbacks_by_watch.items() if watch not in gone}
        self._remove_callbacks(list(gone))
        # A folder that was moved has its watch under both names until here.
        self._active_callbacks_by_path = {path: watch for watch, path in kept.items()}

    def _pass_on(self, path: bytes, is_dir: bool) -> None:
        below = os.fsdecode(path[len(self.path) + 1 :])
        if below and self.rules is not None and self.rules.ignores_path(below, is_dir=is_dir):
            return
        self.tree.hint(self.key, below)

    def _add_all_callbacks(self, path: bytes) -> None:
        """Adds watches from `path` down, and does not look into what is ignored."""
        pending = [path]
        while pending:
            folder = pending.pop()
            below = os.fsdecode(folder[len(self.path) + 1 :])
            if below and self.rules is not None and self.rules.ignores(below, is_dir=True):
                continue
            self._add_callback(folder)
            if not self.is_recursive:
                continue
            try:
                with os.scandir(folder) as entries:
                    pending.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue  # it vanished meanwhile: its parent reports that

    def _add_callback(self, path: bytes) -> None:
        try:
            if not self.tree.has_room(self):
                raise OSError(errno.ENOSPC, "watch limit reached")
            # The same call again is harmless, and tells whether this folder has a watch under another name: watchdog
            # would warn, in a thread where a warning turned into an error ends everything.
            known = WatchDescriptor(_add_watch(self._inotify_fd._inotify_fd, path, self.event_mask))
            if known == -1 or known not in self._active_callbacks_by_watch:
                known = self._inotify_fd.add_callback(path, self.event_mask, self._callback, self._id)
            if known == -1:  # watchdog passes over EACCES
                self._inotify_fd.remove_callbacks([(known, self._id)])
                raise OSError(errno.EACCES, "permission denied")
        except OSError as error:
            self.complete = self.complete and error.errno in (errno.ENOENT, errno.ENOTDIR)
            if path == self.path:
                raise
            self.tree.report(self.key, error, os.fsdecode(path))
        else:
            self._active_callbacks_by_path[path] = known
            self._active_callbacks_by_watch[known] = path
            self.met.add(known)

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        # watchdog raises KeyError, and loses its thread, when two watches had one path and the later one goes first
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]
