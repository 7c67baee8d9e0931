"""Collecting what no version needs any more from an archive: builds first, then objects of no build.

With 10,000 builds, reading all manifests for each collection would take seconds. So how many builds need each object is
read once and kept; after that a collection costs what is new and what goes. Objects that never got a build (their node
ended before) are looked for at the first collection and then once an hour. The pack of a build goes with it: what other
builds need of that gets files of its own first.

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

from henslowe.storage.manifest import DIGEST_CHARS
from henslowe.storage.packs import Packs, Place, read_manifest

SWEEP_S: Final = 3_600.0
_DIGEST: Final = re.compile(rb'"([0-9a-f]{64})"')


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
        packs: Objects that are behind manifests.
        unpack: Gives packed objects files of their own, durably.
        forget: Told of each object that was removed.
    """

    def __init__(
        self,
        builds: Path,
        objects: Path,
        *,
        lock: AbstractContextManager[object],
        packs: Packs,
        unpack: Callable[[dict[str, Place]], None],
        forget: Callable[[str], None],
    ) -> None:
        self._builds = builds
        self._objects = objects
        self._lock = lock
        self._packs = packs
        self._unpack = unpack
        self._forget = forget
        self._collecting = threading.Lock()
        self._needed: Counter[bytes] = Counter()
        """How many builds need each object, by its digest in bytes: half of the memory that text would take."""
        self._read: set[str] = set()
        """Builds that are counted."""
        self._loose: set[str] = set()
        """Objects of no build, in files of their own, that were too young to be removed."""
        self._swept_s = float("-inf")

    def collect(self, *, pins: Collection[str], grace_s: float, now_s: float) -> Collected:
        """Removes builds that are not in `pins`, then objects of no build; spares what was stored within `grace_s`."""
        oldest_kept_s = now_s - grace_s
        with self._collecting:
            # Most is read before others have to wait.
            self._catch_up()
            with self._lock:
                damaged = self._catch_up()
                old = self._old(pins, oldest_kept_s)
                released = [self._release(build) for build in old]
                known = all(released)
                # Of what damaged builds need or needed nothing is known: no object goes with its pack.
                gone = [self._remove_build(build, keep_all=not known or bool(damaged)) for build in old]
                if not known:
                    self._forget_counts()
                    self._catch_up()
                damaged &= self._names()
                objects, freed = (0, 0) if damaged else self._remove_objects(oldest_kept_s)
        objects += sum(packed for packed, _ in gone)
        return Collected(len(gone), objects, freed + sum(size_bytes for _, size_bytes in gone), tuple(sorted(damaged)))

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

    def _old(self, pins: Collection[str], oldest_kept_s: float) -> list[str]:
        return [name for name in self._names() - set(pins) if (self._builds / name).stat().st_mtime <= oldest_kept_s]

    def _release(self, build: str) -> bool:
        """Counts a build that goes no more; False if it was damaged since it was counted."""
        if build not in self._read:
            return True
        digests = self._digests(build)
        self._read.discard(build)
        for digest in digests or ():
            self._needed[digest] -= 1
            if not self._needed[digest]:
                del self._needed[digest]
                self._loose.add(digest.hex())
        return digests is not None

    def _remove_build(self, build: str, *, keep_all: bool) -> tuple[int, int]:
        """Removes a build and what only it needed of its pack; how many objects and bytes that were."""
        path, packed = self._builds / build, self._packs.of(build)
        kept = {name: place for name, place in packed.items() if keep_all or bytes.fromhex(name) in self._needed}
        if kept:
            self._unpack(kept)
        size_bytes = path.stat().st_size
        path.unlink()
        self._packs.forget(build, packed)
        gone = packed.keys() - kept.keys()
        for name in gone:
            self._forget(name)
        return len(gone), size_bytes

    def _forget_counts(self) -> None:
        self._needed.clear()
        self._read.clear()
        self._swept_s = float("-inf")

    def _remove_objects(self, oldest_kept_s: float) -> tuple[int, int]:
        now_s = time.monotonic()
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._loose.update(name for name in loose_objects(self._objects) if bytes.fromhex(name) not in self._needed)
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
            return {name for name in os.listdir(self._builds) if len(name) == DIGEST_CHARS}  # noqa: PTH208
        except FileNotFoundError:
            return set()

    def _digests(self, build: str) -> set[bytes] | None:
        """The objects that a build needs, None if its manifest is damaged. Not parsed: too much is no mistake here."""
        content = read_manifest(self._builds / build)
        if hashlib.sha256(content).hexdigest() != build:
            return None
        return {bytes.fromhex(digest.decode()) for digest in _DIGEST.findall(content)}


def loose_objects(folder: Path) -> Iterator[str]:
    """Digests of the objects that have files of their own."""
    if not folder.exists():
        return
    for each in os.scandir(folder):
        if each.is_dir(follow_symlinks=False):
            yield from (name for name in os.listdir(each.path) if _is_digest(name))  # noqa: PTH208


def _is_digest(name: str) -> bool:
    return len(name) == DIGEST_CHARS and all(char in "0123456789abcdef" for char in name)
