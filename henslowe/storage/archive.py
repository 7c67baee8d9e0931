"""The archive: builds by content, each file stored once, materialised read-only.

    build = archive.put(workspace / "hello", ignore)
    archive.materialise(build.build_id, releases / build.build_id)

An object is a whole file under its SHA-256, compressed with zstd; chunking would make more and tinier files for source
trees. What is read is hashed again, so a damaged object is `Corrupt` and never a wrong file. Small objects are behind
the manifest of the build that brought them (`packs`), large ones are files; a file of its own is preferred where there
are both, so that what was healed is what is read. A build exists once its manifest does: files of objects come first,
and all of it is synced before `put` returns.

All methods block: they read and hash files. Which version uses which build,
and which builds must stay, is the version machine's knowledge: it passes `pins` to `gc`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Final, TypeAlias

import zstandard

from henslowe.errors import Conflict, Corrupt, NotFound, StorageError
from henslowe.storage import filesystem, manifest
from henslowe.storage.collection import Collected, Collector, loose_objects
from henslowe.storage.fresh import FreshFiles
from henslowe.storage.laid_out import is_tree_of, write_tree
from henslowe.storage.manifest import DIGEST_CHARS, Build, Entry, EntryKind
from henslowe.storage.packs import Pack, Packs, Place, read_manifest
from henslowe.storage.tree import FILE_BYTES_MAX, Ignore, entry_of, read_settled, walk

GC_GRACE_S: Final = 3_600.0
_ZSTD_LEVEL: Final = 3
_STAT_CACHE_MAX: Final = 200_000
_RACY_NS: Final = 2_000_000_000
"""A file changed this recently may change again without another time stamp: it is not cached. For FAT's stamps."""
_RACY_FINE_NS: Final = 100_000_000
"""The same for stamps of the kernel's clock, which goes on every 1 to 10 ms."""

_Stamp: TypeAlias = tuple[int, int, int, int]
"""What changes with a file: inode, size, and the times of its content and of itself (its mode included)."""


class Archive:
    """Content-addressed builds under one folder. Thread-safe within a process; one process per archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects = root / "objects"
        self._builds = root / "builds"
        self._seen: dict[str, tuple[_Stamp, Entry]] = {}
        """Files by their whole path, as they were when they were read."""
        self._lasting: set[str] = set()
        """Objects that this process knows to be on disk, name and all; only `gc` removes any."""
        self._flushed_folders: set[Path] = set()
        """Folders of objects whose names this process has flushed, or is about to."""
        # Storing must not reuse an object that a collection is about to remove.
        self._lock = threading.Lock()
        self._packs = Packs(self._builds)
        self._collector = Collector(
            self._builds,
            self._objects,
            lock=self._lock,
            packs=self._packs,
            unpack=self._unpack,
            forget=self._lasting.discard,
        )

    # -- storing ----------------

    def put(self, tree: Path, ignore: Ignore = lambda _: False) -> Build:
        """Stores the content of `tree`, durable on return; the same content gives the same build and writes nothing.

        Raises:
            NotFound: `tree` is no folder.
            StorageError: Something that is no file, folder or link, or a link that leaves the tree.
            LimitReached: A file of more than 256 MiB, or more than 100,000 paths.
            Conflict: A file kept changing while it was read.
            StorageError: A file cannot be read, or the disk refused; no build is stored then.
        """
        if not tree.is_dir():
            raise NotFound(f"cannot archive {tree}: it is no folder")
        try:
            with self._lock:
                return self._put(tree, ignore)
        except OSError as error:
            raise StorageError(
                f"cannot archive {tree}: {error.strerror or error}", hint="look at the disk of the archive"
            ) from error

    # -- reading ----------------

    def builds(self) -> list[str]:
        """Ids of all builds, sorted."""
        return (
            sorted(path.name for path in self._builds.iterdir() if len(path.name) == DIGEST_CHARS)
            if self._builds.exists()
            else []
        )

    def build(self, build_id: str) -> Build:
        """The manifest of a build.

        Raises:
            NotFound: It is not in the archive.
            Corrupt: Its manifest is damaged.
        """
        return manifest.load(build_id, self.manifest(build_id))

    def manifest(self, build_id: str) -> bytes:
        """The manifest of a build as it is stored, not checked.

        Raises:
            NotFound: It is not in the archive.
        """
        try:
            return read_manifest(self._builds / build_id)
        except (FileNotFoundError, ValueError) as error:
            raise NotFound(f"cannot find build {build_id:.12} in the archive") from error

    def read(self, entry: Entry) -> bytes:
        """The content of a build's file.

        Raises:
            Corrupt: The object is missing or damaged.
        """
        try:
            frame = self.frame(entry.digest)
            content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=entry.size_bytes)
        except FileNotFoundError as error:
            raise Corrupt(f"cannot read {entry.path}: object {entry.digest:.12} is missing") from error
        except zstandard.ZstdError as error:
            raise Corrupt(f"cannot read {entry.path}: object {entry.digest:.12} is damaged") from error
        if hashlib.sha256(content).hexdigest() != entry.digest:
            raise Corrupt(f"cannot read {entry.path}: object {entry.digest:.12} has another digest")
        return content

    def frame(self, digest: str) -> bytes:
        """An object as it is stored: compressed, and not checked.

        Raises:
            FileNotFoundError: It is not in the archive.
        """
        path = self._object(digest)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            place = self._packed(digest)
        if place is not None:
            # Gone when its build was collected; what others need of that got files of their own first.
            with suppress(FileNotFoundError):
                return self._packs.frame(place)
        return path.read_bytes()

    def objects(self) -> list[str]:
        """Digests of all objects, sorted."""
        self._packs.refresh()
        return sorted({*self._packs.digests(), *loose_objects(self._objects)})

    def manifest_path(self, build_id: str) -> Path:
        """Where the manifest of a build is, if it is there."""
        return self._builds / build_id

    def object_path(self, digest: str) -> Path:
        """Where the object with this content is, if it has a file of its own."""
        return self._object(digest)

    def has_object(self, digest: str) -> bool:
        """Whether a file with this content is stored."""
        return self._object(digest).exists() or self._packed(digest) is not None

    def check_object(self, digest: str) -> tuple[str, int]:
        """What is wrong with an object ("" for nothing), and the bytes it has on disk. Reads it in small pieces."""
        path, found = self._object(digest), hashlib.sha256()
        try:
            with path.open("rb") if path.exists() else BytesIO(self.frame(digest)) as stored:
                for piece in zstandard.ZstdDecompressor().read_to_iter(stored):
                    found.update(piece)
                size_bytes = stored.tell()
        except FileNotFoundError:
            return "", 0  # collected since it was listed
        except (zstandard.ZstdError, OSError) as error:
            return f"the object cannot be read: {error}", 0
        return ("" if found.hexdigest() == digest else "the object has another digest"), size_bytes

    def put_object(self, digest: str, source: Path) -> bool:
        """Stores the file `source` as the object `digest`, also over a damaged one; False if it has another digest.

        Raises:
            OSError: The file cannot be read.
        """
        if source.stat().st_size > FILE_BYTES_MAX:
            return False
        content = source.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            return False
        with self._lock, self._fresh() as fresh:
            self._write_object(digest, _compressed(content), fresh)
            fresh.settle()
        return True

    def verify(self, build_id: str) -> Build:
        """Reads everything of a build; returns it only if all digests are right.

        Raises:
            NotFound, Corrupt: As `build` and `read`.
        """
        build = self.build(build_id)
        for entry in build.files:
            self.read(entry)
        return build

    def materialise(self, build_id: str, dest: Path) -> Path:
        """Makes `dest` the read-only tree of a build, whole or not at all; nothing to do if it is that already.

        Files have mode 0444 (0555 if executable), folders 0555: remove it with `filesystem.remove_tree`.

        Raises:
            NotFound, Corrupt: As `build` and `read`.
            Conflict: Something else stands at `dest`.
        """
        build = self.build(build_id)
        if os.path.lexists(dest):
            if not is_tree_of(dest, build):
                raise Conflict(f"cannot materialise build {build_id:.12}: {dest} is something else", path=str(dest))
            return dest
        dest.parent.mkdir(parents=True, exist_ok=True)
        aside = dest.with_name(f".{dest.name}.{threading.get_ident()}.tmp")
        filesystem.remove_tree(aside)
        try:
            write_tree(build, aside, self.read)
            aside.rename(dest)
        except OSError as error:
            if is_tree_of(dest, build):
                return dest
            raise StorageError(f"cannot materialise build {build_id:.12} at {dest}: {error.strerror}") from error
        finally:
            filesystem.remove_tree(aside)
        filesystem.sync_dir(dest.parent)
        return dest

    # -- removing ----------------

    def gc(self, *, pins: Collection[str], grace_s: float = GC_GRACE_S, now_s: float | None = None) -> Collected:
        """Removes builds that are not in `pins`, then objects of no build; spares what was stored within `grace_s`."""
        return self._collector.collect(pins=pins, grace_s=grace_s, now_s=time.time() if now_s is None else now_s)

    # -- inside ----------------

    def _put(self, tree: Path, ignore: Ignore) -> Build:
        pack = Pack()
        with self._fresh() as fresh:
            entries = [
                self._known(path, child) or self._store(path, child, pack, fresh)
                if child.is_file(follow_symlinks=False)
                else entry_of(tree, path, child)
                for path, child in walk(tree, ignore)
            ]
            build, content = manifest.build_of(entries)
            path = self._builds / build.build_id
            known = path.exists()
            if known:
                # It is as it was, less what it lost.
                for digest, frame in pack.frames.items():
                    self._write_object(digest, frame, fresh)
            else:
                filesystem.make_folder(self._builds)
                fresh.write_last(path, pack.behind(content))
            fresh.settle()
        self._lasting.update(entry.digest for entry in build.files)
        if known:
            # Now is when it was last wanted, for the grace of a collection.
            os.utime(path)
        elif pack.frames:
            self._packs.add(build.build_id)
        return build

    def _known(self, path: str, child: os.DirEntry[str]) -> Entry | None:
        """The entry of a file that is stored and was not changed since; most files of most versions are."""
        seen = self._seen.get(child.path)
        if seen is None or seen[1].path != path or seen[1].digest not in self._lasting:
            return None
        status = child.stat(follow_symlinks=False)
        return seen[1] if seen[0] == _stamp(status) else None

    def _store(self, path: str, child: os.DirEntry[str], pack: Pack, fresh: FreshFiles) -> Entry:
        content, status = read_settled(Path(child.path), path)
        digest = hashlib.sha256(content).hexdigest()
        target = self._object(digest)
        if target.exists():
            if digest not in self._lasting:
                # Who stored it may have ended before its name was on disk; so below.
                fresh.touch(target.parent, self._objects)
        elif self._packs.find(digest) is not None:
            if digest not in self._lasting:
                fresh.touch(self._builds)
        else:
            frame = _compressed(content)
            if not pack.take(digest, frame):
                self._write_object(digest, frame, fresh)
        entry = Entry(path, EntryKind.FILE, digest, status.st_size, executable=bool(status.st_mode & stat.S_IXUSR))
        self._remember(child.path, status, entry)
        return entry

    def _write_object(self, digest: str, frame: bytes, fresh: FreshFiles) -> None:
        target = self._object(digest)
        fresh.write(target, frame, *self._new_folder(target.parent))

    def _packed(self, digest: str) -> Place | None:
        place = self._packs.find(digest)
        if place is None:
            self._packs.refresh()
            place = self._packs.find(digest)
        return place

    def _unpack(self, places: Mapping[str, Place]) -> None:
        """Gives packed objects files of their own, before their pack goes; only the collector calls it."""
        with self._fresh() as fresh:
            for digest, place in places.items():
                if not self._object(digest).exists():
                    self._write_object(digest, self._packs.frame(place), fresh)
            fresh.settle()

    @contextmanager
    def _fresh(self) -> Iterator[FreshFiles]:
        """Files to be stored together; a failure leaves nothing of them, and nothing believed of folders."""
        fresh = FreshFiles()
        try:
            yield fresh
        except BaseException:
            self._flushed_folders.clear()
            raise
        finally:
            fresh.discard()

    def _new_folder(self, folder: Path) -> tuple[Path, ...]:
        """Makes a folder of objects; the folder above it if that has to be flushed now.

        One that is there was flushed by whoever made it, unless that one died: this process looks at each once.
        """
        if folder in self._flushed_folders:
            return ()
        filesystem.make_folder(self._objects)
        folder.mkdir(exist_ok=True)
        self._flushed_folders.add(folder)
        return (self._objects,)

    def _remember(self, path: str, status: os.stat_result, entry: Entry) -> None:
        # A stamp below the millisecond tells a fine clock.
        racy_ns = _RACY_FINE_NS if status.st_ctime_ns % 1_000_000 else _RACY_NS
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < racy_ns:
            return
        if len(self._seen) >= _STAT_CACHE_MAX:
            self._seen.clear()
            self._lasting.clear()
        self._seen[path] = _stamp(status), entry

    def _object(self, digest: str) -> Path:
        return self._objects / digest[:2] / digest


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _compressed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(content)
