"""A node's pipeline per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from delivering import Node

from henslowe.storage import Store


@pytest.fixture
async def node(tmp_path: Path, store: Store) -> AsyncIterator[Node]:
    node = Node(tmp_path, store)
    await node.start()
    yield node
    await node.stop()
