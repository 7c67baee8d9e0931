"""Deciding about quarantined rows, while no node runs: put one back, or give it up.

A running node decides by itself when it writes or deletes the key. Not here: how a row gets into quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from henslowe.errors import DataDirBusy, NotFound
from henslowe.storage import backup_files, quarantine
from henslowe.storage.env import MAP_BYTES, Environment
from henslowe.storage.inspection import DATA_FILE, DataDir
from henslowe.storage.keys import Key
from henslowe.storage.nodelock import NodeLock
from henslowe.storage.quarantine import Quarantined
from henslowe.storage.tablespec import Space

Rebuild: TypeAlias = Callable[[DataDir, str, tuple[Key, ...]], tuple[bytes, bytes] | None]
"""From a table and what the key may be: key and record as the row's history says."""
HISTORY: Final = "its history"


@dataclass(frozen=True, slots=True)
class Settled:
    """A decision: about what, and where the row came from ("" when it was given up)."""

    item: Quarantined
    source: str


def quarantined(data_dir: Path) -> list[tuple[str, Quarantined]]:
    """What is in quarantine, with its environment; beside a running node, too.

    Raises:
        NotFound: There is no store.
    """
    with DataDir.open(data_dir) as found:
        return [(space, item) for space, env in found.environments.items() for item in quarantine.items(env)]


def put_back(data_dir: Path, item_id: str, rebuild: Rebuild, backup: Path | None = None) -> Settled:
    """Ends a quarantine with the row as a backup has it, or without one as its history says.

    Raises:
        NotFound: No such row is in quarantine, or neither history nor backup has it.
        DataDirBusy: A node runs on the directory.
    """
    with _alone(data_dir):
        space, item = _find(data_dir, item_id)
        if backup is not None:
            packed, record = item.packed, _from_backup(backup, space, item)
            source = str(backup)
        else:
            with DataDir.open(data_dir) as found:
                made = rebuild(found, item.table, item.keys)
            if made is None:
                raise NotFound(
                    f"cannot rebuild row {item.id} of table {item.table!r}: no history tells it",
                    hint=f"henslowe storage quarantine restore {item.id} --from BACKUP, or drop it",
                )
            packed, record = made
            source = HISTORY
        _settle(data_dir / space, item, record, packed)
        return Settled(item, source)


def drop(data_dir: Path, item_id: str) -> Settled:
    """Ends a quarantine without the row: its key is free from now on.

    Raises:
        NotFound: No such row is in quarantine.
        DataDirBusy: A node runs on the directory.
    """
    with _alone(data_dir):
        space, item = _find(data_dir, item_id)
        _settle(data_dir / space, item, None, item.packed)
        return Settled(item, "")


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    if not (data_dir / Space.CORE / DATA_FILE).exists():
        raise NotFound(f"cannot find a store in {data_dir}", hint="--data DIR says where it is")
    try:
        lock = NodeLock.acquire(data_dir)
    except DataDirBusy as error:
        raise DataDirBusy(
            f"cannot decide about a row in {data_dir}: a node runs on it and has its tables in memory",
            hint="henslowe stop first; or have the node write or delete the row",
            **error.details,
        ) from error
    try:
        yield
    finally:
        lock.release()


def _find(data_dir: Path, item_id: str) -> tuple[str, Quarantined]:
    found = [(space, item) for space, item in quarantined(data_dir) if item.id.startswith(item_id)]
    if len(found) != 1:
        raise NotFound(
            f"cannot find {item_id!r} in quarantine: expected one row with such an id, got {len(found)}",
            hint="henslowe storage quarantine list",
        )
    return found[0]


def _from_backup(path: Path, space: str, item: Quarantined) -> bytes:
    with backup_files.opened(path) as folder:
        env = Environment.open_readonly(folder / space)
        try:
            db = env.db(item.db_name) if item.db_name in env.names() else None
            with env.read() as txn:
                record = txn.get(item.packed, db=db) if db is not None else None
        finally:
            env.close()
            (folder / space / "lock.mdb").unlink(missing_ok=True)
    if record is None or quarantine.problem(item.packed, record):
        raise NotFound(
            f"cannot take row {item.id} of table {item.table!r} from {path}: it is not there",
            hint="name a backup that was made while the row existed",
        )
    return bytes(record)


def _settle(folder: Path, item: Quarantined, record: bytes | None, packed: bytes) -> None:
    env = Environment.open(folder, map_bytes=MAP_BYTES)
    try:
        quarantine.settle(env, item, record, packed)
    finally:
        env.close()
