"""New files of one change, made durable together: some flushes at once cost little more than one.

    fresh = FreshFiles()
    fresh.write(objects / "ab" / digest, content, objects)
    fresh.write_last(builds / build_id, manifest)
    fresh.settle()      # all of them are on disk under their names, the last one after the others

A file gets its name only when its content is on disk, and the last file, which says that the others are there, only
when their names are. After a power cut there is the whole change, or files that nobody knows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from henslowe.storage import filesystem

_T = TypeVar("_T", int, Path)

THREADS: Final = 8
"""Flushes at once: a journal commits them together."""
QUICK_S: Final = 0.000_5
"""A flush that takes less is not worth a thread."""
OPEN_MAX: Final = 256
"""Files that are written and not flushed; more are flushed on the way."""


class FreshFiles:
    """Files on their way to their names. Runs in: one thread, but for the flushes."""

    def __init__(self) -> None:
        self._open: dict[int, None] = {}
        self._waiting: dict[Path, Path] = {}
        """From where each file is to its name."""
        self._last: tuple[Path, Path] | None = None
        self._folders: dict[Path, None] = {}

    def write(self, path: Path, content: bytes, *folders: Path) -> None:
        """Writes a file, read-only, whose name will be `path`; `folders` above its own may have got a new name, too."""
        if path in self._waiting.values():
            return
        self._waiting[self._write(path, content)] = path
        self.touch(path.parent, *folders)
        if len(self._open) >= OPEN_MAX:
            self._flush()

    def write_last(self, path: Path, content: bytes) -> None:
        """Writes the file that gets its name after all others."""
        self._last = self._write(path, content), path

    def touch(self, *folders: Path) -> None:
        """Has the names in folders flushed with the others."""
        self._folders.update(dict.fromkeys(folders))

    def settle(self) -> None:
        """Returns once everything is on disk.

        Raises:
            OSError: The disk refused; the last file does not have its name.
        """
        self._flush()
        for aside, path in self._waiting.items():
            aside.replace(path)
        self._waiting.clear()
        _together(filesystem.sync_dir, self._folders)
        if self._last is not None:
            aside, path = self._last
            aside.replace(path)
            self._last = None
            filesystem.sync_dir(path.parent)

    def discard(self) -> None:
        """Removes what did not get its name."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        for aside in (*self._waiting, *((self._last[0],) if self._last is not None else ())):
            with suppress(OSError):
                aside.unlink()

    def _write(self, path: Path, content: bytes) -> Path:
        aside = path.with_name(f".{path.name}.tmp")
        with suppress(FileNotFoundError):
            aside.unlink()
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._open[descriptor] = None
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fchmod(descriptor, 0o444)
        return aside

    def _flush(self) -> None:
        _together(os.fsync, self._open)
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()


def _together(flush: Callable[[_T], None], what: Iterable[_T]) -> None:
    """Flushes all of it: one by one as long as that is quick, else at once. The first failure is raised."""
    left = list(what)
    while left:
        began_s = time.perf_counter()
        flush(left.pop())
        if len(left) > 1 and time.perf_counter() - began_s > QUICK_S:
            with ThreadPoolExecutor(min(THREADS, len(left)), thread_name_prefix="flush") as pool:
                list(pool.map(flush, left))
            return
