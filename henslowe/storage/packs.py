r"""The small files of a build, behind its manifest: one file to write, to flush and to name for a whole version.

A build's file is its manifest, one line of JSON, and, if files came with it that no build before had, a pack:

    manifest \n  frame frame ...  (digest u256, offset u64, size u32) ...  count u32, crc32 u32, "HPK1"

A frame is a compressed file. Its digest is checked when it is read, so the index is trusted only for where to look.
What is larger than `PACKED_BYTES_MAX`, or is still needed when its pack goes, has a file of its own (`archive`).
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.storage.manifest import DIGEST_CHARS

PACKED_BYTES_MAX: Final = 1 << 20
"""Of one compressed file; larger ones are not worth moving when their pack goes."""
PACK_BYTES_MAX: Final = 32 << 20
"""Of all of a pack: it is built in memory."""

_END: Final = b"\n"
_PLACE: Final = struct.Struct("<32sQI")
_TAIL: Final = struct.Struct("<II4s")
_MAGIC: Final = b"HPK1"
_LINE_BYTES: Final = 1 << 16
_GUESS_BYTES: Final = 4_096
"""Read from the end at first: the index of some hundred files, as most versions bring."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packed file is."""

    build: str
    offset: int
    size_bytes: int


class Pack:
    """The files that a build brings, compressed, by their digests. Not thread-safe."""

    def __init__(self) -> None:
        self.frames: dict[str, bytes] = {}
        self._size_bytes = 0

    def take(self, digest: str, frame: bytes) -> bool:
        """Puts a file in; False if it, or the pack with it, would be too large."""
        if digest in self.frames:
            return True
        if len(frame) > PACKED_BYTES_MAX or self._size_bytes + len(frame) > PACK_BYTES_MAX:
            return False
        self.frames[digest] = frame
        self._size_bytes += len(frame)
        return True

    def behind(self, manifest: bytes) -> bytes:
        """The content of the build's file."""
        if not self.frames:
            return manifest
        offset, index = len(manifest) + len(_END), bytearray()
        for digest, frame in self.frames.items():
            index += _PLACE.pack(bytes.fromhex(digest), offset, len(frame))
            offset += len(frame)
        tail = _TAIL.pack(len(self.frames), zlib.crc32(index), _MAGIC)
        return b"".join((manifest, _END, *self.frames.values(), index, tail))


class Packs:
    """Which pack of an archive has which file. Thread-safe.

    Read from disk when it is first asked, 20 us a build; from then on whoever stores and removes tells it.
    """

    def __init__(self, builds: Path) -> None:
        self._builds = builds
        self._places: dict[bytes, tuple[str, int, int]] | None = None
        self._read: set[str] = set()
        self._lock = threading.Lock()

    def find(self, digest: str) -> Place | None:
        """Where the file with this digest is."""
        found = self._loaded().get(bytes.fromhex(digest))
        return None if found is None else Place(*found)

    def frame(self, place: Place) -> bytes:
        """The compressed file at a place; short if the pack is cut off.

        Raises:
            OSError: FileNotFoundError if the build was removed.
        """
        with (self._builds / place.build).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), place.size_bytes, place.offset)

    def digests(self) -> Iterator[str]:
        """Digests of all packed files."""
        with self._lock:
            known = list(self._loading())
        return (digest.hex() for digest in known)

    def of(self, build: str) -> dict[str, Place]:
        """What is in the pack of a build, as its file says; nothing if that is damaged or gone."""
        return {digest.hex(): Place(build, *where) for digest, *where in _index(self._builds / build)}

    def add(self, build: str) -> None:
        """Looks into a build that was stored just now."""
        with self._lock:
            if self._places is not None:
                self._look(build, self._places)

    def forget(self, build: str, digests: Iterable[str]) -> None:
        """Takes a build, which had these files, for removed."""
        with self._lock:
            self._read.discard(build)
            for digest in map(bytes.fromhex, digests):
                if self._places is not None and self._places.get(digest, ("",))[0] == build:
                    del self._places[digest]

    def refresh(self) -> None:
        """Looks for builds that another process stored."""
        with self._lock:
            if self._places is not None:
                self._look_for_new(self._places)

    def _loaded(self) -> dict[bytes, tuple[str, int, int]]:
        places = self._places
        if places is None:
            with self._lock:
                places = self._loading()
        return places

    def _loading(self) -> dict[bytes, tuple[str, int, int]]:
        if self._places is None:
            places: dict[bytes, tuple[str, int, int]] = {}
            self._look_for_new(places)
            self._places = places
        return self._places

    def _look_for_new(self, places: dict[bytes, tuple[str, int, int]]) -> None:
        try:
            names = os.listdir(self._builds)  # noqa: PTH208 - there may be very many
        except FileNotFoundError:
            return
        for name in names:
            if len(name) == DIGEST_CHARS and name not in self._read:
                self._look(name, places)

    def _look(self, build: str, places: dict[bytes, tuple[str, int, int]]) -> None:
        self._read.add(build)
        for digest, offset, size_bytes in _index(self._builds / build):
            places[digest] = build, offset, size_bytes


def read_manifest(path: Path) -> bytes:
    """The manifest of the build whose file this is, without reading what came with it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb", buffering=_LINE_BYTES) as file:
        return file.readline().rstrip(_END)


def _index(path: Path) -> Iterator[tuple[bytes, int, int]]:
    try:
        with path.open("rb", buffering=0) as file:
            yield from _PLACE.iter_unpack(_index_bytes(file.fileno()))
    except FileNotFoundError:
        return


def _index_bytes(descriptor: int) -> bytes:
    """The index at the end of a build's file; empty if there is none, or none that can be read."""
    size_bytes = os.fstat(descriptor).st_size
    start = max(0, size_bytes - _GUESS_BYTES)
    end = os.pread(descriptor, size_bytes - start, start)
    if len(end) < _TAIL.size or not end.endswith(_MAGIC):
        return b""
    count, crc, _ = _TAIL.unpack_from(end, len(end) - _TAIL.size)
    wanted = count * _PLACE.size
    if wanted > size_bytes - _TAIL.size:
        return b""
    if wanted > len(end) - _TAIL.size:
        index = os.pread(descriptor, wanted, size_bytes - _TAIL.size - wanted)
    else:
        index = end[len(end) - _TAIL.size - wanted : len(end) - _TAIL.size]
    return index if zlib.crc32(index) == crc else b""
