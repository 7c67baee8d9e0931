from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.transport.gateway.world import World, world


@pytest.fixture
async def gw() -> AsyncIterator[World]:
    async with world() as running:
        yield running
