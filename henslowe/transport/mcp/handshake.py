"""Opening a server: finds out which era it speaks, and what it says of itself.

`server/discover` is asked first, since a server that knows both eras then speaks the newer one. Anything but a proper
answer leads to `initialize`; a server that keeps silent is sent `initialize` beside the open question, and the first
proof decides, because a slow server may yet answer both. Lists are `contract`'s business.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from henslowe.actors.endpoints import Era, JsonObject, ServerFacts
from henslowe.errors import InstanceFailed
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.link import Link

PROBE_S: Final = 3.0
"""Silence after which `initialize` is tried: twice what a Python server takes to import its libraries."""


async def open_server(
    link: Link,
    client_info: JsonObject,
    *,
    timeout_s: float,
    legacy_only: bool = False,
    capabilities: JsonObject | None = None,
) -> ServerFacts:
    """Open the server and return its facts; the link then speaks its era.

    Args:
        link: A fresh link.
        client_info: Who the node says it is.
        timeout_s: Longest wait for one answer.
        legacy_only: Send `initialize` first and nothing else: for servers that end when asked anything before it.
        capabilities: What a server of the handshake era may ask of us; nothing by default.

    Raises:
        InstanceFailed: It answers, but not as an MCP server of a revision that is known here.
        UpstreamLost: It ended meanwhile.
        TimeoutError: It kept silent.
    """
    if legacy_only:
        link.speak(Era.LEGACY, eras.LATEST_LEGACY)
        return await _conclude(link, None, await _initialize(link, client_info, capabilities, timeout_s))
    link.speak(Era.MODERN, eras.LATEST_MODERN)
    probe = asyncio.ensure_future(_discover(link, client_info, timeout_s))
    greeting: asyncio.Future[JsonObject] | None = None
    try:
        await asyncio.wait({probe}, timeout=min(PROBE_S, timeout_s))
        if probe.done() and (facts := _modern_facts(probe.result())) is not None:
            return facts
        link.speak(Era.LEGACY, eras.LATEST_LEGACY)
        greeting = asyncio.ensure_future(_initialize(link, client_info, capabilities, timeout_s))
        await asyncio.wait({probe, greeting}, return_when=asyncio.FIRST_COMPLETED)
        if not greeting.done() or "error" in greeting.result():
            # Either the late answer to the question came first, or the server refuses `initialize` because it took
            # the question as the beginning of the modern era: then the answer to the question is on its way.
            facts = _modern_facts(await probe)
            if facts is not None:
                link.speak(Era.MODERN, facts.protocol_version)
                return facts
        return await _conclude(link, probe, await greeting)
    finally:
        for pending in (probe, greeting):
            if pending is not None:
                await _drop(pending)


async def _conclude(link: Link, probe: asyncio.Future[JsonObject] | None, answer: JsonObject) -> ServerFacts:
    """The facts from the answer to `initialize`, which is now confirmed."""
    if "error" in answer:
        said = answer["error"].get("message", "")
        asked = probe.result().get("error", {}).get("message", "") if probe is not None and probe.done() else ""
        raise InstanceFailed(
            f"cannot open the server: it answered initialize with an error: {said}"
            + (f" (and server/discover with: {asked})" if asked and asked != said else ""),
            hint="check that the command starts an MCP server, or that the url ends in its MCP path",
            error=answer["error"],
        )
    result = answer["result"]
    version = result.get("protocolVersion")
    if version not in eras.LEGACY_VERSIONS:
        raise InstanceFailed(
            f"expected a protocol version of {', '.join(eras.LEGACY_VERSIONS)} from initialize, got: {version!r}"
        )
    link.speak(Era.LEGACY, version)
    link.notify("notifications/initialized", None)
    return ServerFacts(
        era=Era.LEGACY,
        protocol_version=version,
        server_info=_object(result.get("serverInfo")),
        capabilities=_object(result.get("capabilities")),
        instructions=_text(result.get("instructions")),
    )


def _modern_facts(answer: JsonObject) -> ServerFacts | None:
    """The facts when the answer to `server/discover` proves a modern server of a revision that is known here."""
    result = answer.get("result", {})
    version = _known_of(result.get("supportedVersions"))
    if version is None:
        return None
    return ServerFacts(
        era=Era.MODERN,
        protocol_version=version,
        server_info=_object(_object(result.get("_meta")).get(eras.SERVER_INFO_META)),
        capabilities=_object(result.get("capabilities")),
        instructions=_text(result.get("instructions")),
    )


async def _discover(link: Link, client_info: JsonObject, timeout_s: float) -> JsonObject:
    """The answer to the question; asked once more where the server refuses a revision and names one known here."""
    params = {"_meta": eras.envelope(eras.LATEST_MODERN, client_info)}
    answer = await link.exchange("server/discover", params, timeout_s=timeout_s)
    failure = _object(answer.get("error"))
    if failure.get("code") != jsonrpc.UNSUPPORTED_VERSION:
        return answer
    version = _known_of(_object(failure.get("data")).get("supported"))
    if version is None:
        return answer
    link.speak(Era.MODERN, version)
    params = {"_meta": eras.envelope(version, client_info)}
    return await link.exchange("server/discover", params, timeout_s=timeout_s)


def _known_of(supported: Any) -> str | None:
    """The newest of these revisions of the stateless era that is known here."""
    if not isinstance(supported, list):
        return None
    return next((version for version in reversed(eras.MODERN_VERSIONS) if version in supported), None)


async def _initialize(
    link: Link, client_info: JsonObject, capabilities: JsonObject | None, timeout_s: float
) -> JsonObject:
    params = {
        "protocolVersion": eras.LATEST_LEGACY,
        "capabilities": capabilities or {},
        "clientInfo": client_info,
    }
    return await link.exchange("initialize", params, timeout_s=timeout_s)


async def _drop(pending: asyncio.Future[JsonObject]) -> None:
    """End a question that no longer matters, and take note of how it ended so that nobody warns of it."""
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
