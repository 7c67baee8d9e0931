"""One LMDB environment: opened safely, read by anybody, reopened in place after a failure.

`Environment` is the indirection between readers and LMDB's handle: whoever holds an `Environment` keeps reading after
the writer reopened what is behind it.

Not here: the files and how LMDB opens them (`env_files`), who may open them (`nodelock`), what is in them (`tables`,
`eventlog`), and who writes (`writer`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lmdb

from henslowe.errors import Corrupt, FormatTooNew, LimitReached, StorageError
from henslowe.storage import env_files, filesystem
from henslowe.storage.env_files import FORMAT, FORMAT_KEY, META, READERS_MAX, Durability
from henslowe.storage.reads import ForeignRead, OpenRead, Reads

MAP_BYTES: Final = 64 << 30
_REOPEN_WAIT_S: Final = 5.0
_CALLER: Final = 2
"""Frames from `Environment.read` to whoever entered it: the context manager's own is between."""

Txn = Any
"""An LMDB transaction. py-lmdb's own types are generic over its buffers, which nobody here uses."""


@dataclass(frozen=True, slots=True)
class EnvironmentInfo:
    """Sizes of an environment: bytes of its file, bytes up to its last page, reader slots ever used."""

    file_bytes: int
    used_bytes: int
    readers: int
    last_txn_id: int


class Environment:
    """A handle that stays valid while what is behind it is closed and opened again.

    Made by `Environment.open` (one per directory and process, the writer) or `Environment.open_readonly`.
    `db` and `read` may be called from any thread; `begin` and `reopen` belong to the one writer. Whoever else changes
    something (`declare`, `write`) takes its turn with the writer.
    """

    def __init__(self, path: Path, *, map_bytes: int, durability: Durability, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._map_bytes = map_bytes
        self._durability = durability
        self._dbs: dict[str, tuple[Any, bool]] = {}
        # Opening sub-databases must not overlap (mdb_dbi_open); reopening must not overlap readers.
        self._gate = threading.Condition(threading.RLock())
        self.turn = threading.RLock()
        """Held by who writes, until it is known what became of that; taken before the gate."""
        self._doubtful = False
        """Whether a write or a flush failed, and no flush has passed since."""
        self._reading = 0
        self._reads = Reads()
        self._lmdb: lmdb.Environment | None = self._open_lmdb()

    @classmethod
    def open(
        cls, path: Path, *, map_bytes: int = MAP_BYTES, durability: Durability = Durability.POWER_LOSS
    ) -> Environment:
        """The environment at `path` for reading and writing; created whole or not at all when it is missing.

        Raises:
            FormatTooNew: A newer Henslowe wrote it; nothing was changed.
            Corrupt: It is no environment of LMDB 0.9.
            StorageError: Network file system, no permission, or no address space for `map_bytes`.
        """
        filesystem.refuse_network(path)
        if not path.exists():
            env_files.create(path, map_bytes)
        environment = cls(path, map_bytes=map_bytes, durability=durability, readonly=False)
        try:
            environment._refuse_newer()
            environment.flush()
        except BaseException:
            environment.close()
            raise
        environment.clean_readers()
        return environment

    @classmethod
    def open_readonly(cls, path: Path) -> Environment:
        """The environment at `path` as another process writes it; never blocks that process.

        Raises:
            FormatTooNew: A newer Henslowe wrote it.
            StorageError: There is none, or its lock file may not be written (readers announce themselves there).
        """
        environment = cls(path, map_bytes=0, durability=Durability.POWER_LOSS, readonly=True)
        try:
            environment._refuse_newer()
        except BaseException:
            environment.close()
            raise
        return environment

    # -- sub-databases ----------------

    def db(self, name: str, *, dup: bool = False) -> Any:
        """The sub-database `name`, created if missing; `dup` for an index of 8-byte values sorted under each key.

        Raises:
            StorageError: Missing in a read-only environment, or the environment is closed.
        """
        found = self._dbs.get(name)
        if found is None:
            self.declare({name: dup})
            found = self._dbs[name]
        return found[0]

    def declare(self, names: Mapping[str, bool]) -> None:
        """Opens many sub-databases (name to `dup`) in one transaction, creating what is missing; as `db` does one.

        Waits while the writer commits.
        """
        with self.turn:
            if not self.readonly:
                self.dispel()
            self._declare(names)

    def _declare(self, names: Mapping[str, bool]) -> None:
        with self._gate:
            env = self._opened()
            wanted = {name: dup for name, dup in names.items() if name not in self._dbs}
            try:
                if self.readonly:
                    # py-lmdb keeps ended read transactions for reuse, and handles opened in them never come to be.
                    opened = {name: _open_db(env, name, dup, None) for name, dup in wanted.items()}
                    with env.begin() as txn:
                        _refuse_zeroed(txn, opened)
                else:
                    # Without changes the commit writes nothing.
                    with env.begin(write=True) as txn:
                        opened = {name: _open_db(env, name, dup, txn) for name, dup in wanted.items()}
                        _refuse_zeroed(txn, opened)
            except lmdb.Error as error:
                self._doubtful = True
                raise StorageError(f"cannot open {', '.join(wanted)[:80]} in {self.path}: {error}") from error
            self._dbs.update({name: (db, wanted[name]) for name, db in opened.items()})

    def names(self) -> dict[str, bool]:
        """All sub-databases there are, with whether they are indexes (`dup`), by name."""
        env = self._opened()
        with self.read() as txn:
            names = [bytes(name).decode() for name in txn.cursor().iternext(keys=True, values=False)]
        found: dict[str, bool] = {}
        for name in names:
            db = self._dbs[name][0] if name in self._dbs else env.open_db(name.encode(), create=False)
            found[name] = bool(db.flags()["dupsort"])
        return dict(sorted(found.items()))

    # -- transactions ----------------

    @contextmanager
    def read(self) -> Iterator[Txn]:
        """A consistent view of the last commit. Keep it short: pages that it sees cannot be reused meanwhile.

        Raises:
            StorageError: The environment is closed.
            LimitReached: As many readers as there can be are alive.
        """
        with self._gate:
            env = self._opened()
            self._reading += 1
        number = self._reads.begin(_CALLER)
        try:
            try:
                txn = env.begin()
            except lmdb.ReadersFullError:
                # Slots of killed processes stay taken until somebody looks.
                env.reader_check()
                txn = self._begin_read(env)
            try:
                yield txn
            finally:
                txn.abort()
        finally:
            self._reads.end(number)
            with self._gate:
                self._reading -= 1
                if not self._reading:
                    self._gate.notify_all()

    def _begin_read(self, env: lmdb.Environment) -> Txn:
        try:
            return env.begin()
        except lmdb.ReadersFullError as error:
            raise LimitReached(
                f"cannot read {self.path}: {READERS_MAX} readers are at work", hint="see henslowe storage info"
            ) from error

    def open_reads(self, age_s: float = 0.0) -> tuple[tuple[OpenRead, ...], tuple[ForeignRead, ...]]:
        """The read transactions that are open for at least `age_s`: this process's, and those of others."""
        own = self._reads.older_than(age_s)
        foreign = self._reads.foreign(self._opened().readers())
        return own, tuple(read for read in foreign if read.age_s >= age_s)

    def begin(self) -> Txn:
        """A write transaction; commit or abort it. Runs in: the writer alone."""
        return self._opened().begin(write=True)

    @contextmanager
    def write(self) -> Iterator[Txn]:
        """A write transaction, committed at the end: for the little that is not the writer's. Waits while that commits.

        Raises:
            StorageError: The disk refused it.
        """
        with self.turn:
            self.dispel()
            try:
                txn = self.begin()
                try:
                    yield txn
                    txn.commit()
                except BaseException:
                    txn.abort()
                    raise
            except lmdb.Error as error:
                self._doubtful = True
                raise StorageError(f"cannot write to {self.path}: {error}") from error

    def doubt(self) -> None:
        """Notes that a write failed, so that nothing is built on it before a flush."""
        self._doubtful = True

    def dispel(self) -> None:
        """Flushes if a write or a flush failed and none has passed since. Raises what `flush` raises."""
        if self._doubtful:
            self.flush()

    def flush(self) -> None:
        """Makes sure that what is seen now is on disk, before anything is built on it.

        After a failed flush LMDB puts the old root back without flushing it, and a killed process leaves its last one
        in the kernel's cache: the next commit reuses pages of the root that a power cut could then bring back.

        Raises:
            StorageError: The disk refused.
        """
        try:
            self._opened().sync(True)
        except lmdb.Error as error:
            self._doubtful = True
            raise StorageError(f"cannot flush {self.path}: {error}") from error
        self._doubtful = False

    def last_txn_id(self) -> int:
        """Number of the last commit, by any process."""
        return int(self._opened().info()["last_txnid"])

    # -- life ----------------

    @property
    def closed(self) -> bool:
        """Whether nothing is behind this handle, after `close` or a `reopen` that failed."""
        return self._lmdb is None

    def reopen(self) -> None:
        """Closes and opens LMDB behind this handle, which ends every error state of LMDB. Runs in: the writer.

        Waits for readers at most 5 s; later ones find their transaction ended.
        """
        with self.turn, self._gate:
            self._gate.wait_for(lambda: not self._reading, _REOPEN_WAIT_S)
            self._close_lmdb()
            self._lmdb = self._open_lmdb()
            declared, self._dbs = self._dbs, {}
            self._declare({name: dup for name, (_, dup) in declared.items()})

    def clean_readers(self) -> int:
        """Frees the reader slots of processes that died; returns how many."""
        return int(self._opened().reader_check())

    def inode(self) -> int:
        """The number of the file that stands at `path` now: another one after a restore or a compaction."""
        return (self.path / "data.mdb").stat().st_ino

    def info(self) -> EnvironmentInfo:
        """Sizes now."""
        env = self._opened()
        facts = env.info()
        return EnvironmentInfo(
            file_bytes=(self.path / "data.mdb").stat().st_size,
            used_bytes=(int(facts["last_pgno"]) + 1) * int(env.stat()["psize"]),
            readers=int(facts["num_readers"]),
            last_txn_id=int(facts["last_txnid"]),
        )

    def info_if_open(self) -> EnvironmentInfo | None:
        """Sizes now; None while it is closed."""
        with suppress(StorageError):
            return self.info()
        return None

    def copy(self, path: Path, *, compact: bool = False) -> None:
        """Writes the last commit to the new folder `path`, synced; the writer goes on meanwhile.

        A plain copy holds no more than one page in memory and is what a backup wants; `compact` leaves out free pages,
        costs a walk through all of them, and slows the writer down.

        Raises:
            StorageError: The copy cannot be read or written.
        """
        path.mkdir(parents=True, mode=0o700)
        try:
            self._opened().copy(str(path), compact=compact)
            data = path / "data.mdb"
            data.chmod(0o600)
            filesystem.sync_file(data)
        except (lmdb.Error, OSError) as error:
            raise StorageError(f"cannot copy {self.path} to {path}: {error}") from error
        filesystem.sync_dir(path)

    def close(self) -> None:
        """Ends all transactions and frees the map; a second call does nothing."""
        with self._gate:
            self._gate.wait_for(lambda: not self._reading, _REOPEN_WAIT_S)
            self._close_lmdb()

    def _opened(self) -> lmdb.Environment:
        if self._lmdb is None:
            raise StorageError(f"cannot use {self.path}: it is closed")
        return self._lmdb

    def _open_lmdb(self) -> lmdb.Environment:
        return env_files.open_lmdb(
            self.path, map_bytes=self._map_bytes, durability=self._durability, readonly=self.readonly
        )

    def _close_lmdb(self) -> None:
        if self._lmdb is not None:
            self._lmdb.close()
            self._lmdb = None

    def _refuse_newer(self) -> None:
        env = self._opened()
        try:
            meta = env.open_db(META.encode(), create=False)
        except lmdb.NotFoundError as error:
            raise Corrupt(
                f"cannot open {self.path}: it has no format number", hint="restore it from a backup"
            ) from error
        self._dbs[META] = (meta, False)
        with self.read() as txn:
            _refuse_zeroed(txn, {"the list of sub-databases": None, META: meta})
            found = int.from_bytes(txn.get(FORMAT_KEY, db=meta) or b"", "big")
        if not found:
            raise Corrupt(f"cannot open {self.path}: its format number is gone", hint="restore it from a backup")
        if found > FORMAT:
            raise FormatTooNew(
                f"cannot open {self.path}: expected format {FORMAT} or older, got {found}",
                hint="start the newer Henslowe, or restore a backup made by this one",
                found=found,
                supported=FORMAT,
            )


def _refuse_zeroed(txn: Txn, dbs: Mapping[str, Any]) -> None:
    """Returns only if no sub-database begins with an empty key.

    LMDB stores none, so it is an entry that a lost sector made zeros. Before others it sorts well, and neither
    verification nor a search would miss what it was; behind others, verification finds it.

    Raises:
        Corrupt: One does.
    """
    for name, db in dbs.items():
        cursor = txn.cursor(db=db)
        if cursor.first() and not cursor.key():
            raise Corrupt(f"cannot read {name}: its first entry is gone", hint="restore it from a backup")


def _open_db(env: lmdb.Environment, name: str, dup: bool, txn: Txn) -> Any:
    return env.open_db(name.encode(), txn, dupsort=dup, dupfixed=dup, create=txn is not None)
