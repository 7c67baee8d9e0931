"""What a data directory holds, in figures: what `henslowe storage info` shows. Read-only, beside a running node.

The running node's own figures, which cost less, are `henslowe.storage.StoreInfo`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.storage import filesystem
from henslowe.storage.collection import loose_objects
from henslowe.storage.env_files import FORMAT_KEY, META
from henslowe.storage.eventlog import CURSORS, EventReader
from henslowe.storage.events import RINGS, STREAMS, Event
from henslowe.storage.inspection import TABLE, DataDir, SubDb
from henslowe.storage.manifest import DIGEST_CHARS
from henslowe.storage.migrations.progress import MIGRATIONS
from henslowe.storage.nodelock import Holder, holder
from henslowe.storage.packs import Packs
from henslowe.storage.partitions import Layout

ARCHIVE: Final = "archive"
RUNNING: Final = "running"
BALLAST: Final = "ballast"


@dataclass(frozen=True, slots=True)
class EnvironmentFigures:
    """One environment: bytes of the file, bytes up to the last page, reader slots, last transaction, sub-databases."""

    name: str
    format: int
    file_bytes: int
    used_bytes: int
    readers: int
    last_txn_id: int
    sub_dbs: int


@dataclass(frozen=True, slots=True)
class TableFigures:
    """One table: where it is, rows, bytes of its pages, and the schemas that its rows have on disk."""

    name: str
    environment: str
    rows: int
    size_bytes: int
    schemas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream: events, the first and last that are kept (0 for none) with their times, bytes with indexes."""

    name: str
    events: int
    first_seq: int
    last_seq: int
    first_s: float
    last_s: float
    partitions: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveFigures:
    """The archive: builds, objects, and bytes on disk."""

    builds: int
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of a data directory."""

    path: Path
    node: Holder | None
    """The node that runs on it, if one does."""
    clean: bool
    """Whether the last life ended with `close`; while a node runs, False."""
    stopped_s: float
    """When a node was last asked to stop, 0 if never."""
    environments: tuple[EnvironmentFigures, ...]
    tables: tuple[TableFigures, ...]
    streams: tuple[StreamFigures, ...]
    last_seq: int
    cursors: dict[str, int]
    reading: tuple[tuple[str, int, int], ...]
    """Readers that stand on a commit: environment, process, number of the commit."""
    migrations: dict[str, str]
    """Tables that are, or were, migrated, and how far that is."""
    archive: ArchiveFigures
    ballast_bytes: int
    disk_free_bytes: int


def figures_of(path: Path) -> Figures:
    """The figures of the data directory `path`, as of the last commits.

    Raises:
        NotFound: There is no store.
        StorageError, Corrupt, FormatTooNew: An environment cannot be opened.
    """
    with DataDir.open(path) as found:
        subs = list(found.sub_dbs())
        reader = found.events()
        stops = reader.read(types="NODE_STOP", streams=("lifecycle",), newest_first=True, limit=1)
        ballast = path / BALLAST
        return Figures(
            path=path,
            node=holder(path),
            clean=not (path / RUNNING).exists(),
            stopped_s=stops[0].time_ns / 1e9 if stops else 0.0,
            environments=tuple(_environments(found, subs)),
            tables=tuple(
                TableFigures(sub.name.removeprefix(TABLE), sub.environment, sub.entries, sub.size_bytes, sub.schemas)
                for sub in subs
                if sub.name.startswith(TABLE)
            ),
            streams=tuple(_stream(found, reader, stream, subs) for stream in STREAMS),
            last_seq=reader.last_seq(),
            cursors=_cursors(found),
            reading=tuple(
                (name, read.pid, read.txn_id)
                for name, env in found.environments.items()
                for read in env.open_reads()[1]
            ),
            migrations=_migrations(found),
            archive=archive_figures(path / ARCHIVE),
            ballast_bytes=ballast.stat().st_size if ballast.exists() else 0,
            disk_free_bytes=filesystem.free_bytes(path),
        )


def archive_figures(root: Path) -> ArchiveFigures:
    """The figures of an archive; all 0 where there is none."""
    builds = size_bytes = 0
    objects = len({*Packs(root / "builds").digests(), *loose_objects(root / "objects")})
    for folder, _, names in os.walk(root):
        for name in names:
            if len(name) == DIGEST_CHARS:
                builds += Path(folder).name == "builds"
                # Gone when a collection was faster.
                with suppress(FileNotFoundError):
                    size_bytes += os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - of 100,000 files
    return ArchiveFigures(builds, objects, size_bytes)


def _environments(found: DataDir, subs: list[SubDb]) -> Iterator[EnvironmentFigures]:
    for name, env in found.environments.items():
        info = env.info()
        with env.read() as txn:
            number = int.from_bytes(txn.get(FORMAT_KEY, db=env.db(META)) or b"", "big")
        count = sum(sub.environment == name for sub in subs)
        yield EnvironmentFigures(
            name, number, info.file_bytes, info.used_bytes, info.readers, info.last_txn_id, sub_dbs=count
        )


def _stream(found: DataDir, reader: EventReader, stream: str, subs: list[SubDb]) -> StreamFigures:
    first, last = _end(reader, stream, newest=False), _end(reader, stream, newest=True)
    with found.core.read() as txn:
        partitions = len(Layout(found.core, RINGS).partitions(txn, stream))
    return StreamFigures(
        name=stream,
        events=reader.counts()[stream],
        first_seq=first.seq if first else 0,
        last_seq=last.seq if last else 0,
        first_s=first.time_ns / 1e9 if first else 0.0,
        last_s=last.time_ns / 1e9 if last else 0.0,
        partitions=partitions,
        size_bytes=sum(sub.size_bytes for sub in subs if sub.name.startswith(f"e.{stream}.")),
    )


def _end(reader: EventReader, stream: str, *, newest: bool) -> Event | None:
    found = reader.read(streams=(stream,), newest_first=newest, limit=1)
    return found[0] if found else None


def _cursors(found: DataDir) -> dict[str, int]:
    if CURSORS.name not in found.tables():
        return {}
    rows: list[Any] = [row.fields for row in found.rows(CURSORS.name) if not row.error]
    return {str(row["name"]): int(row["seq"]) for row in rows}


def _migrations(found: DataDir) -> dict[str, str]:
    rows = {row.table: row for row in found.typed(MIGRATIONS)} if MIGRATIONS.name in found.tables() else {}
    return {
        table: f"schema {row.from_schema} to {row.to_schema}, {row.phase}" + (f": {row.problem}" if row.problem else "")
        for table, row in sorted(rows.items())
    }
