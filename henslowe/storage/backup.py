"""A consistent copy of a store, made while its node writes: tables and events as of one commit, and their builds.

    made = back_up(data_dir, Path("/backups/monday"), builds=audit.builds)
    verify_backup(Path("/backups/monday"), audit="henslowe.actors.versions.audit")

Order makes it whole. The archive is copied first, then the tables, then what the archive got meanwhile: a build that
the tables name was there before them, and one that is younger than the first pass is too young to be collected.

Not here: the form of a backup (`backup_files`), and the way back (`restore`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe import __version__
from henslowe.errors import Corrupt, NotFound, StorageError
from henslowe.storage import filesystem
from henslowe.storage.archive import Archive
from henslowe.storage.backup_files import MANIFEST, BackupManifest, Sink, digest_of, opened, read_manifest, sink_of
from henslowe.storage.check_process import CheckPlan, Report, run_check
from henslowe.storage.checks import Builds
from henslowe.storage.env import Environment
from henslowe.storage.env_files import FORMAT
from henslowe.storage.figures import ARCHIVE
from henslowe.storage.findings import Finding, FindingKind
from henslowe.storage.inspection import DATA_FILE, DataDir
from henslowe.storage.lives import LIVES
from henslowe.storage.tablespec import Space

_AGAIN: Final = "make another backup, or use an older one"


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made: what it is, and how much of it is new."""

    path: Path
    manifest: BackupManifest
    objects: int
    size_bytes: int
    took_s: float


def back_up(
    data_dir: Path,
    path: Path,
    *,
    builds: Callable[[DataDir], Builds],
    source: Environment | None = None,
) -> Made:
    """A backup of `data_dir` at `path`, whole or not at all; an earlier backup there is replaced, and linked to.

    Args:
        data_dir: The data directory; its node may run.
        path: A folder, or a file that ends in `.tar.zst`.
        builds: Which builds the tables name.
        source: The core environment, for the process that has it open.

    Raises:
        NotFound: There is no store.
        StorageError: Something else stands at `path`, or it cannot be written.
        Corrupt: A build that versions need cannot be read.
    """
    begun_s = time.monotonic()
    if not (data_dir / Space.CORE / DATA_FILE).exists():
        raise NotFound(f"cannot find a store in {data_dir}", hint="--data DIR says where it is")
    try:
        sink = sink_of(path)
    except OSError as error:
        raise StorageError(f"cannot back up to {path}: {error.strerror or error}") from error
    try:
        copier = _ArchiveCopier(Archive(data_dir / ARCHIVE), sink)
        copier.copy()
        with filesystem.scratch(path.parent, f".{path.name}.core-") as copy:
            _copy_core(data_dir, copy / Space.CORE, source)
            core = sink.add(f"{Space.CORE}/{DATA_FILE}", copy / Space.CORE / DATA_FILE)
            copier.copy()
            with DataDir.open(copy) as found:
                _refuse_missing(builds(found), copier.copied)
                life = max(found.typed(LIVES), key=lambda row: row.hlc, default=None)
                manifest = BackupManifest(
                    henslowe=__version__,
                    storage_format=FORMAT,
                    node=life.node if life else "",
                    incarnation=life.incarnation if life else 0,
                    last_seq=found.events().last_seq(),
                    created_s=time.time(),
                    core=core,
                    builds=tuple(sorted(copier.copied)),
                )
        sink.add_bytes(MANIFEST, manifest.model_dump_json(indent=2).encode())
        sink.finish()
    except OSError as error:
        raise StorageError(f"cannot back up to {path}: {error.strerror or error}") from error
    finally:
        sink.abandon()
    return Made(path, manifest, copier.objects, copier.size_bytes + core.size_bytes, time.monotonic() - begun_s)


def verify_backup(path: Path, *, audit: str) -> tuple[BackupManifest, Report]:
    """What the backup at `path` is and what is wrong with it: every digest, and all that `verify` checks of a store.

    Raises:
        NotFound, Corrupt, FormatTooNew, StorageError: It cannot be read at all.
    """
    with opened(path) as folder:
        return verify_folder(folder, audit=audit)


def verify_folder(folder: Path, *, audit: str) -> tuple[BackupManifest, Report]:
    """As `verify_backup`, of a backup's folder."""
    manifest = read_manifest(folder)
    problems = list(_digests(folder, manifest))
    report = run_check(CheckPlan(data_dir=str(folder), archive=str(folder / ARCHIVE), audit=audit))
    whole = Report((*problems, *report.findings), report.unsaid, report.counts, report.size_bytes, report.took_s)
    # Reading left the file that readers announce themselves in; it is no part of the backup.
    (folder / Space.CORE / "lock.mdb").unlink(missing_ok=True)
    return manifest, whole


def _digests(folder: Path, manifest: BackupManifest) -> Iterator[Finding]:
    core = folder / Space.CORE / DATA_FILE
    if not core.exists():
        raise Corrupt(f"cannot read the backup {folder}: {Space.CORE}/{DATA_FILE} is missing", hint=_AGAIN)
    if digest_of(core) != manifest.core:
        yield Finding(FindingKind.STRUCTURE, f"{Space.CORE}/{DATA_FILE}", "the file has another digest", _AGAIN)
    archive = Archive(folder / ARCHIVE)
    present = set(archive.builds())
    for build in manifest.builds:
        if build not in present:
            yield Finding(FindingKind.BUILD, f"archive/builds/{build}", "the build is missing", _AGAIN)


def _copy_core(data_dir: Path, copy: Path, source: Environment | None) -> None:
    if source is not None:
        source.copy(copy)
        return
    env = Environment.open_readonly(data_dir / Space.CORE)
    try:
        env.copy(copy)
    finally:
        env.close()


def _refuse_missing(wanted: Builds, copied: set[str]) -> None:
    for build, versions in wanted.items():
        if build not in copied:
            raise Corrupt(
                f"cannot back up build {build:.12} of {', '.join(versions)}: the archive does not have it",
                hint="henslowe storage verify says what else is missing",
            )


class _ArchiveCopier:
    """Copies builds that it has not copied yet; what is collected meanwhile is left out whole."""

    def __init__(self, archive: Archive, sink: Sink) -> None:
        self._archive = archive
        self._sink = sink
        self.copied: set[str] = set()
        self._digests: set[str] = set()
        self.objects = 0
        self.size_bytes = 0

    def copy(self) -> None:
        """One pass over the builds that there are now."""
        for build_id in self._archive.builds():
            if build_id in self.copied:
                continue
            try:
                build = self._archive.build(build_id)
                for entry in build.files:
                    self._copy_object(entry.digest)
                self._sink.add_bytes(f"{ARCHIVE}/builds/{build_id}", self._archive.manifest(build_id))
            except (NotFound, FileNotFoundError):
                continue  # collected; if tables name it, that is refused in the end
            self.copied.add(build_id)

    def _copy_object(self, digest: str) -> None:
        if digest in self._digests:
            return
        name, path = f"{ARCHIVE}/objects/{digest[:2]}/{digest}", self._archive.object_path(digest)
        # The large ones have files of their own, and are not read into memory.
        facts = self._sink.add(name, path) if path.exists() else self._sink.add_bytes(name, self._archive.frame(digest))
        self._digests.add(digest)
        # Linked to the backup before, it has no digest of its own and takes no room.
        if facts.sha256:
            self.objects += 1
            self.size_bytes += facts.size_bytes
