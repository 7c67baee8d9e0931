from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.transport.gateway.asking import ONE, Place, placed
from tests.transport.gateway.world import World, world


@pytest.fixture
async def gw() -> AsyncIterator[World]:
    async with world() as running:
        yield running


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with placed(tmp_path) as running:
        await running.up(ONE)
        yield running
