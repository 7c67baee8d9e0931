"""Gets a small JSON document from an authorization server: https, one host, no redirects, limited in size and time.

Not a general client. A host that the configuration names may be anywhere (an issuer in one's own network is common); a
host that only another document names must have a public address, so that no metadata can make the node knock at its
neighbours' doors.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult

from henslowe.errors import Unavailable
from henslowe.transport import outgoing

BYTES_MAX: Final = 512 * 1024
TIMEOUT_S: Final = 5.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def check_url(url: str) -> str:
    """The host of a URL that may be fetched.

    Raises:
        Unavailable: It is neither https nor on loopback, or not an address at all.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if not host or parts.username is not None or not (parts.scheme == "https" or _plain(parts.scheme, host)):
        raise Unavailable(f"cannot fetch {url[:200]!r}: expected an https address", hint="see access.oauth")
    return host


async def fetch_json(
    url: str,
    *,
    trusted_hosts: frozenset[str],
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The JSON object at a URL; with `form` the answer to a POST.

    Raises:
        Unavailable: It cannot be had, or is too long, or is not a JSON object.
    """
    host = check_url(url)
    resolver = None if host in trusted_hosts else _PublicOnly()
    if resolver is not None and _is_address(host) and not ipaddress.ip_address(host).is_global:
        raise Unavailable(f"cannot fetch {url[:200]!r}: its address is not public")
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            outgoing.session(resolver) as http,
            http.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})},
                allow_redirects=False,
            ) as response,
        ):
            if response.status != 200:
                raise Unavailable(f"cannot fetch {url[:200]!r}: status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > BYTES_MAX:
                    raise Unavailable(f"cannot fetch {url[:200]!r}: it is longer than {BYTES_MAX} bytes")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"cannot fetch {url[:200]!r}: {str(error) or type(error).__name__}") from error
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unavailable(f"cannot fetch {url[:200]!r}: it is not JSON") from error
    if not isinstance(document, dict):
        raise Unavailable(f"cannot fetch {url[:200]!r}: expected an object, got: {type(document).__name__}")
    return document


class _PublicOnly(AbstractResolver):
    """Resolves names to public addresses only; what is checked is what is connected to."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if ipaddress.ip_address(each["host"]).is_global]
        if not public:
            raise OSError(errno.EACCES, f"the address of {host} is not public")
        return public

    async def close(self) -> None:
        await self._resolver.close()


def _plain(scheme: str, host: str) -> bool:
    return scheme == "http" and host in _LOOPBACK


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
