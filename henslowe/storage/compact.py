"""Makes the files of a data directory as small as their content: LMDB reuses free pages and never gives them back.

Offline only. A page that moves under a running node would take its readers' snapshots away, and LMDB's lock file knows
the transactions of one file: it goes with the old one.

Checked before (damage must not be copied), copied without free pages, checked again and compared, put in place with one
rename. Until the end the old file is kept beside it.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.errors import Corrupt, DataDirBusy, NotFound, StorageError
from henslowe.storage import filesystem
from henslowe.storage.check_process import CheckPlan, run_check
from henslowe.storage.env import Environment
from henslowe.storage.inspection import DATA_FILE, DataDir
from henslowe.storage.nodelock import NodeLock
from henslowe.storage.tablespec import Space

_ASIDE: Final = ".compact"
_OLD: Final = "data.old"
_PARTS: Final = ("structure", "records", "indexes", "log")


@dataclass(frozen=True, slots=True)
class Compacted:
    """One environment: bytes of its file before and after."""

    environment: str
    before_bytes: int
    after_bytes: int


def compact(data_dir: Path) -> tuple[list[Compacted], float]:
    """Gives the disk back what the environments of `data_dir` do not use; what was saved where, and the seconds taken.

    Raises:
        NotFound: There is no store.
        DataDirBusy: A node runs on it.
        Corrupt: It is damaged; nothing was changed.
        StorageError: No room for a copy.
    """
    begun_s = time.monotonic()
    data_dir = data_dir.absolute()
    aside = data_dir / _ASIDE
    if not (data_dir / Space.CORE / DATA_FILE).exists():
        raise NotFound(f"cannot find a store in {data_dir}", hint="--data DIR says where it is")
    with ExitStack() as held:
        lock = _lock(data_dir)
        held.callback(lock.release)
        held.callback(filesystem.remove_tree, aside)
        filesystem.remove_tree(aside)
        _refuse_damage(data_dir, "it is damaged")
        spaces = [space for space in Space if (data_dir / space / DATA_FILE).exists()]
        for space in spaces:
            _refuse_lack_of_room(data_dir / space)
            _copy(data_dir / space, aside / space)
        _refuse_damage(aside, "the compacted copy is damaged")
        if _counts(data_dir) != _counts(aside):
            raise Corrupt(f"cannot compact {data_dir}: the compacted copy has not all of it; nothing was changed")
        return [_put_in_place(aside / space, data_dir / space) for space in spaces], time.monotonic() - begun_s


def _lock(data_dir: Path) -> NodeLock:
    try:
        return NodeLock.acquire(data_dir)
    except DataDirBusy as error:
        pid = error.details.get("pid") or "unknown"
        raise DataDirBusy(
            f"cannot compact {data_dir}: a node is running on it, process {pid}, whose readers need the pages",
            hint="henslowe stop, then henslowe storage compact; the node itself reuses what is free",
            **error.details,
        ) from error


def _refuse_damage(folder: Path, said: str) -> None:
    report = run_check(CheckPlan(data_dir=str(folder), parts=_PARTS))
    if not report.ok:
        first = report.findings[0]
        raise Corrupt(
            f"cannot compact: {said}: {first.place}: {first.message}; nothing was changed",
            hint="henslowe storage verify",
            findings=[finding.as_dict() for finding in report.findings],
        )


def _refuse_lack_of_room(folder: Path) -> None:
    env = Environment.open_readonly(folder)
    try:
        needed = env.info().used_bytes
    finally:
        env.close()
    free = filesystem.free_bytes(folder)
    if free < needed:
        raise StorageError(
            f"cannot compact {folder}: the copy needs up to {needed} bytes, {free} are free", hint="free space first"
        )


def _copy(source: Path, target: Path) -> None:
    env = Environment.open_readonly(source)
    try:
        env.copy(target, compact=True)
    finally:
        env.close()


def _counts(folder: Path) -> dict[tuple[str, str], int]:
    with DataDir.open(folder) as found:
        return {(sub.environment, sub.name): sub.entries for sub in found.sub_dbs()}


def _put_in_place(made: Path, folder: Path) -> Compacted:
    old, data = folder / _OLD, folder / DATA_FILE
    before = data.stat().st_size
    try:
        old.unlink(missing_ok=True)
        os.link(data, old)
        (made / DATA_FILE).rename(data)
        # It knows the old file's transactions; the next to open makes another one.
        (folder / "lock.mdb").unlink(missing_ok=True)
        filesystem.sync_dir(folder)
        env = Environment.open_readonly(folder)
        env.close()
        old.unlink()
        filesystem.sync_dir(folder)
    except OSError as error:
        raise StorageError(
            f"cannot put the compacted file in place of {data}: {error.strerror}",
            hint=f"if {old} is there, it is the file of before",
        ) from error
    return Compacted(folder.name, before, data.stat().st_size)
