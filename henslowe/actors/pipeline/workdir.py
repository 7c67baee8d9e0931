"""The folder of one run: an unchanging copy of the sources, and what its stages may litter.

    <data>/runs/<service>-<number>/
        src/    where stages run
        kept/   their reports
        pack/   the same copy, which no stage sees: what goes into the archive
        home/ tmp/

The copy is made before anything is decided, so that all stages see one state, however fast a person types.
Symbolic links are followed, as in the scan: a build must not depend on what lies outside of it.

Blocking: call it in a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from henslowe.actors.sources import content_digest, list_sources
from henslowe.errors import NotFound
from henslowe.storage import remove_tree


@dataclass(slots=True, frozen=True)
class Workdir:
    """The folders of one run."""

    root: Path

    @property
    def src(self) -> Path:
        """Where stages run."""
        return self.root / "src"

    @property
    def pack(self) -> Path:
        """What goes into the archive."""
        return self.root / "pack"

    @property
    def kept(self) -> Path:
        """What is kept beside the build; made when there is something."""
        return self.root / "kept"

    @property
    def home(self) -> Path:
        """The stages' HOME."""
        return self.root / "home"

    @property
    def tmp(self) -> Path:
        """The stages' TMPDIR."""
        return self.root / "tmp"

    def remove(self) -> None:
        """Remove everything; nothing there is fine."""
        remove_tree(self.root)


@dataclass(slots=True, frozen=True)
class Snapshot:
    """The copied sources."""

    files: Mapping[str, str]
    """SHA-256 by relative path."""
    digest: str


def take_snapshot(source: Path, work: Workdir, ignore: tuple[str, ...]) -> Snapshot:
    """Copy the sources of a service into a new run folder; what is read once is what is hashed and written.

    Raises:
        NotFound: The source folder is gone.
        LimitReached: It has more files than a service may have.
        OSError: The data directory cannot be written.
    """
    work.remove()
    for folder in (work.src, work.pack, work.home, work.tmp):
        folder.mkdir(parents=True)
    try:
        paths = list_sources(source, ignore=ignore)
    except FileNotFoundError as error:
        raise NotFound(f"cannot copy {source}: it is gone", hint="make the folder again") from error
    files: dict[str, str] = {}
    made: set[str] = set()
    for path in paths:
        content = read_regular(source / path)
        if content is None:
            continue  # gone since it was listed: the watcher will tell
        data, mode = content
        files[path] = hashlib.sha256(data).hexdigest()
        parent, _, _ = path.rpartition("/")
        for root in (work.src, work.pack):
            if parent not in made:
                (root / parent).mkdir(parents=True, exist_ok=True)
            _write(root / path, data, mode)
        made.add(parent)
    return Snapshot(files, content_digest(files.items()))


def add_artifacts(work: Workdir, globs: tuple[str, ...]) -> list[str]:
    """Copy what a stage made from `src` to `pack`; the relative paths, sorted."""
    found = matching(regular_files(work.src), globs)
    for path in found:
        content = read_within(work.src / path, work.src)
        if content is not None:
            (work.pack / path).parent.mkdir(parents=True, exist_ok=True)
            (work.pack / path).unlink(missing_ok=True)
            _write(work.pack / path, *content)
    return found


def matching(paths: Iterable[str], globs: tuple[str, ...]) -> list[str]:
    """The paths that any of the globs (gitignore syntax) matches, sorted; all of them when there are no globs."""
    if not globs:
        return sorted(paths)
    return sorted(GitIgnoreSpec.from_lines(globs).match_files(paths))


def regular_files(root: Path) -> list[str]:
    """Paths of the files below `root`; links to folders (`node_modules`) are not followed."""
    found: list[str] = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in ("node_modules", "__pycache__")]
        below = Path(folder).relative_to(root)
        found.extend((below / name).as_posix() for name in files)
    return found


def read_within(path: Path, root: Path) -> tuple[bytes, int] | None:
    """What a stage made below `root`; None also for a link that leaves it: the node may read what a stage may not."""
    resolved = path.resolve()
    return read_regular(resolved, os.O_NOFOLLOW) if resolved.is_relative_to(root.resolve()) else None


def read_regular(path: Path, flags: int = 0) -> tuple[bytes, int] | None:
    """A file's content and mode; None where it is gone or is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        return (file.read(), status.st_mode) if stat.S_ISREG(status.st_mode) else None


def _write(path: Path, data: bytes, mode: int) -> None:
    # 0600 or 0700: tests may change their own copy, and the archive keeps only the executable bit anyway
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700 if mode & 0o100 else 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def sweep(runs: Path) -> None:
    """Remove the folders that a crashed node left behind."""
    remove_tree(runs)
