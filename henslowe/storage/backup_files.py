"""A backup as files: what is in it, and how it is written and read, as a folder or as one `.tar.zst`.

    manifest.json                what it is: written last, so that half a backup is none
    core/data.mdb                tables and events, as of one commit
    archive/builds/<id>          every build that the archive had
    archive/objects/<2>/<id>     and their files

Neither the key of secrets nor the token of the admin API is in it: whoever finds a backup cannot act as the node.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import zstandard
from pydantic import BaseModel, ConfigDict, ValidationError

from henslowe.errors import Corrupt, FormatTooNew, NotFound, StorageError
from henslowe.storage import filesystem

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
TAR_SUFFIX: Final = ".tar.zst"
ALLOWED: Final = re.compile(
    r"(manifest\.json|core/data\.mdb|archive/builds/[0-9a-f]{64}|archive/objects/[0-9a-f]{2}/[0-9a-f]{64})"
)
"""The only names that are taken out of a backup."""
_MANIFEST_BYTES_MAX: Final = 256 << 20
_CHUNK_BYTES: Final = 1 << 20
_ZSTD_LEVEL: Final = 3


class FileFacts(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size_bytes: int


class BackupManifest(BaseModel):
    """What a backup is. Additive: keys that this version does not know are left alone."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    henslowe: str
    """Version that made it."""
    storage_format: int
    node: str
    incarnation: int
    """The node's life at the backup's moment."""
    last_seq: int
    """The newest event in it."""
    created_s: float
    core: FileFacts
    builds: tuple[str, ...]
    """Builds in it, whose manifests name the objects."""


class Sink(ABC):
    """Where a backup is written to: aside, and in its place once `finish` is called."""

    @abstractmethod
    def add(self, name: str, source: Path) -> FileFacts:
        """Copies a file; its digest and size as they were copied."""

    @abstractmethod
    def add_bytes(self, name: str, content: bytes) -> FileFacts:
        """Writes a small file; as `add`."""

    @abstractmethod
    def finish(self) -> None:
        """Makes it durable and puts it in its place."""

    @abstractmethod
    def abandon(self) -> None:
        """Removes what was written; after `finish` it does nothing."""


class FolderSink(Sink):
    """A backup as a folder. What the one before has too is linked, not copied: objects never change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = filesystem.own_name(path.parent, f".{path.name}.new-")
        self._old = path.with_name(f".{path.name}.old")
        if self._old.exists() and not path.exists():
            self._old.rename(path)  # ended between the two renames of `finish`
        self._before = path if path.exists() else None
        self._folders: set[Path] = set()
        self._aside.mkdir(mode=0o700)

    def add(self, name: str, source: Path) -> FileFacts:
        """As `Sink.add`; what is linked has no digest."""
        target = self._place(name)
        if self._linked(name, target, source.stat().st_size):
            return FileFacts(sha256="", size_bytes=target.stat().st_size)
        with source.open("rb") as file, target.open("xb") as copy:
            facts = _copied(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        target.chmod(0o600)
        return facts

    def add_bytes(self, name: str, content: bytes) -> FileFacts:
        """As `Sink.add_bytes`; what is linked has no digest."""
        target = self._place(name)
        if self._linked(name, target, len(content)):
            return FileFacts(sha256="", size_bytes=len(content))
        filesystem.write_durably(target, content, mode=0o600)
        return _facts(content)

    def finish(self) -> None:
        """As `Sink.finish`, by renaming."""
        for folder in sorted(self._folders, reverse=True):
            filesystem.sync_dir(folder)
        filesystem.sync_dir(self._aside)
        filesystem.remove_tree(self._old)
        if self._before is not None:
            self._path.rename(self._old)
        self._aside.rename(self._path)
        filesystem.sync_dir(self._path.parent)
        filesystem.remove_tree(self._old)

    def abandon(self) -> None:
        """As `Sink.abandon`."""
        filesystem.remove_tree(self._aside)

    def _linked(self, name: str, target: Path, size_bytes: int) -> bool:
        """Links what is archived, which never changes, to the backup before, if it is there and was not cut off."""
        before = None if self._before is None or not name.startswith("archive/") else self._before / name
        if before is None or not before.exists() or before.stat().st_size != size_bytes:
            return False
        os.link(before, target)
        return True

    def _place(self, name: str) -> Path:
        target = self._aside / name
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folders.update(folder for folder in target.parents if folder.is_relative_to(self._aside))
        return target


class TarSink(Sink):
    """A backup as one compressed file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = filesystem.own_name(path.parent, f".{path.name}.new-")
        self._file = os.fdopen(os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        self._pressed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).stream_writer(
            self._file, closefd=False
        )
        self._tar = tarfile.open(fileobj=self._pressed, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, source: Path) -> FileFacts:
        """As `Sink.add`."""
        with source.open("rb") as file:
            facts = FileFacts(sha256=_digest(file), size_bytes=file.tell())
            file.seek(0)
            self._tar.addfile(_member(name, facts.size_bytes), file)
        return facts

    def add_bytes(self, name: str, content: bytes) -> FileFacts:
        """As `Sink.add_bytes`."""
        self._tar.addfile(_member(name, len(content)), io.BytesIO(content))
        return _facts(content)

    def finish(self) -> None:
        """As `Sink.finish`, by renaming."""
        self._tar.close()
        self._pressed.close()  # type: ignore[no-untyped-call]
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._aside.replace(self._path)
        filesystem.sync_dir(self._path.parent)

    def abandon(self) -> None:
        """As `Sink.abandon`."""
        self._file.close()
        self._aside.unlink(missing_ok=True)


def sink_of(path: Path) -> Sink:
    """Where a backup to `path` is written: a `.tar.zst` by that name, else a folder.

    Raises:
        StorageError: Something that is no backup stands there, or its parent is not there.
    """
    if not path.parent.is_dir():
        raise StorageError(
            f"cannot back up to {path}: there is no folder {path.parent}", hint=f"mkdir -p {path.parent}"
        )
    if path.name.endswith(TAR_SUFFIX):
        if path.exists() and not path.is_file():
            raise StorageError(f"cannot back up to {path}: expected a file, got something else")
        return TarSink(path)
    if path.exists() and not (path / MANIFEST).exists() and (not path.is_dir() or any(path.iterdir())):
        raise StorageError(
            f"cannot back up to {path}: something other than a backup stands there",
            hint="name a path that does not exist, or an earlier backup to be replaced",
        )
    return FolderSink(path)


def read_manifest(folder: Path) -> BackupManifest:
    """What the backup in `folder` is.

    Raises:
        NotFound: There is none.
        Corrupt: Its manifest cannot be read.
        FormatTooNew: A newer Henslowe made it.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"cannot find a backup in {folder}: it has no {MANIFEST}", hint="henslowe storage backup PATH"
        ) from error
    try:
        manifest = BackupManifest.model_validate_json(content)
    except ValidationError as error:
        raise Corrupt(f"cannot read {folder / MANIFEST}: {error}") from error
    if manifest.format > FORMAT:
        raise FormatTooNew(
            f"cannot read the backup {folder}: expected format {FORMAT} or older, got {manifest.format}",
            hint="use the newer Henslowe that made it",
        )
    return manifest


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The backup at `path` as a folder: that one itself, or a `.tar.zst` unpacked beside it for as long.

    Raises:
        NotFound: Nothing is there.
        Corrupt: It cannot be unpacked, or holds other names than a backup has.
        StorageError: No room.
    """
    if not path.exists():
        raise NotFound(f"cannot find a backup at {path}: there is nothing")
    if path.is_dir():
        yield path
        return
    with filesystem.scratch(path.parent, f".{path.name}.unpacked-") as folder:
        _unpack(path, folder)
        yield folder


def digest_of(path: Path) -> FileFacts:
    """Digest and size of a file."""
    with path.open("rb") as file:
        return FileFacts(sha256=_digest(file), size_bytes=file.tell())


def _unpack(path: Path, folder: Path) -> None:
    """Takes out plain files with a backup's names, and nothing else: no link, no path that leads elsewhere."""
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                for member in tar:
                    if not member.isreg() or not ALLOWED.fullmatch(member.name):
                        raise Corrupt(f"cannot unpack {path}: it holds {member.name!r:.80}, which no backup has")
                    source = tar.extractfile(member)
                    assert source is not None, "a regular member has content"
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                        shutil.copyfileobj(source, copy, _CHUNK_BYTES)
            # The frame's checksum is behind the end of the archive.
            while plain.read(_CHUNK_BYTES):
                pass
    except (zstandard.ZstdError, tarfile.TarError, EOFError, FileExistsError) as error:
        raise Corrupt(f"cannot unpack {path}: {error or 'it ends too early'}") from error
    except OSError as error:
        raise StorageError(f"cannot unpack {path}: {error.strerror or error}") from error


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o600
    return member


def _copied(source: BinaryIO, target: BinaryIO) -> FileFacts:
    found, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        found.update(chunk)
        target.write(chunk)
        size_bytes += len(chunk)
    return FileFacts(sha256=found.hexdigest(), size_bytes=size_bytes)


def _facts(content: bytes) -> FileFacts:
    return FileFacts(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def _digest(file: BinaryIO) -> str:
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()
