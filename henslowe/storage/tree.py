"""Reading a tree for the archive: what is in it, as entries, and the content of files that stand still.

Not here: what was read before and need not be read again (`archive`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from henslowe.errors import Conflict, LimitReached, StorageError
from henslowe.storage import manifest
from henslowe.storage.manifest import Entry, EntryKind

FILE_BYTES_MAX: Final = 256 << 20
"""Largest file: it is read and hashed in memory."""
ENTRIES_MAX: Final = 100_000
_READ_TRIES: Final = 5

Ignore: TypeAlias = Callable[[str], bool]
"""Whether a path (relative, with `/`; a folder ends in `/`) is left out; an ignored folder is not entered."""


def walk(tree: Path, ignore: Ignore) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is in a tree and not ignored, by its path in it."""
    count = 0
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(tree / prefix) as found:
            children = list(found)
        for child in children:
            path = f"{prefix}{child.name}"
            folder = child.is_dir(follow_symlinks=False)
            if ignore(f"{path}/" if folder else path):
                continue
            count += 1
            if count > ENTRIES_MAX:
                raise LimitReached(
                    f"cannot archive {tree}: expected at most {ENTRIES_MAX} paths",
                    hint="ignore what is not source: environments, caches, build products",
                )
            if folder:
                waiting.append(f"{path}/")
            yield path, child


def entry_of(tree: Path, path: str, child: os.DirEntry[str]) -> Entry:
    """The entry of what is no file."""
    if child.is_symlink():
        target = os.readlink(child.path)  # noqa: PTH115 - a Path would normalise the text
        if not manifest.inside(path, target):
            raise StorageError(
                f"cannot archive {tree / path}: expected a link inside the tree, got one to {target}",
                hint="replace it by a copy, or ignore it",
            )
        return Entry(path, EntryKind.LINK, target=target)
    if child.is_dir(follow_symlinks=False):
        return Entry(path, EntryKind.FOLDER)
    raise StorageError(
        f"cannot archive {tree / path}: expected a file, a folder or a link, got a socket, pipe or device",
        hint="ignore it",
    )


def read_settled(path: Path, name: str) -> tuple[bytes, os.stat_result]:
    """The content of a file that did not change while it was read."""
    for _ in range(_READ_TRIES):
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > FILE_BYTES_MAX:
                raise LimitReached(
                    f"cannot archive {name}: expected at most {FILE_BYTES_MAX} bytes, got {before.st_size}",
                    hint="ignore it, and fetch it when the server starts",
                )
            content = file.read(FILE_BYTES_MAX + 1)
            after = os.fstat(file.fileno())
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size) and len(content) == after.st_size:
            return content, after
    raise Conflict(f"cannot archive {name}: it keeps changing", hint="wait until whatever writes it is done")
