"""Puts a backup in a data directory's place: verified first, built aside, renamed in, the old one kept.

The restored store is another life of its node. Its incarnation is the time of the restore, greater than any that only
counted starts: no event of the lives to come has the identity of one from the lives between backup and restore.

Not in a backup, and therefore as new after a restore: dependency environments and the cache of stages (made again when
a version needs them). The token of the admin API is taken over from the directory that is replaced.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.errors import Conflict, Corrupt, DataDirBusy, StorageError
from henslowe.storage import codec, events, filesystem, keys
from henslowe.storage.archive import Archive
from henslowe.storage.backup import verify_folder
from henslowe.storage.backup_files import BackupManifest, opened
from henslowe.storage.clock import HybridClock
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import EventReader
from henslowe.storage.events import RINGS, EventDraft
from henslowe.storage.figures import ARCHIVE
from henslowe.storage.inspection import DATA_FILE
from henslowe.storage.lives import LIVES, LifeRow
from henslowe.storage.nodelock import LOCK_FILE, NodeLock
from henslowe.storage.partitions import Appender, Layout
from henslowe.storage.tablespec import Space

TOKEN: Final = "admin.token"  # noqa: S105 - the name of a file
_MAP_BYTES: Final = 64 << 30


@dataclass(frozen=True, slots=True)
class Restored:
    """What stands in the data directory now, and where the one before it was put (None for nothing)."""

    data_dir: Path
    manifest: BackupManifest
    incarnation: int
    kept: Path | None
    took_s: float


def restore_backup(path: Path, data_dir: Path, *, audit: str, force: bool = False) -> Restored:
    """Makes `data_dir` the store of the backup at `path`, whole or not at all.

    Args:
        path: A backup's folder or `.tar.zst`.
        data_dir: Absent or empty; with `force` also a store, which is moved to `<data_dir>.before-<time>`.
        audit: Knows what rows mean (`henslowe.storage.checks.Audit`).
        force: Replace a store.

    Raises:
        DataDirBusy: A node runs on `data_dir`.
        Conflict: Something is in `data_dir`, and not `force`.
        Corrupt: The backup is not sound; `details["findings"]` say what is wrong. Nothing was changed.
        NotFound, FormatTooNew, StorageError: It cannot be read, or the disk refuses.
    """
    begun_s = time.monotonic()
    data_dir = data_dir.absolute()
    aside = data_dir.with_name(f".{data_dir.name}.restored")
    with ExitStack() as held:
        if data_dir.exists():
            lock = _lock(data_dir)
            held.callback(lock.release)
            if not force and {each.name for each in data_dir.iterdir()} - {LOCK_FILE}:
                raise Conflict(
                    f"cannot restore to {data_dir}: it is not empty",
                    hint="--force keeps it beside the restored one; or name another directory with --data",
                )
        folder = held.enter_context(opened(path))
        manifest, report = verify_folder(folder, audit=audit)
        if not report.ok:
            first = report.findings[0]
            raise Corrupt(
                f"cannot restore {path}: {first.place}: {first.message}",
                hint="nothing was changed; use an older backup",
                findings=[finding.as_dict() for finding in report.findings],
            )
        held.callback(filesystem.remove_tree, aside)
        _build_aside(folder, aside, manifest)
        incarnation = _begin_life(aside, path.name, manifest)
        token = data_dir / TOKEN
        if token.exists():
            shutil.copy2(token, aside / TOKEN)
        kept = _swap(aside, data_dir)
    return Restored(data_dir, manifest, incarnation, kept, time.monotonic() - begun_s)


def _lock(data_dir: Path) -> NodeLock:
    try:
        return NodeLock.acquire(data_dir)
    except DataDirBusy as error:
        raise DataDirBusy(
            f"cannot restore to {data_dir}: a node is running on it, process {error.details.get('pid') or 'unknown'}",
            hint="henslowe stop ends it; or restore to another directory with --data",
            **error.details,
        ) from error


def _build_aside(folder: Path, aside: Path, manifest: BackupManifest) -> None:
    """The new directory, from the files that the backup says it has, and no others."""
    filesystem.remove_tree(aside)
    try:
        (aside / Space.CORE).mkdir(parents=True, mode=0o700)
        aside.chmod(0o700)
        _copy(folder / Space.CORE / DATA_FILE, aside / Space.CORE / DATA_FILE, 0o600)
        source, target = Archive(folder / ARCHIVE), Archive(aside / ARCHIVE)
        folders = {aside / Space.CORE, aside}
        for build_id in manifest.builds:
            for digest in {entry.digest for entry in source.build(build_id).files}:
                place = target.object_path(digest)
                if not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    _copy(source.object_path(digest), place, 0o444)
                    folders |= {place.parent, place.parent.parent}
            place = target.manifest_path(build_id)
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(source.manifest_path(build_id), place, 0o444)
            folders |= {place.parent, place.parent.parent}
        for each in folders:
            filesystem.sync_dir(each)
    except OSError as error:
        raise StorageError(f"cannot restore to {aside}: {error.strerror or error}") from error


def _copy(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)
    filesystem.sync_file(target)


def _begin_life(aside: Path, name: str, manifest: BackupManifest) -> int:
    """Says in the restored store what happened to it, as the first event of another life."""
    env = Environment.open(aside / Space.CORE, map_bytes=_MAP_BYTES)
    try:
        appender = Appender(env, Layout(env, RINGS), {})
        appender.load()
        packed, life = keys.pack(manifest.node), LifeRow(node=manifest.node, incarnation=manifest.incarnation, hlc=0)
        lives = env.db(f"t.{LIVES.name}")
        reader = EventReader(env, Layout(env, RINGS))
        with env.read() as txn:
            record = txn.get(packed, db=lives)
        if record is not None:
            schema, body = codec.unseal(packed, record)
            life = LIVES.decode(body, schema)
        newest = max((event.hlc for event in reader.read(newest_first=True, limit=1)), default=0)
        time_ns, hlc = HybridClock(max(newest, life.hlc)).tick()
        life = LifeRow(node=life.node, incarnation=max(life.incarnation + 1, int(time.time())), hlc=hlc)
        draft = EventDraft(
            "lifecycle",
            "STORAGE_RESTORED",
            "SUCCESS",
            data={"backup": name, "created_s": manifest.created_s, "last_seq": manifest.last_seq},
        )
        event = events.encode(draft, node=life.node, incarnation=life.incarnation, time_ns=time_ns, hlc=hlc)
        with env.write() as txn:
            appender.append(txn, [event])
            txn.put(packed, codec.seal(packed, LIVES.schema, LIVES.encode(life)), db=lives)
        return life.incarnation
    finally:
        env.close()


def _swap(aside: Path, data_dir: Path) -> Path | None:
    """Renames the new directory in; the old one beside it, if it held anything."""
    kept: Path | None = None
    try:
        if data_dir.exists():
            if {each.name for each in data_dir.iterdir()} - {LOCK_FILE}:
                kept = data_dir.with_name(f"{data_dir.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
                data_dir.rename(kept)
            else:
                (data_dir / LOCK_FILE).unlink(missing_ok=True)
                data_dir.rmdir()
        else:
            data_dir.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(data_dir)
        filesystem.sync_dir(data_dir.parent)
    except OSError as error:
        where = f"; the store that was there is {kept}" if kept else ""
        raise StorageError(f"cannot put {aside} in place of {data_dir}: {error.strerror}{where}") from error
    return kept
