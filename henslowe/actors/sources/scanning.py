"""The truth about a service's sources: a walk that compares stats, and hashes what changed.

Events of the kernel are hints that may be late, doubled or lost; a scan is what decides. It costs about 4 us per file
that did not change. Symbolic links are followed, since a build must not depend on what lies outside; one that leads to
a folder above it is cut.

Not here: when to scan, and who is told (`henslowe.actors.watcher`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from henslowe.actors.sources.ignoring import GIT_IGNORE, HENSLOWE_IGNORE, RULE_FILES, IgnoreRules, read_rules
from henslowe.errors import LimitReached

FILES_MAX: Final = 50_000
"""Most source files of one service. More means that an environment or a data set is not ignored."""
FOLDERS_MAX: Final = 100_000
"""Links to folders full of links to folders could be walked for ever."""
BREATH_FILES: Final = 200
BREATH_S: Final = 0.000_2
"""After so many files a scan, a millisecond of work, rests for so long; see `_Breath`."""
BYTES_MAX: Final = 2 * 1024**3
RACY_NS: Final = 50_000_000
"""A file hashed this soon after its change is hashed again at the next scan: the clock of file systems ticks every
4 to 10 ms, so a second write may leave the stat as it was."""
CHUNK_BYTES: Final = 1024 * 1024


@dataclass(slots=True, frozen=True)
class SourceFile:
    """One file as it was read."""

    mtime_ns: int
    size: int
    inode: int
    mode: int
    sha256: str
    read_at_ns: int

    def is_still(self, now: os.stat_result) -> bool:
        """Whether a stat taken now says that the content need not be read again."""
        return (self.mtime_ns, self.size, self.inode) == (
            now.st_mtime_ns,
            now.st_size,
            now.st_ino,
        ) and self.read_at_ns - self.mtime_ns > RACY_NS


@dataclass(slots=True, frozen=True)
class Tree:
    """What one scan found."""

    files: Mapping[str, SourceFile] = field(default_factory=lambda: MappingProxyType({}))
    """By relative path, with slashes, sorted."""
    folders: frozenset[str] = frozenset()
    """Relative paths, with a slash at their end; "" for the root."""
    rules: IgnoreRules = field(default_factory=IgnoreRules)
    digest: str = ""
    """Over paths and contents; times, modes and ignored files have no part in it."""
    torn: frozenset[str] = frozenset()
    """Files that changed while they were read."""
    linked: bool = False
    """Whether there are symbolic links: the kernel does not report what changes behind them."""


def content_digest(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over (relative path, SHA-256 of the content), in order of paths."""
    total = hashlib.sha256()
    for path, sha256 in sorted(files):
        total.update(f"{path}\0{sha256}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def scan(
    root: Path,
    before: Tree,
    now_ns: int,
    *,
    ignore: tuple[str, ...] = (),
    files_max: int = FILES_MAX,
) -> Tree:
    """The sources below `root`; contents known from `before` are not read again. `now_ns` is Unix time.

    Runs in: a thread (it blocks).

    Raises:
        LimitReached: More than `files_max` files, or more than `BYTES_MAX` bytes.
        OSError: `root` itself cannot be listed.
    """
    walk = _Walk(root, ignore, files_max, before)
    found = walk.run()
    files: dict[str, SourceFile] = {}
    torn: set[str] = set()
    breath = _Breath()
    for path, status in sorted(found.items()):
        breath.after(1)
        known = before.files.get(path)
        if known is not None and known.is_still(status):
            files[path] = known
            continue
        read = _read(os.path.join(root, path), now_ns)
        if read is not None:
            files[path], was_torn = read
            if was_torn:
                torn.add(path)
    return Tree(
        files=MappingProxyType(files),
        folders=frozenset(walk.folders),
        rules=before.rules if before.rules.texts == walk.rules.texts else walk.rules,
        digest=content_digest((path, file.sha256) for path, file in files.items()),
        torn=frozenset(torn),
        linked=walk.linked,
    )


def list_sources(root: Path, *, ignore: tuple[str, ...] = (), files_max: int = FILES_MAX) -> list[str]:
    """The paths that `scan` would find, sorted, without reading them. Raises what `scan` raises."""
    return sorted(_Walk(root, ignore, files_max, Tree()).run())


def root_rules(root: Path, ignore: tuple[str, ...]) -> IgnoreRules:
    """The rules that hold before any folder below `root` was seen."""
    texts = {name: text for name in (HENSLOWE_IGNORE, GIT_IGNORE) if (text := read_rules(root / name))}
    return IgnoreRules(ignore, texts)


def changed_paths(before: Tree, after: Tree) -> tuple[str, ...]:
    """Paths whose content differs between two scans, sorted."""
    paths = before.files.keys() | after.files.keys()

    def content(tree: Tree, path: str) -> str:
        file = tree.files.get(path)
        return "" if file is None else file.sha256

    return tuple(sorted(path for path in paths if content(before, path) != content(after, path)))


def unsettled_s(before: Tree, after: Tree, now_ns: int, patience_s: float) -> float:
    """How long to wait before a scan may be believed; 0 when it may be.

    Editors that truncate and then write leave an empty file for a moment, and a file can change while it is read.
    A file that became empty is believed once it has been empty for `patience_s`.
    """
    waits = [patience_s for _ in after.torn]
    for path, file in after.files.items():
        known = before.files.get(path)
        if file.size == 0 and (known is None or known.size > 0):
            age_s = (now_ns - file.mtime_ns) / 1e9
            if 0 <= age_s < patience_s:
                waits.append(patience_s - age_s)
    return max(waits, default=0.0)


class _Breath:
    """Lets other threads run now and then.

    A walk makes a system call per file, after which it takes the interpreter's lock again before any thread that waits
    for it wakes up: those would wait 5 ms at every step of theirs.
    """

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def after(self, files: int) -> None:
        """So many more files were looked at."""
        self._count += files
        if self._count >= BREATH_FILES:
            self._count = 0
            time.sleep(BREATH_S)


_Identity = tuple[int, int]
"""Device and inode."""
_Pending = tuple[str, tuple[_Identity, ...]]
"""A folder's path, with a slash at its end, and the folders above it."""


class _Walk:
    """One walk: regular files by relative path, ignored ones left out.

    What counted in the walk `before` counts again without asking the rules, half of the time of a walk, for as long as
    the rules are found to be the same.
    """

    def __init__(self, root: Path, ignore: tuple[str, ...], files_max: int, before: Tree) -> None:
        self._root = root
        self._ignore = ignore
        self._files_max = files_max
        self._bytes = 0
        self._breath = _Breath()
        self._before = before
        self._found: dict[str, os.stat_result] = {}
        self.folders: set[str] = set()
        self.linked = False
        self.rules = root_rules(root, ignore)
        self._same_rules = all(self.rules.text(name) == before.rules.text(name) for name in RULE_FILES)

    def run(self) -> dict[str, os.stat_result]:
        pending: list[_Pending] = [("", ())]
        while pending:
            pending.extend(self._folder(*pending.pop()))
        return self._found

    def _folder(self, prefix: str, above: tuple[_Identity, ...]) -> list[_Pending]:
        folder = self._root / prefix
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError:
            if prefix:
                return []  # it vanished since its parent was listed
            raise
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return []
        above = (*above, identity)
        self.folders.add(prefix)
        self._check_limits()
        if prefix:
            self._read_rules(prefix + GIT_IGNORE, any(entry.name == GIT_IGNORE for entry in entries))
        deeper = []
        self._breath.after(len(entries) + 1)
        for entry in entries:
            path = prefix + entry.name
            try:
                is_dir = entry.is_dir()
                if not self._counted_before(path, is_dir) and self.rules.ignores(path, is_dir=is_dir):
                    continue
                self.linked = self.linked or entry.is_symlink()
                if is_dir:
                    deeper.append((path + "/", above))
                    continue
                self._add(path, entry.stat())
            except OSError:
                continue  # a broken link, or gone since it was listed
        return deeper

    def _read_rules(self, path: str, is_there: bool) -> None:
        text = read_rules(self._root / path) if is_there else None
        if text is not None:
            self.rules = self.rules.with_file(path, text, self._ignore)
        self._same_rules = self._same_rules and text == self._before.rules.text(path)

    def _counted_before(self, path: str, is_dir: bool) -> bool:
        if not self._same_rules:
            return False
        return path + "/" in self._before.folders if is_dir else path in self._before.files

    def _add(self, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            return
        self._found[path] = status
        self._bytes += status.st_size
        self._check_limits()

    def _check_limits(self) -> None:
        if len(self._found) > self._files_max or self._bytes > BYTES_MAX or len(self.folders) > FOLDERS_MAX:
            raise LimitReached(
                f"cannot scan {self._root.name}: expected at most {self._files_max} source files, "
                f"{FOLDERS_MAX} folders and {BYTES_MAX // 1024**2} MiB, got more",
                hint=f"list what is not source in {self._root.name}/{HENSLOWE_IGNORE}",
            )


def _read(path: str, now_ns: int) -> tuple[SourceFile, bool] | None:
    """The file and whether it changed meanwhile; None when it is gone."""
    digest = hashlib.sha256()
    try:
        # O_NONBLOCK: a pipe that took the file's place must not hang the scan
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        first = os.fstat(descriptor)
        if not stat.S_ISREG(first.st_mode):
            return None
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        last = os.fstat(descriptor)
    torn = (first.st_mtime_ns, first.st_size) != (last.st_mtime_ns, last.st_size)
    return (
        SourceFile(first.st_mtime_ns, last.st_size, last.st_ino, last.st_mode, digest.hexdigest(), now_ns),
        torn,
    )
