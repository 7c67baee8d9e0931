"""A data directory as it lies on disk, read beside the node that runs it or without one. Changes nothing.

    with DataDir.open(path) as found:
        found.environments["core"].names()
        list(found.rows("versions"))

What is read here is what is stored: no schema is applied, and a damaged record is a row with an error. Typed rows are
`henslowe.storage.tables`', whether all of it is sound is `henslowe.storage.checks`'.

LMDB lets one process open an environment once: the node itself cannot use this on its own directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from henslowe.errors import FormatTooNew, HensloweError, KeyRefused, NotFound, StorageError
from henslowe.storage import codec, keys, sealing
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import EventReader
from henslowe.storage.events import RINGS
from henslowe.storage.keys import SEQ, Key
from henslowe.storage.migrations.planning import states
from henslowe.storage.migrations.progress import db_name
from henslowe.storage.partitions import Layout
from henslowe.storage.readonly import ReadonlyStore
from henslowe.storage.tablespec import R, Space, TableSpec

DATA_FILE: Final = "data.mdb"
TABLE: Final = "t."
"""Begins the name of a table's sub-database."""
PAGE_ROWS: Final = 512
"""Rows read in one transaction: a longer one would keep the writer from reusing pages."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One record of a table: its key (None if that is damaged), its schema and its fields, or why it cannot be read."""

    packed: bytes
    key: Key | None
    schema: int
    fields: Any
    error: str = ""


@dataclass(frozen=True, slots=True)
class SubDb:
    """One sub-database: entries, bytes of its pages, and of a table or log the schemas that its records have."""

    environment: str
    name: str
    index: bool
    entries: int
    size_bytes: int
    schemas: tuple[int, ...] = ()


class DataDir:
    """The environments of one data directory, open for reading. Made by `open`; a context manager."""

    def __init__(self, path: Path, environments: dict[str, Environment], broken: dict[str, StorageError]) -> None:
        self.path = path
        self.environments = environments
        self.broken = broken
        """Environments beside the core that cannot be opened, and why."""

    @classmethod
    def open(cls, path: Path, spaces: Sequence[str] = tuple(Space)) -> Self:
        """The environments of `path` that exist, `core` at least.

        Raises:
            NotFound: There is no store.
            StorageError, Corrupt, FormatTooNew: The core cannot be opened.
        """
        require_store(path)
        with ExitStack() as opened:
            found: dict[str, Environment] = {}
            broken: dict[str, StorageError] = {}
            for space in spaces:
                if not (path / space / DATA_FILE).exists():
                    continue
                try:
                    found[str(space)] = Environment.open_readonly(path / space)
                    opened.callback(found[str(space)].close)
                except StorageError as error:
                    if space == Space.CORE or isinstance(error, FormatTooNew):
                        raise
                    broken[str(space)] = error
            opened.pop_all()
        return cls(path, found, broken)

    def close(self) -> None:
        """Frees the readers' slots."""
        for env in self.environments.values():
            env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def core(self) -> Environment:
        """Tables and events."""
        return self.environments[Space.CORE]

    def sub_dbs(self) -> Iterator[SubDb]:
        """All sub-databases of all environments, by name."""
        for space, env in self.environments.items():
            for name, index in env.names().items():
                db = env.db(name, dup=index)
                with env.read() as txn:
                    facts = txn.stat(db=db)
                    pages = facts["branch_pages"] + facts["leaf_pages"] + facts["overflow_pages"]
                    schemas: set[int] = set()
                    if name.startswith(TABLE):
                        schemas = {codec.schema_of(record) for record in txn.cursor(db=db).iternext(keys=False)}
                yield SubDb(space, name, index, facts["entries"], pages * facts["psize"], tuple(sorted(schemas)))

    def tables(self) -> list[str]:
        """Names of the tables, sorted."""
        found = (name.removeprefix(TABLE).partition("@")[0] for _, name in self._names() if name.startswith(TABLE))
        return sorted(set(found))

    def rows(self, table: str, *, first: Key | None = None) -> Iterator[RawRow]:
        """The rows of a table in the order of their keys, from `first` on; holds no transaction between pages.

        Raises:
            NotFound: There is no such table.
            KeyRefused: `first` cannot be a key.
        """
        env = next((env for env, name in self._names() if name == TABLE + table), None)
        if env is None:
            known = ", ".join(self.tables()) or "none"
            raise NotFound(f"cannot find table {table!r}: there are {known}", hint="henslowe storage info lists them")
        # A migrated table lies under another name than its own.
        state = states(env).get(table)
        place = db_name(table, state.generation) if state is not None else TABLE + table
        after = b"" if first is None else keys.pack(first)
        for packed, record in records(env, place, after):
            yield raw_row(packed, record)

    def typed(self, spec: TableSpec[R]) -> Iterator[R]:
        """The rows of a set, brought to the current schema; none where the table was never opened.

        Raises:
            Corrupt, FormatTooNew: A row cannot be read.
        """
        env = self.environments.get(spec.space)
        if env is not None and any(name.partition("@")[0] == TABLE + spec.name for name in env.names()):
            yield from ReadonlyStore(env).table(spec).rows()

    def events(self) -> EventReader:
        """The log."""
        return EventReader(self.core, Layout(self.core, RINGS))

    def _names(self) -> Iterator[tuple[Environment, str]]:
        for env in self.environments.values():
            for name in env.names():
                yield env, name


def records(env: Environment, name: str, first: bytes = b"", *, dup: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Everything in a sub-database from the key `first` on, page by page: each page as of its own moment.

    Of an index each pair once; of a sub-database that is being written, every record that stays.
    """
    db = env.db(name, dup=dup)
    place: tuple[bytes, bytes] | None = None
    while True:
        page: list[tuple[bytes, bytes]] = []
        with env.read() as txn, txn.cursor(db=db) as cursor:
            if place is None:
                more = cursor.set_range(first) if first else cursor.first()
            elif dup:
                # The place itself was given out already; it may be gone.
                more = cursor.set_range_dup(*place)
                if not more:
                    more = cursor.set_range(place[0] + b"\x00")
                elif cursor.item() == place:
                    more = cursor.next()
            else:
                more = cursor.set_range(place[0] + b"\x00")
            while more and len(page) < PAGE_ROWS:
                page.append(cursor.item())
                more = cursor.next()
        if not page:
            return
        yield from page
        place = page[-1]


def require_store(path: Path) -> None:
    """Returns only if a store is in `path`: looking for one must not make one.

    Raises:
        NotFound: There is none.
    """
    if not (path / Space.CORE / DATA_FILE).exists():
        raise NotFound(
            f"cannot find a store in {path}",
            hint="henslowe up makes one; --data DIR says where it is",
            path=str(path),
        )


def raw_row(packed: bytes, record: bytes) -> RawRow:
    """A table's record as far as it can be read."""
    try:
        schema, body = codec.unseal(packed, record)
        return RawRow(packed, key_of(packed), schema, sealing.hidden(codec.decode(body)))
    except HensloweError as error:
        with suppress(KeyRefused):
            return RawRow(packed, key_of(packed), 0, None, error.message)
        return RawRow(packed, None, 0, None, error.message)


def key_of(packed: bytes) -> Key:
    """The key that a table stores under these bytes; a bag's without the counter behind it.

    Raises:
        KeyRefused: They are no key.
    """
    try:
        return keys.unpack(packed)
    except KeyRefused:
        if len(packed) <= SEQ.size:
            raise
        return keys.unpack(packed[: -SEQ.size])
