"""A store as another process sees it while its node runs, or after the node ended.

Not here: what lies in a data directory whatever its rows mean (`inspection`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from henslowe.errors import StorageError
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import EventReader
from henslowe.storage.events import RINGS
from henslowe.storage.partitions import Layout
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import Space, TableSpec
from henslowe.storage.transaction import Transaction

R = TypeVar("R", bound=BaseModel)


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
    store = ReadonlyStore(Environment.open_readonly(data_dir / Space.CORE))
    try:
        yield store
    finally:
        store.close()


def _refuse_transaction() -> Transaction:
    raise StorageError("cannot write: the store is open for reading only")
