from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.transport.admin.small_node import Served, serve


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A small node on its socket and on TCP."""
    async with serve(tmp_path / "ws") as served:
        yield served


@pytest.fixture
async def local(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    """A client over the node's Unix socket."""
    connector = aiohttp.UnixConnector(served.file.socket)
    async with aiohttp.ClientSession("http://node", connector=connector) as session:
        yield session


@pytest.fixture
async def remote(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    """A client over TCP, without a token."""
    async with aiohttp.ClientSession(served.file.url) as session:
        yield session
