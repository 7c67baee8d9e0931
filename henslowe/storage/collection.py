"""Collecting what no version needs any more from an archive: builds first, then objects of no build.

With 10,000 builds, reading all manifests for each collection would take seconds. So how many builds need each object is
read once and kept; after that a collection costs what is new and what goes. Objects that never got a build (their node
ended before) are looked for at the first collection and then once an hour.

Not here: which builds must stay. That is the version machine's knowledge.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SWEEP_S: Final = 3_600.0
_DIGEST: Final = re.compile(rb'"([0-9a-f]{64})"')
_DIGEST_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Collected:
    """What a garbage collection removed. While a build that must stay has a damaged manifest, no object is removed."""

    builds: int
    objects: int
    freed_bytes: int
    damaged_builds: tuple[str, ...] = ()


class Collector:
    """Removes builds and objects of one archive, and remembers what is needed. Thread-safe.

    Args:
        builds: Folder of the manifests.
        objects: Folder of the objects.
        lock: Held while anything is removed: storing must not reuse an object that is about to go.
        forget: Told of each object that was removed.
    """

    def __init__(
        self, builds: Path, objects: Path, lock: AbstractContextManager[object], forget: Callable[[str], None]
    ) -> None:
        self._builds = builds
        self._objects = objects
        self._lock = lock
        self._forget = forget
        self._collecting = threading.Lock()
        self._needed: Counter[bytes] = Counter()
        """How many builds need each object, by its digest in bytes: half of the memory that text would take."""
        self._read: set[str] = set()
        """Builds that are counted."""
        self._loose: set[str] = set()
        """Objects of no build that were too young to be removed."""
        self._swept_s = float("-inf")

    def collect(self, *, pins: Collection[str], grace_s: float, now_s: float) -> Collected:
        """Removes builds that are not in `pins`, then objects of no build; spares what was stored within `grace_s`."""
        oldest_kept_s = now_s - grace_s
        with self._collecting:
            # Most is read before others have to wait.
            self._catch_up()
            with self._lock:
                damaged = self._catch_up()
                removed = [build for build in self._unpinned(pins) if self._remove_build(build, oldest_kept_s)]
                damaged -= set(removed)
                objects, freed = (0, 0) if damaged else self._remove_objects(oldest_kept_s)
        return Collected(len(removed), objects, freed, tuple(sorted(damaged)))

    def _catch_up(self) -> set[str]:
        """Counts the builds that are new; those that cannot be read."""
        damaged = set()
        for build in self._names() - self._read:
            digests = self._digests(build)
            if digests is None:
                damaged.add(build)
            else:
                self._needed.update(digests)
                self._read.add(build)
        return damaged

    def _unpinned(self, pins: Collection[str]) -> set[str]:
        return self._names() - set(pins)

    def _remove_build(self, build: str, oldest_kept_s: float) -> bool:
        path = self._builds / build
        if path.stat().st_mtime > oldest_kept_s:
            return False
        digests = self._digests(build) if build in self._read else set()
        path.unlink()
        self._read.discard(build)
        if digests is None:
            # Damaged since it was counted: counted anew, when everything is read again.
            self._needed.clear()
            self._read.clear()
            self._catch_up()
            self._swept_s = float("-inf")
            return True
        for digest in digests:
            self._needed[digest] -= 1
            if not self._needed[digest]:
                del self._needed[digest]
                self._loose.add(digest.hex())
        return True

    def _remove_objects(self, oldest_kept_s: float) -> tuple[int, int]:
        now_s = time.monotonic()
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._loose.update(name for name in self._stored() if bytes.fromhex(name) not in self._needed)
        removed = freed = 0
        for name in sorted(self._loose):
            path = f"{self._objects}/{name[:2]}/{name}"
            try:
                status = os.stat(path)  # noqa: PTH116 - there may be very many
            except FileNotFoundError:
                self._loose.discard(name)
                continue
            if bytes.fromhex(name) in self._needed:
                self._loose.discard(name)
            elif status.st_mtime <= oldest_kept_s:
                os.unlink(path)  # noqa: PTH108
                self._loose.discard(name)
                self._forget(name)
                removed += 1
                freed += status.st_size
        return removed, freed

    def _names(self) -> set[str]:
        try:
            return {name for name in os.listdir(self._builds) if len(name) == _DIGEST_CHARS}  # noqa: PTH208
        except FileNotFoundError:
            return set()

    def _stored(self) -> Iterator[str]:
        if not self._objects.exists():
            return
        for folder in os.scandir(self._objects):
            if folder.is_dir(follow_symlinks=False):
                yield from (name for name in os.listdir(folder.path) if _is_digest(name))  # noqa: PTH208

    def _digests(self, build: str) -> set[bytes] | None:
        """The objects that a build needs, None if its manifest is damaged. Not parsed: too much is no mistake here."""
        content = (self._builds / build).read_bytes()
        if hashlib.sha256(content).hexdigest() != build:
            return None
        return {bytes.fromhex(digest.decode()) for digest in _DIGEST.findall(content)}


def _is_digest(name: str) -> bool:
    return len(name) == _DIGEST_CHARS and all(char in "0123456789abcdef" for char in name)
