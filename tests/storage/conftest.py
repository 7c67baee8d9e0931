"""Real stores in temporary folders, with their writer running."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.storage import Store
from tests.storage.faults import Faults
from tests.storage.stores import OpenStore, running


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def open_store(tmp_path: Path, faults: Faults) -> OpenStore:
    """Opens the test's data directory; each opening is another life of the same node."""
    return lambda settings=None: running(tmp_path / "data", faults, settings)


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as opened:
        yield opened
