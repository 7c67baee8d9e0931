"""The store of one node: everything durable behind one object.

    store = Store.open(data_dir, "n1")
    writers = store.child_specs()               # for the supervisor; nothing commits before they run
    services = store.table(SERVICES)
    ...
    store.close()                               # after the writers were stopped

Opening goes in the order of recovery: lock -> format -> structure (only after an unclean stop) -> environment -> log
-> internal tables. Whoever opens a table or a context gets what is on disk; deriving routes from it and driving effects
again is the caller's.

Layout of a data directory: `node.lock`, `running` (only while a node runs), `ballast`, the environments `core/`,
`cache/` and `capture/` (LMDB; see `tablespec.Space` for what each promises), `archive/`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from henslowe.actors.kernel import ChildSpec
from henslowe.config.settings import CaptureSettings, StorageSettings
from henslowe.early_check import RUNNING
from henslowe.errors import StorageError
from henslowe.storage import filesystem, lives
from henslowe.storage.archive import Archive
from henslowe.storage.bags import Bag
from henslowe.storage.capture import Captures
from henslowe.storage.context import ContextStore
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import CURSORS, CursorRow, EventLog
from henslowe.storage.events import RINGS, EncodedEvent, EventDraft
from henslowe.storage.keeper import KeeperActor, Kept
from henslowe.storage.keyfile import KeyFile
from henslowe.storage.lives import IDENTITY, LIVES
from henslowe.storage.migrations.engine import Migrator
from henslowe.storage.migrations.runner import RUNNER_NAME, MigrationRunner
from henslowe.storage.notices import Notices
from henslowe.storage.opening import Place, ready
from henslowe.storage.owners import CLAIMS, Claim, Owners
from henslowe.storage.partitions import Appender, Layout, Retention
from henslowe.storage.quarantine import Quarantined
from henslowe.storage.rotation import Rotation
from henslowe.storage.scrub_pass import SCRUBS, Scrubbing
from henslowe.storage.scrubber import ScrubberActor
from henslowe.storage.secrets import SECRETS, SecretStore
from henslowe.storage.store_info import PinnedRead, StoreInfo
from henslowe.storage.tables import Table
from henslowe.storage.tablespace import Tablespace
from henslowe.storage.tablespec import Space, TableSpec
from henslowe.storage.transaction import EncodeEvent, Transaction, encoder
from henslowe.storage.vault import Vault
from henslowe.storage.writer import Committer, OnDemandWriterActor, WriterActor

R = TypeVar("R", bound=BaseModel)

WRITER_NAME: Final = "storage.writer"
CACHE_WRITER_NAME: Final = "storage.cache_writer"
KEEPER_NAME: Final = "storage.keeper"
SCRUBBER_NAME: Final = "storage.scrubber"
_ARCHIVE: Final = "archive"
_CACHE_QUEUE: Final = 10_000

_log = logging.getLogger(__name__)


class Store:
    """Tables, events, context and archive of one node. Made by `Store.open`; reads need no writer, commits do."""

    def __init__(
        self,
        node: str,
        settings: StorageSettings,
        place: Place,
        *,
        capture: CaptureSettings,
        tables: Iterable[TableSpec[Any]] = (),
    ) -> None:
        data_dir, core, cache, ballast = place.data_dir, place.core, place.cache, place.ballast
        self.data_dir = data_dir
        self.node = node
        self.lock = place.lock
        self.recovered = not place.clean
        """Whether the last life of the node ended without `close` (the structure was verified then)."""
        self._settings = settings
        self._env = core
        layout = Layout(core, RINGS)
        layout.check()
        retention = {
            "activity": Retention(settings.activity_events_max, settings.activity_age_max_s or None),
            "output": Retention(settings.output_lines_max, settings.output_age_max_s or None),
        }
        self.vault = Vault(self._key_file, lambda: bool(len(self._secrets)))
        """The keys that seal secrets; without secrets there are none."""
        self._core = Tablespace(
            Space.CORE,
            core,
            Committer(core, Appender(core, layout, retention), ballast),
            commits_max=settings.writer_queue,
            encode_event=self._encoded,
            sealer=self.vault,
        )
        self._cache = Tablespace(Space.CACHE, cache, Committer(cache, None, None), commits_max=_CACHE_QUEUE)
        self._spaces = {Space.CORE: self._core, Space.CACHE: self._cache}
        self.owners = Owners(self._core.table(CLAIMS))
        """Whose each table is."""
        for space in self._spaces.values():
            space.owners = self.owners
        # Before anything is changed: a table that this Henslowe cannot read is a reason not to start.
        for spec in tables:
            self._space(spec.space).open(spec)
        self._secrets = self.table(SECRETS)
        self.migrator = Migrator(self._core)
        """Carries out the migrations of the tables that are open; in a node its `MigrationRunner` does so by itself."""
        self.rotation = Rotation(self._core, self.vault)
        """Renews the keys of secrets, as `migrator` migrates."""
        self.incarnation, clock = lives.begin(core, self.table(LIVES), node)
        self._store_id()
        self._encode_event: EncodeEvent = encoder(node, self.incarnation, clock.tick)
        self.clock = clock
        """The node's hybrid logical clock: readings of other nodes' events go into `clock.observe`."""
        self.events = EventLog(core, layout, self.table(CURSORS), self._core.queue.listeners, self._save_cursor)
        self.context = ContextStore(core, self.transaction)
        self.secrets = SecretStore(self._secrets, self.vault, self.transaction)
        self.archive = Archive(data_dir / _ARCHIVE)
        self.captures = Captures(data_dir / Space.CAPTURE, capture, clock.tick, clean=place.clean)
        self.notices = Notices()
        """What storage has to tell on its own."""
        self.scrubbing = Scrubbing(
            data_dir=data_dir,
            archive=self.archive,
            table=self.table(SCRUBS),
            notices=self.notices,
            interval_s=settings.scrub_interval_s,
            rate_bytes_s=settings.scrub_mib_per_s * 2**20,
            quarantined=self.quarantined,
            rewrite=self._core.rewrite,
        )
        """What the scrubber works with; the composition root says who audits rows and where builds are laid out."""
        self._kept = Kept(
            queue=self._core.queue,
            committer=self._core.committer,
            ballast=ballast,
            environments=self._environments,
            captures=self.captures,
            notices=self.notices,
            pinned_s=settings.read_s_max,
        )

    @classmethod
    def open(
        cls,
        data_dir: Path,
        node: str,
        settings: StorageSettings | None = None,
        *,
        capture: CaptureSettings | None = None,
        env_type: type[Environment] = Environment,
        tables: Iterable[TableSpec[Any]] = (),
        found_sound: Callable[[Path], bool] | None = None,
    ) -> Store:
        """The store of `data_dir`, locked for this process, created if missing.

        Blocking: some milliseconds, after an unclean stop a second per 90 MB.

        Args:
            data_dir: The node's own folder, on a local disk.
            node: The node's id, part of every event's identity.
            settings: Limits and retention.
            capture: What is recorded of traffic, and kept.
            env_type: How the environment is opened; for tests that let the disk fail.
            tables: Opened first, so that one that cannot be read is found before anything is changed.
            found_sound: Whether its file, as it lies there now, was verified already (`henslowe.early_check`).

        Raises:
            DataDirBusy: Another node holds it.
            FormatTooNew: A newer Henslowe wrote it; nothing was changed.
            Corrupt: Its structure is damaged.
            StorageError: It cannot be opened.
        """
        settings = settings or StorageSettings()
        try:
            with ready(
                data_dir, map_bytes=settings.map_size_gib << 30, env_type=env_type, found_sound=found_sound
            ) as place:
                return cls(node, settings, place, capture=capture or CaptureSettings(), tables=tables)
        except OSError as error:
            raise StorageError(
                f"cannot open {data_dir}: {error.strerror or error}", hint="look at the disk of the data directory"
            ) from error

    def child_spec(self) -> ChildSpec:
        """The writer of the core, for a supervisor."""
        return self._core.child_spec(WriterActor, "writer", WRITER_NAME)

    def child_specs(self) -> list[ChildSpec]:
        """All that runs for the store, in the order of their start."""
        return [
            self.child_spec(),
            self._cache.child_spec(OnDemandWriterActor, "cache writer", CACHE_WRITER_NAME),
            self.captures.child_spec(),
            ChildSpec(id="keeper", actor=KeeperActor, args=(self._kept,), name=KEEPER_NAME),
            ChildSpec(
                id="migration runner",
                actor=MigrationRunner,
                args=(self.migrator, self._settings, self.rotation),
                name=RUNNER_NAME,
            ),
            ChildSpec(id="scrubber", actor=ScrubberActor, args=(self.scrubbing,), name=SCRUBBER_NAME),
        ]

    def table(self, spec: TableSpec[R]) -> Table[R]:
        """The set or ordered set that `spec` declares, with its rows; the same object each time.

        Raises:
            StorageError: Another table has this name, or it is a bag.
            Corrupt, FormatTooNew: A row cannot be read.
        """
        return self._space(spec.space).table(spec)

    def bag(self, spec: TableSpec[R]) -> Bag[R]:
        """The bag that `spec` declares, with its rows; the same object each time. Raises what `table` raises."""
        return self._space(spec.space).bag(spec)

    def transaction(self, space: Space = Space.CORE, *, claim: Claim | None = None) -> Transaction:
        """An empty transaction over any of the tables in `space`, in the core over the event log, too."""
        return self._space(space).transaction(claim)

    def quarantined(self) -> list[Quarantined]:
        """The damaged rows of open tables that wait for a decision; reading one raises."""
        return [item for space in self._spaces.values() for item in space.quarantined()]

    def settle(self, txn: Transaction, item: Quarantined) -> None:
        """Makes `txn` end a quarantine: the table's owner has put its rows right, or does without that one."""
        self._core.settle(txn, item)

    @property
    def damage(self) -> str:
        """What is known to be damaged and waits for a person, "" for nothing."""
        rows, findings = len(self.quarantined()), len(self.scrubbing.integrity.findings)
        said = [f"{rows} damaged rows in quarantine"] if rows else []
        said += [f"{findings} findings of the scrubber"] if findings else []
        return ", ".join(said)

    @property
    def degraded(self) -> str:
        """Why the disk refused the last commit, "" when it did not."""
        return self._core.committer.degraded

    def info(self) -> StoreInfo:
        """Figures now: some microseconds each, one short read."""
        return StoreInfo(
            core=self._env.info(),
            cache=self._cache.env.info_if_open(),
            capture=self.captures.info(),
            rows=dict(sorted((self._core.rows() | self._cache.rows()).items())),
            events=self.events.counts(),
            last_seq=self.events.last_seq(),
            commits_waiting=len(self._core.queue),
            degraded=self._core.committer.degraded,
            ballast=self._kept.ballast.laid,
            pinned=tuple(self._pinned()),
            disk_free_bytes=filesystem.free_bytes(self.data_dir),
        )

    def close(self, *, as_node: bool = True) -> None:
        """Ends the store; the next `open` is a clean one. Stop the writers first: commits that wait now fail.

        Args:
            as_node: Whether what an unclean end asks for was done. Who only borrowed the store, as a command does,
                leaves it to the node: its next `open` finds the end before this one.
        """
        self.captures.close()
        for space in self._spaces.values():
            space.close()
        try:
            if as_node or not self.recovered:
                (self.data_dir / RUNNING).unlink(missing_ok=True)
            filesystem.sync_dir(self.data_dir)
        except OSError as error:
            # Nothing is lost: the next opening may take this for an unclean end, and verify.
            _log.warning("storage.end_not_marked", extra={"path": str(self.data_dir), "reason": str(error)})
        self.lock.release()

    def _pinned(self) -> Iterator[PinnedRead]:
        for name, environment in self._environments():
            if environment.closed:
                continue
            own, foreign = environment.open_reads(self._kept.pinned_s)
            yield from (PinnedRead(name, os.getpid(), read.age_s, f"{read.site} ({read.thread})") for read in own)
            yield from (PinnedRead(name, read.pid, read.age_s) for read in foreign)

    def _environments(self) -> Iterator[tuple[str, Environment]]:
        """Those that are open, by name."""
        for space in self._spaces.values():
            yield space.space, space.env
        if self.captures.log.env is not None:
            yield Space.CAPTURE, self.captures.log.env

    def _space(self, space: Space) -> Tablespace:
        found = self._spaces.get(space)
        if found is None:
            raise StorageError(f"expected a space with tables ({', '.join(self._spaces)}), got {space}")
        return found

    def _encoded(self, draft: EventDraft) -> EncodedEvent:
        return self._encode_event(draft)

    def _store_id(self) -> str:
        return lives.store_id(self._env, self.table(IDENTITY))

    def _key_file(self) -> KeyFile:
        return KeyFile.find(self.data_dir, self._store_id(), self._settings.secret_key_file)

    async def _save_cursor(self, row: CursorRow) -> None:
        await self.events.cursors.insert(row)
