"""The files of one LMDB environment: created whole, opened with options that cannot corrupt, verified without LMDB.

The dangerous options do not exist here: `sync=False` corrupts on power loss, `writemap` dies by SIGBUS on a full disk,
and a map that is resized live kills its readers, so 64 GiB of address space are reserved once (they cost nothing on
disk).

Not here: transactions and sub-databases (`env`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

import lmdb
from lmdb import verify as offline

from henslowe.errors import Corrupt, StorageError
from henslowe.storage import filesystem

FORMAT: Final = 1
"""Number of this layout of sub-databases and records; a directory with a greater one is refused."""
META: Final = "meta"
"""The sub-database of what there is once."""
_ENGINE: Final = 0
"""LMDB 0.9. Explicit, because an environment variable changes py-lmdb's default and the formats do not mix."""
DBS_MAX: Final = 1024
READERS_MAX: Final = 256
FORMAT_KEY: Final = b"format"
"""Where `META` has the format's number: the one value without a checksum, since every version must read it."""


class Durability(StrEnum):
    """What an acknowledged commit survives. Neither choice can corrupt."""

    POWER_LOSS = "power_loss"
    """Everything acknowledged is there after power loss. For tables and events."""
    PROCESS = "process"
    """All survives the process; power loss may take the last commit. For captured traffic."""


def open_lmdb(path: Path, *, map_bytes: int, durability: Durability, readonly: bool) -> lmdb.Environment:
    """LMDB's own handle, with the options that cannot corrupt; `map_bytes` 0 takes what the file says.

    Raises:
        Corrupt: It is no environment of LMDB 0.9.
        StorageError: It is missing, may not be opened, or there is no address space.
    """
    try:
        env = lmdb.open(
            str(path),
            map_size=map_bytes,
            max_dbs=DBS_MAX,
            max_readers=READERS_MAX,
            readonly=readonly,
            create=False,
            metasync=durability is Durability.POWER_LOSS,
            sync=True,
            writemap=False,
            lib_version=_ENGINE,
        )
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
        raise Corrupt(f"cannot open {path}: {error}", hint="restore it from a backup") from error
    except (lmdb.Error, OSError, MemoryError) as error:
        raise StorageError(f"cannot open {path}: {error}") from error
    filesystem.close_to_children(path / "data.mdb", path / "lock.mdb")
    return env


def create(path: Path, map_bytes: int) -> None:
    """Creates an environment whole or not at all.

    Under another name first: of a crash in LMDB's first writes, 4 % cannot be opened.

    Raises:
        StorageError: The disk refused.
    """
    aside = path.with_name(f"{path.name}.tmp")
    filesystem.remove_tree(aside)
    aside.mkdir(parents=True, mode=0o700)
    try:
        env = lmdb.open(str(aside), map_size=map_bytes, max_dbs=DBS_MAX, lib_version=_ENGINE, mode=0o600)
    except (lmdb.Error, OSError, MemoryError) as error:
        raise StorageError(f"cannot create {path}: {error}") from error
    try:
        meta = env.open_db(META.encode())
        with env.begin(write=True) as txn:
            txn.put(FORMAT_KEY, FORMAT.to_bytes(2, "big"), db=meta)
        env.sync(True)
    except lmdb.Error as error:
        raise StorageError(f"cannot create {path}: {error}") from error
    finally:
        env.close()
    filesystem.sync_dir(aside)
    aside.rename(path)
    filesystem.sync_dir(path.parent)


def verify_offline(path: Path, *, bytes_max: int) -> bool:
    """Checks the whole structure of a closed environment without the engine; False if it is larger than `bytes_max`.

    About 90 MB a second, in Python. Never maps the file, so that a damaged one cannot take the process with it.

    Raises:
        Corrupt: The structure is damaged.
    """
    data = path / "data.mdb"
    if data.stat().st_size > bytes_max:
        return False
    try:
        problems = offline.verify(str(data))  # type: ignore[no-untyped-call]
    except offline.VerifyError as error:
        problems = [str(error)]
    if problems:
        raise Corrupt(
            f"cannot open {path}: {problems[0]}",
            hint="restore it from a backup",
            problems=list(problems[:20]),
        )
    return True
