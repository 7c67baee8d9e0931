"""Builds as folders: written read-only, recognised again, and pointed to by links that are swapped atomically.

Not here: where a build's content comes from (`archive`).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from henslowe.errors import StorageError
from henslowe.storage import filesystem
from henslowe.storage.manifest import Build, Entry, EntryKind
from henslowe.storage.tree import entry_of, walk


def write_tree(build: Build, root: Path, read: Callable[[Entry], bytes]) -> None:
    """Makes `root` the read-only tree of a build, durably.

    Raises:
        OSError: It cannot be written; a part of it may be there.
    """
    root.mkdir()
    folders = [root]
    for entry in build.entries:
        path = root / entry.path
        if entry.kind is EntryKind.FOLDER:
            path.mkdir()
            folders.append(path)
        elif entry.kind is EntryKind.LINK:
            path.symlink_to(entry.target)
        else:
            _write_file(path, read(entry), 0o555 if entry.executable else 0o444)
    # Last, and the deepest first: nothing can be added to a read-only folder.
    for folder in reversed(folders):
        filesystem.sync_dir(folder)
        folder.chmod(0o555)


def swap_link(link: Path, target: Path) -> bool:
    """Makes `link` point to `target` atomically: who resolves it sees the old or the new one; whether it changed.

    Within one folder tree the link is relative, so that the tree can be moved. Resolve a link once and use the result:
    two resolutions may see two versions.

    Raises:
        StorageError: Something other than a link stands there.
    """
    text = os.path.relpath(target, link.parent)
    try:
        if str(link.readlink()) == text:
            return False
    except FileNotFoundError:
        link.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot point {link} to {target}: expected a link there, got something else") from error
    aside = link.with_name(f".{link.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(text)
    aside.replace(link)
    filesystem.sync_dir(link.parent)
    return True


def _write_file(path: Path, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)


def is_tree_of(dest: Path, build: Build) -> bool:
    """Whether `dest` has the paths, kinds, sizes and executable bits of the build; contents are not read."""
    if dest.is_symlink() or not dest.is_dir():
        return False
    found: list[Entry] = []
    for path, child in walk(dest, lambda _: False):
        if child.is_file(follow_symlinks=False):
            status = child.stat(follow_symlinks=False)
            executable = bool(status.st_mode & stat.S_IXUSR)
            found.append(Entry(path, EntryKind.FILE, size_bytes=status.st_size, executable=executable))
        else:
            found.append(entry_of(dest, path, child))
    wanted = [
        Entry(e.path, e.kind, size_bytes=e.size_bytes, executable=e.executable, target=e.target) for e in build.entries
    ]
    return sorted(found) == wanted
