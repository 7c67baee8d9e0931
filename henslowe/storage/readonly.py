"""A store as another process sees it while its node runs, or after the node ended.

Not here: what lies in a data directory whatever its rows mean (`inspection`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from henslowe.errors import StorageError
from henslowe.storage.capture import CaptureReader
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import EventReader
from henslowe.storage.events import RINGS
from henslowe.storage.migrations.places import readable
from henslowe.storage.migrations.planning import states
from henslowe.storage.migrations.progress import MIGRATIONS, MigrationRow
from henslowe.storage.partitions import Layout
from henslowe.storage.sealing import NO_KEYS
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import Space, TableSpec
from henslowe.storage.transaction import Transaction

R = TypeVar("R", bound=BaseModel)


class ReadonlyStore:
    """What another process may see of a store while its node runs: events, captures, tables as of their opening."""

    def __init__(self, env: Environment, captures: CaptureReader | None = None) -> None:
        self._env = env
        self.events = EventReader(env, Layout(env, RINGS))
        self.captures = captures
        """None where nothing was ever recorded, or where it cannot be read."""

    def table(self, spec: TableSpec[R]) -> Table[R]:
        """The rows committed now; open it again for later ones.

        While a table is being migrated, readers of the older schema go on reading.

        Raises:
            FormatTooNew: All of it is newer than `spec`.
            Corrupt: A row cannot be read.
        """
        while True:
            before = self._state(spec)
            form = readable(spec, before, NO_KEYS)
            table: Table[R] = Table(spec, _refuse_transaction, lambda form=form: (form,))  # type: ignore[misc]
            table._load(self._env)
            # Nobody migrates faster than a table is read, but for a drop at just this moment.
            if self._state(spec) == before:
                return table

    def _state(self, spec: TableSpec[Any]) -> MigrationRow | None:
        return None if spec.name == MIGRATIONS.name else states(self._env).get(spec.name)

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
    with ExitStack() as opened:
        core = Environment.open_readonly(data_dir / Space.CORE)
        opened.callback(core.close)
        captures: CaptureReader | None = None
        if (data_dir / Space.CAPTURE).exists():
            # It may be being made just now, or damaged: no reason to refuse the rest.
            with suppress(StorageError):
                env = Environment.open_readonly(data_dir / Space.CAPTURE)
                opened.callback(env.close)
                captures = CaptureReader(env)
        yield ReadonlyStore(core, captures)


def _refuse_transaction() -> Transaction:
    raise StorageError("cannot write: the store is open for reading only")
