from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.transport.access.issuers import IssuerServer, issuer_server


@pytest.fixture
async def server() -> AsyncIterator[IssuerServer]:
    """An authorization server."""
    async with issuer_server() as running:
        yield running
