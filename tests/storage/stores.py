"""How the tests of storage open a store: with a writer running, and a disk that fails on demand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.storage import Store
from tests.storage.faults import Faults

OpenStore = Callable[..., AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def running(data_dir: Path, faults: Faults, settings: StorageSettings | None = None) -> AsyncIterator[Store]:
    """One life of the store of node n1."""
    Scheduler.install()
    store = Store.open(data_dir, "n1", settings or StorageSettings(map_size_gib=1), env_type=faults.env_type)
    try:
        spec = store.child_spec()
        writer = await spec.actor.start_link(*spec.args, parent=None)
        try:
            yield store
        finally:
            await writer.stop(block=False)
    finally:
        store.close()
