"""Posts to the receivers of webhooks: one request, no redirects, limited in time and size, and not to everywhere.

| address | named by `henslowe.toml` | named by a `service.toml` |
|---|---|---|
| public | yes | yes |
| loopback, private | yes | only with `webhooks.allow` |
| link-local (where clouds keep credentials), multicast, unspecified | only with `webhooks.allow` | the same |

What is checked is the address that is connected to, after names were resolved: a name that leads elsewhere later leads
nowhere. A receiver learns no more than the hook's facts; of its answer the beginning is kept.

Not here: what is posted and signed, and when it is tried again (`henslowe.actors.hooks`).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from henslowe.actors.hooks import Answer
from henslowe.errors import Forbidden, Unavailable
from henslowe.transport import outgoing

ANSWER_BYTES_MAX: Final = 4_096
"""Read of an answer; the connection is closed behind it."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Webhooks:
    """`henslowe.actors.hooks.Poster` over HTTP. Runs in: the loop.

    Args:
        allow: Networks that may be reached by any hook, besides.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allow = tuple(ipaddress.ip_network(each) for each in allow)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, private: bool
    ) -> Answer:
        """One POST, without following redirects. `private`: whether loopback and private addresses may be reached.

        Raises:
            Forbidden: The address is one that may not be reached.
            Unavailable: It could not be reached, or did not answer within `timeout_s`.
        """
        host = urlsplit(url).hostname or ""
        resolver = _Checked(self._allow, private=private)
        literal = _address(host)
        if literal is not None and not resolver.permits(literal):
            raise _forbidden(url)
        try:
            async with (
                asyncio.timeout(timeout_s),
                outgoing.session(resolver) as http,
                http.post(
                    url,
                    data=body,
                    headers={**headers, "Accept-Encoding": "identity"},
                    allow_redirects=False,
                ) as response,
            ):
                text = await _beginning(response.content)
                return Answer(response.status, text.decode(errors="replace"))
        except (aiohttp.ClientError, OSError) as error:
            if resolver.refused:
                raise _forbidden(url) from error
            said = f"did not answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            raise Unavailable(f"cannot post to {_shown(url)}: {said or type(error).__name__}") from error


class _Checked(AbstractResolver):
    """Resolves names to addresses that may be reached."""

    def __init__(self, allow: Sequence[_Network], *, private: bool) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._allow = allow
        self._private = private
        self.refused = False

    def permits(self, address: _Address) -> bool:
        """Whether an address may be reached."""
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            return self.permits(mapped)
        if any(address in network for network in self._allow):
            return True
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            return False
        return address.is_global or self._private

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        permitted = [each for each in found if self.permits(ipaddress.ip_address(each["host"].partition("%")[0]))]
        if not permitted:
            self.refused = True
            raise OSError(errno.EACCES, f"the address of {host} may not be reached")
        return permitted

    async def close(self) -> None:
        await self._resolver.close()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    async for chunk in content.iter_any():
        found += chunk
        if len(found) >= ANSWER_BYTES_MAX:
            break
    return bytes(found[:ANSWER_BYTES_MAX])


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _shown(url: str) -> str:
    """Without the query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _forbidden(url: str) -> Forbidden:
    return Forbidden(
        f"cannot post to {_shown(url)}: its address may not be reached by this hook",
        hint="name its network in webhooks.allow of henslowe.toml, or move the hook there",
    )
