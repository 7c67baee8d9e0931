"""How the node itself asks other servers by HTTP: nothing is kept between requests, and nothing is unpacked.

Where a name may lead is the resolver's to decide, at each request; what is asked is the callers' (`webhooks`,
`access.fetch`). The calls of clients do not come this way (`mcp.http`).
"""

from __future__ import annotations

import aiohttp
from aiohttp.abc import AbstractResolver


def session(resolver: AbstractResolver | None) -> aiohttp.ClientSession:
    """A client for one request: no cookies, no connection that outlives it, answers as they were sent."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
