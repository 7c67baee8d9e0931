"""What the head of a request says to the gateway: read once, and valid for every request with the same head.

Clients repeat their heads word for word, but for the length of the body. Whatever follows from the head alone is found
out here; what also needs the body, the routes or the sessions is decided for each request (`legacy`, `modern`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import hdrs
from aiohttp.http_parser import RawRequestMessage

from henslowe.actors.access.principal import Principal
from henslowe.transport.gateway import inbound
from henslowe.transport.gateway.protocol import SESSION_HEADER, VERSION_HEADER, Refused
from henslowe.transport.gateway.selection import Target

_ROUTING: Final = (VERSION_HEADER, "Mcp-Method", "Mcp-Name")


@dataclass(slots=True, frozen=True)
class Head:
    """The head of a request to a single service."""

    target: Target
    version: str | None
    """Its `MCP-Protocol-Version`."""
    session_id: str
    sse: bool
    """Whether an event stream would be accepted."""
    routing: Mapping[str, str]
    """What the body must agree with in the stateless era, by lower-case name."""
    forwarded: Mapping[str, str] | None
    """What travels on to the server; None where the stateless era refuses it."""
    agreed: set[tuple[Any, ...]] = field(default_factory=set, compare=False)
    """What of bodies was found to agree with it (`inbound.check_modern_again`)."""


class Caller(Protocol):
    """Who sent a request."""

    who: Principal
    peer: str
    """The address."""
    size: int
    """Bytes of the body."""


def head_of(target: Target, message: RawRequestMessage) -> Head | None:
    """The head of a request with a JSON body that takes JSON for an answer; None for any other."""
    headers = message.headers
    takes_json, takes_sse = inbound.accepted(headers.get(hdrs.ACCEPT))
    content_type = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0]
    if not target or "@" in target or "%" in target or not takes_json or content_type != inbound.JSON_TYPE:
        return None
    try:
        forwarded = inbound.forwarded_headers(message.raw_headers)
    except Refused:
        forwarded = None
    return Head(
        target,
        headers.get(VERSION_HEADER),
        headers.get(SESSION_HEADER, ""),
        takes_sse,
        {name.lower(): headers[name] for name in _ROUTING if name in headers},
        forwarded,
    )
