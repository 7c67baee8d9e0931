"""The store of one node: everything durable behind one object.

    store = Store.open(data_dir, "n1")
    writer = store.child_spec()                 # for the supervisor; nothing commits before it runs
    services = store.table(SERVICES)
    ...
    store.close()                               # after the writer was stopped

Opening goes in the order of recovery: lock -> format -> structure (only after an unclean stop) -> environment -> log
-> internal tables. Whoever opens a table or a context gets what is on disk; deriving routes from it and driving effects
again is the caller's.

Layout of a data directory: `node.lock`, `running` (only while a node runs), `ballast`, `core/` (LMDB), `archive/`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from henslowe.actors.kernel import ChildSpec, RestartType
from henslowe.config.settings import StorageSettings
from henslowe.errors import StorageError
from henslowe.storage import filesystem
from henslowe.storage.archive import Archive
from henslowe.storage.bags import Bag
from henslowe.storage.cells import TableBase
from henslowe.storage.clock import HybridClock
from henslowe.storage.commits import CommitQueue
from henslowe.storage.context import ContextStore
from henslowe.storage.env import Environment, EnvironmentInfo, verify_offline
from henslowe.storage.eventlog import CURSORS, CursorRow, EventLog, EventReader
from henslowe.storage.events import RINGS
from henslowe.storage.nodelock import NodeLock
from henslowe.storage.partitions import Appender, Layout, Retention
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec
from henslowe.storage.transaction import Transaction, encoder
from henslowe.storage.writer import Ballast, Committer, WriterActor

R = TypeVar("R", bound=BaseModel)

CORE: Final = "core"
WRITER_NAME: Final = "storage.writer"
_RUNNING: Final = "running"
_BALLAST: Final = "ballast"
_ARCHIVE: Final = "archive"
_WRITER_SHUTDOWN_S: Final = 10.0
_VERIFY_BYTES_MAX: Final = 2 << 30
"""Some 25 s of verification; a greater file is opened unverified, and records are checked as they are read."""

_log = logging.getLogger(__name__)


class LifeRow(BaseModel, frozen=True, extra="forbid"):
    """Which life of the node this is."""

    node: str
    incarnation: int
    hlc: int


LIVES: Final = TableSpec(name="lives", row_type=LifeRow, key="node")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Figures of a store: sizes, rows by table, events by stream, what waits, why writes are refused ("" if not)."""

    core: EnvironmentInfo
    rows: dict[str, int]
    events: dict[str, int]
    last_seq: int
    commits_waiting: int
    degraded: str
    disk_free_bytes: int


class Store:
    """Tables, events, context and archive of one node. Made by `Store.open`; reads need no writer, commits do."""

    def __init__(
        self, data_dir: Path, node: str, settings: StorageSettings, lock: NodeLock, env: Environment, *, clean: bool
    ) -> None:
        self.data_dir = data_dir
        self.node = node
        self.lock = lock
        self.recovered = not clean
        """Whether the last life of the node ended without `close` (the structure was verified then)."""
        self._env = env
        layout = Layout(env, RINGS)
        self._queue = CommitQueue(commits_max=settings.writer_queue)
        self._tables: dict[str, TableBase[Any, Any]] = {}
        retention = {
            "activity": Retention(settings.activity_events_max),
            "output": Retention(settings.output_lines_max),
        }
        appender = Appender(env, layout, retention)
        self._committer = Committer(env, appender, Ballast(data_dir / _BALLAST))
        self.incarnation, clock = self._next_life()
        self._encode_event = encoder(node, self.incarnation, clock.tick)
        self.clock = clock
        """The node's hybrid logical clock: readings of other nodes' events go into `clock.observe`."""
        self.events = EventLog(env, layout, self.table(CURSORS), self._queue.listeners, self._save_cursor)
        self.context = ContextStore(env, self.transaction)
        self.archive = Archive(data_dir / _ARCHIVE)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        node: str,
        settings: StorageSettings | None = None,
        *,
        env_type: type[Environment] = Environment,
    ) -> Store:
        """The store of `data_dir`, locked for this process, created if missing.

        Blocking: some milliseconds, after an unclean stop a second per 90 MB.

        Args:
            data_dir: The node's own folder, on a local disk.
            node: The node's id, part of every event's identity.
            settings: Limits and retention.
            env_type: How the environment is opened; for tests that let the disk fail.

        Raises:
            DataDirBusy: Another node holds it.
            FormatTooNew: A newer Henslowe wrote it; nothing was changed.
            Corrupt: Its structure is damaged.
            StorageError: It cannot be opened.
        """
        settings = settings or StorageSettings()
        filesystem.refuse_network(data_dir)
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"cannot create {data_dir}: {error.strerror}") from error
        lock = NodeLock.acquire(data_dir)
        env: Environment | None = None
        try:
            running, core = data_dir / _RUNNING, data_dir / CORE
            clean = not running.exists()
            if not clean and core.exists() and not verify_offline(core, bytes_max=_VERIFY_BYTES_MAX):
                _log.warning("storage.verify_skipped", extra={"path": str(core), "bytes_max": _VERIFY_BYTES_MAX})
            env = env_type.open(core, map_bytes=settings.map_size_gib << 30)
            filesystem.write_durably(running, str(lock.holder.pid).encode())
            Ballast(data_dir / _BALLAST).lay()
            return cls(data_dir, node, settings, lock, env, clean=clean)
        except BaseException:
            if env is not None:
                env.close()
            lock.release()
            raise

    def child_spec(self) -> ChildSpec:
        """The writer, for a supervisor. Permanent: an environment that cannot be reopened is tried again with it."""
        return ChildSpec(
            id="writer",
            actor=WriterActor,
            args=(self._queue, self._committer),
            name=WRITER_NAME,
            restart=RestartType.PERMANENT,
            shutdown_s=_WRITER_SHUTDOWN_S,
        )

    def table(self, spec: TableSpec[R]) -> Table[R]:
        """The table that `spec` declares, with its rows; the same object each time.

        Raises:
            StorageError: Another table has this name, or it is a bag.
            Corrupt, FormatTooNew: A row cannot be read.
        """
        table: Table[R] = self._open_table(spec, Table, bag=False)
        return table

    def bag(self, spec: TableSpec[R]) -> Bag[R]:
        """The bag that `spec` declares, with its rows; the same object each time. Raises what `table` raises."""
        bag: Bag[R] = self._open_table(spec, Bag, bag=True)
        return bag

    def transaction(self) -> Transaction:
        """An empty transaction over any of the tables and the log."""
        return Transaction(self._queue, self._encode_event)

    def info(self) -> StoreInfo:
        """Figures now: some microseconds each, one short read."""
        return StoreInfo(
            core=self._env.info(),
            rows={name: len(table) for name, table in sorted(self._tables.items())},
            events=self.events.counts(),
            last_seq=self.events.last_seq(),
            commits_waiting=len(self._queue),
            degraded=self._committer.degraded,
            disk_free_bytes=filesystem.free_bytes(self.data_dir),
        )

    def close(self) -> None:
        """Ends the store; the next `open` is a clean one. Stop the writer first: commits that wait now fail."""
        self._queue.close()
        self._env.close()
        (self.data_dir / _RUNNING).unlink(missing_ok=True)
        filesystem.sync_dir(self.data_dir)
        self.lock.release()

    def _open_table(self, spec: TableSpec[R], kind: Any, *, bag: bool) -> Any:
        found = self._tables.get(spec.name)
        if found is not None:
            if found.spec != spec:
                raise StorageError(f"cannot open table {spec.name!r}: it is declared otherwise elsewhere")
            return found
        if (spec.kind == "bag") is not bag:
            raise StorageError(
                f"cannot open table {spec.name!r} so: it is a {spec.kind}", hint="use Store.table or bag"
            )
        table = kind(spec, self.transaction)
        if spec.durable:
            table._load(self._env)
        self._tables[spec.name] = table
        self._queue.tables.append(table)
        return table

    def _next_life(self) -> tuple[int, HybridClock]:
        """Counts the node's lives, in a commit of its own: no writer runs yet."""
        lives = self.table(LIVES)
        last = lives.lookup(self.node)
        newest = self._newest_hlc()
        clock = HybridClock(max(newest, last.hlc if last else 0))
        row = LifeRow(node=self.node, incarnation=(last.incarnation if last else 0) + 1, hlc=clock.tick()[1])
        ops: list[Any] = []
        key, row = lives._put(row, last, ops)
        txn = self._env.begin()
        try:
            for name, packed, record in ops:
                txn.put(packed, record, db=self._env.db(name))
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        lives._hold(key, row, 0)
        lives._publish(key, row, 0)
        return row.incarnation, clock

    def _newest_hlc(self) -> int:
        reader = EventReader(self._env, Layout(self._env, RINGS))
        return max((event.hlc for event in reader.read(newest_first=True, limit=1)), default=0)

    async def _save_cursor(self, row: CursorRow) -> None:
        await self.events.cursors.insert(row)


class ReadonlyStore:
    """What another process may see of a store while its node runs: events, and tables as of their opening."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.events = EventReader(env, Layout(env, RINGS))

    def table(self, spec: TableSpec[R]) -> Table[R]:
        """The rows committed now; open it again for later ones."""
        table: Table[R] = Table(spec, _refuse_transaction)
        table._load(self._env)
        return table

    def close(self) -> None:
        """Frees the reader's slot."""
        self._env.close()


@contextmanager
def open_readonly(data_dir: Path) -> Iterator[ReadonlyStore]:
    """The store of `data_dir`, read beside the node that runs it (or without one); never blocks it.

    Raises:
        StorageError: No store is there, or its lock file may not be written by this user.
        FormatTooNew: A newer Henslowe wrote it.
    """
    store = ReadonlyStore(Environment.open_readonly(data_dir / CORE))
    try:
        yield store
    finally:
        store.close()


def _refuse_transaction() -> Transaction:
    raise StorageError("cannot write: the store is open for reading only")
