"""How commands reach what is kept: the node that runs on a data directory, or without one the directory itself.

Both answer the same questions with the same replies: those of `henslowe.transport.admin.keeping`.
"""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from henslowe.cli.client import NodeClient
from henslowe.cli.locate import workspace_of
from henslowe.config.node_file import NODE_FILE, NodeFile, read_node_file
from henslowe.config.settings import Settings

if TYPE_CHECKING:
    from henslowe.storage import Store
    from henslowe.transport.admin.keeping import Keeping
    from henslowe.transport.admin.models.base import Reply

RATE_ALONE: Final = 1e9
"""Rows per second of a migration that disturbs nobody: no limit."""


class Kept(Protocol):
    """Whoever answers."""

    def get(self, path: str) -> dict[str, Any]:
        """The reply of a GET below `/admin/v1`."""
        ...

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The reply of a POST below `/admin/v1`."""
        ...

    def wait(self, seconds: float) -> None:
        """Let it work."""
        ...


def running_node(data_dir: Path) -> NodeFile | None:
    """The node that runs on a data directory, if one does."""
    from henslowe.storage import holder

    return read_node_file(data_dir / NODE_FILE) if holder(data_dir) is not None else None


@contextmanager
def kept(data_dir: Path, *, make: bool = False) -> Iterator[Kept]:
    """Who answers for a data directory: its node, or else this process, which holds the node's lock meanwhile.

    Args:
        data_dir: The data directory.
        make: Whether a store is made where there is none, as the first start of a node would.

    Raises:
        DataDirBusy: A node has just started there.
        NotFound: There is no store.
        FormatTooNew, Corrupt, StorageError: It cannot be opened.
    """
    node = running_node(data_dir)
    if node is not None:
        yield _Asked(node)
        return
    from henslowe.storage.inspection import require_store

    if not make:
        require_store(data_dir)
    with asyncio.Runner() as runner:
        yield from _alone(runner, data_dir)


class _Asked:
    """A running node."""

    def __init__(self, node: NodeFile) -> None:
        client = NodeClient(node)
        self.get = client.get
        self.post = client.post

    def wait(self, seconds: float) -> None:
        """Let it work."""
        time.sleep(seconds)


def _alone(runner: asyncio.Runner, data_dir: Path) -> Iterator[Kept]:
    """This process in the place of a node: store, writer and runner, nothing else."""
    from henslowe.actors.kernel import Scheduler
    from henslowe.config.loading import load
    from henslowe.node_tables import TABLES
    from henslowe.storage import Store
    from henslowe.storage.migrations.runner import RUNNER_NAME, MigrationRunner
    from henslowe.transport.admin.keeping import Keeping

    settings = load(workspace_of(data_dir)).settings
    alone = settings.storage.model_copy(update={"migrations": "manual", "migration_rows_per_s": RATE_ALONE})
    refs: list[Any] = []

    async def start(store: Store) -> None:
        Scheduler.install()
        spec = store.child_spec()
        refs.append(await spec.actor.start_link(*spec.args))
        refs.append(
            await MigrationRunner.start_link(store.migrator, alone, store.rotation, share_max=1.0, name=RUNNER_NAME)
        )

    async def stop() -> None:
        for ref in reversed(refs):
            await ref.stop(block=False)

    store = Store.open(data_dir, settings.name, settings.storage, tables=TABLES)
    try:
        runner.run(start(store))
        try:
            yield _Alone(runner, Keeping(store, settings))
        finally:
            runner.run(stop())
    finally:
        store.close(as_node=False)


class _Alone:
    """The same without a node."""

    def __init__(self, runner: asyncio.Runner, keeping: Keeping) -> None:
        self._runner = runner
        self._keeping = keeping
        self._by = f"local:{getpass.getuser()}"

    def get(self, path: str) -> dict[str, Any]:
        """See `Kept.get`."""
        reply = self._keeping.secrets() if path == "/secrets" else self._keeping.migrations()
        return reply.model_dump(mode="json")

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See `Kept.post`."""
        work = self._work(path, {name: value for name, value in (body or {}).items() if value is not None})
        return self._runner.run(_awaited(work)).model_dump(mode="json")

    def wait(self, seconds: float) -> None:
        """See `Kept.wait`."""
        self._runner.run(asyncio.sleep(seconds))

    def _work(self, path: str, body: dict[str, Any]) -> Callable[[], Awaitable[Reply]]:
        from henslowe.storage.sealing import Secret
        from henslowe.transport.admin.models.keeping import MigrateRequest

        keeping, by = self._keeping, self._by
        *_, name, verb = ("", *path.split("/"))
        if path == "/storage/migrations":
            return lambda: keeping.migrate(MigrateRequest.model_validate(body), by=by)
        if path == "/secrets":
            return lambda: keeping.set_secret(body["name"], Secret(body["value"]), by=by)
        if path == "/secrets/rotate":
            return lambda: keeping.rotate(by=by)
        assert verb == "remove", f"expected a path of what is kept, got {path}"
        return lambda: keeping.remove_secret(name, by=by)


async def _awaited(work: Callable[[], Awaitable[Reply]]) -> Reply:
    return await work()


def settings_of(data_dir: Path) -> Settings:
    """The settings of the node that would run on a data directory."""
    from henslowe.config.loading import load

    return load(workspace_of(data_dir)).settings
