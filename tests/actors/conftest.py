"""Stores for the tests of domain actors: real ones, in a temporary folder, with their writer running."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.storage import Store

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture
def open_store(tmp_path: Path) -> OpenStore:
    """Opens the test's data directory; each opening is another life of the same node."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        Scheduler.install()
        opened_store = Store.open(tmp_path / "data", "n1", StorageSettings(map_size_gib=1))
        spec = opened_store.child_spec()
        writer = await spec.actor.start_link(*spec.args)
        try:
            yield opened_store
        finally:
            await writer.stop(block=False)
            opened_store.close()

    return opened


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    """One life of a node's store."""
    async with open_store() as opened_store:
        yield opened_store


class Clock:
    """Unix seconds that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()
