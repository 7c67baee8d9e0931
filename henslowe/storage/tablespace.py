"""A tablespace: one environment with its tables, its queue and its writer.

The store composes several, so that what may be lost never waits for the disk with what may not. A commit stays in one:
LMDB's transactions end at the environment.

Not here: which tablespaces a node has (`store`), and how one is written (`writer`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from henslowe.actors.kernel import ChildSpec, GenActor, RestartType
from henslowe.errors import KeyRefused, StorageError
from henslowe.storage import keys, quarantine
from henslowe.storage.bags import Bag
from henslowe.storage.cells import TableBase
from henslowe.storage.commits import CommitQueue
from henslowe.storage.env import Environment
from henslowe.storage.migrations.forms import Form
from henslowe.storage.migrations.places import Places
from henslowe.storage.migrations.progress import MIGRATIONS, MigrationRow, db_name
from henslowe.storage.owners import Claim, Owners
from henslowe.storage.quarantine import Quarantined
from henslowe.storage.sealing import NO_KEYS, Sealer
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import Space, TableSpec
from henslowe.storage.transaction import EncodeEvent, Transaction
from henslowe.storage.writer import Committer

R = TypeVar("R", bound=BaseModel)

WRITER_SHUTDOWN_S: Final = 10.0


class Tablespace:
    """Tables of one environment, and everything that commits into it.

    Args:
        space: Which one it is.
        env: Opened for writing.
        committer: Applies commits to `env`.
        commits_max: Most transactions that may wait for the disk.
        encode_event: Stamps and encodes events, where the environment has an event log; called in the loop.
        sealer: Seals secrets in rows.
    """

    def __init__(
        self,
        space: Space,
        env: Environment,
        committer: Committer,
        *,
        commits_max: int,
        encode_event: EncodeEvent | None = None,
        sealer: Sealer = NO_KEYS,
    ) -> None:
        self.space = space
        self.env = env
        self.committer = committer
        self.queue = CommitQueue(commits_max=commits_max)
        self._encode_event = encode_event
        self._sealer = sealer
        self._tables: dict[str, TableBase[Any, Any]] = {}
        self.owners: Owners | None = None
        """Whose each table is; None until the store knows."""
        self.places: dict[str, Places[Any]] = {}
        """Where the rows of each open table lie, by name; for the migrations."""

    def table(self, spec: TableSpec[R]) -> Table[R]:
        """The set or ordered set that `spec` declares, with its rows; the same object each time.

        Raises:
            StorageError: Another table has this name, or it is a bag.
            Corrupt, FormatTooNew: A row cannot be read.
        """
        table: Table[R] = self._open(spec, Table, bag=False)
        return table

    def bag(self, spec: TableSpec[R]) -> Bag[R]:
        """The bag that `spec` declares, with its rows; the same object each time. Raises what `table` raises."""
        bag: Bag[R] = self._open(spec, Bag, bag=True)
        return bag

    def open(self, spec: TableSpec[Any]) -> TableBase[Any, Any]:
        """The table or the bag that `spec` declares. Raises what `table` raises."""
        return self.bag(spec) if spec.kind == "bag" else self.table(spec)

    def opened(self, name: str) -> TableBase[Any, Any]:
        """The open table or bag of this name."""
        return self._tables[name]

    def transaction(self, claim: Claim | None = None) -> Transaction:
        """An empty transaction over this space's tables, and its log if it has one; with `claim` over that table."""
        return Transaction(self.queue, self._encode_event, self.space, self.owners).under(claim)

    def quarantined(self) -> list[Quarantined]:
        """The damaged rows of its open tables that wait for a decision."""
        return [item for table in self._tables.values() for item in table.damage.items()]

    def settle(self, txn: Transaction, item: Quarantined) -> None:
        """Makes `txn` end a quarantine: its table has all its rows again, or does without."""
        txn.write(quarantine.DB_NAME, quarantine.place(item.id), None)
        self._tables[item.table].damage.forget_item(item.id)

    async def rewrite(self, name: str, packed: bytes) -> bool:
        """Writes the row again that lies under `packed` in the sub-database `name`, from memory; whether there is one.

        Raises:
            StorageError: The disk refused it.
        """
        table = self._tables.get(name.removeprefix("t.").partition("@")[0])
        if not isinstance(table, Table):
            return False
        try:
            row = table._cell(keys.unpack(packed))
        except KeyRefused:
            return False
        if row is None:
            return False
        txn = Transaction(self.queue, None, self.space)  # nothing is decided, so it is nobody's in particular
        txn.put(table, row)
        await txn.commit()
        return True

    def rows(self) -> dict[str, int]:
        """How many keys each open table has, by name."""
        return {name: len(table) for name, table in sorted(self._tables.items())}

    def child_spec(self, actor: type[GenActor], id_: str, name: str) -> ChildSpec:
        """Its writer, for a supervisor. Permanent: an environment that cannot be reopened is tried again with it."""
        return ChildSpec(
            id=id_,
            actor=actor,
            args=(self.queue, self.committer),
            name=name,
            restart=RestartType.PERMANENT,
            shutdown_s=WRITER_SHUTDOWN_S,
        )

    def close(self) -> None:
        """Refuses commits from now on, fails those that wait, and closes the environment."""
        self.queue.close()
        self.env.close()

    def _open(self, spec: TableSpec[Any], kind: Callable[..., Any], *, bag: bool) -> Any:
        found = self._tables.get(spec.name)
        if found is not None:
            if found.spec != spec:
                raise StorageError(f"cannot open table {spec.name!r}: it is declared otherwise elsewhere")
            return found
        if (spec.kind == "bag") is not bag:
            raise StorageError(
                f"cannot open table {spec.name!r} so: it is a {spec.kind}", hint="use Store.table or bag"
            )
        table = self._loaded(spec, kind)
        self._tables[spec.name] = table
        self.queue.tables.append(table)
        return table

    def _loaded(self, spec: TableSpec[Any], kind: Callable[..., Any]) -> Any:
        if not spec.durable:
            return kind(spec, self.transaction, tuple)
        if self.space is not Space.CORE or spec is MIGRATIONS:
            only = (Form(spec, db_name(spec.name, 0), spec.schema, self._sealer),)
            table = kind(spec, self.transaction, lambda: only)
            table._load(self.env)
            return table
        places = Places(spec, self._sealer, self._state_of(spec.name))
        table = kind(spec, self.transaction, places.forms)
        places.settle(table._load(self.env))
        # Opened beforehand: the writer cannot open one inside its transaction.
        self.env.declare(dict.fromkeys(places.names(), False))
        table._track_aliases()
        self.places[spec.name] = places
        return table

    def _state_of(self, table: str) -> Callable[[], MigrationRow | None]:
        migrations = self.table(MIGRATIONS)
        return lambda: migrations.latest(table)
