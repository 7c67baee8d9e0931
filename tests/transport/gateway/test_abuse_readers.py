"""Clients that read slowly, or not at all: what they cost is bounded, and the others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.transport.gateway.exchange import PENDING_BYTES_MAX
from tests.transport.gateway.world import MODERN, LocalServer, World, call_body, echo, text, tool, until, version, world

MIB = 1024 * 1024
BIG_BYTES = 24 * MIB
"""More than the sockets of loopback take from a sender whose peer does not read."""
MESSAGE = "x" * 10_000
MESSAGES = 1_000


async def big(_arguments: JsonObject, _notify: OnNotification) -> JsonObject:
    return text("x" * BIG_BYTES)


async def chatter(_arguments: JsonObject, notify: OnNotification) -> JsonObject:
    for step in range(MESSAGES):
        params = {"progressToken": 1, "progress": step, "message": MESSAGE}
        notify({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    return text("done")


@contextlib.asynccontextmanager
async def stalled(gw: World, name: str, **meta: Any) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """A client that has called a tool and does not read, until it is told to read all."""
    url = urlsplit(gw.url)
    body = orjson.dumps(call_body(name, **meta))
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1_024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    lines = (
        f"POST /mcp/hello HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {MODERN}\r\n"
        f"Mcp-Method: tools/call\r\nMcp-Name: {name}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(lines.encode() + body)

    async def rest() -> bytes:
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            return await reader.read(-1)

    try:
        yield rest
    finally:
        writer.close()


def serve(gw: World) -> LocalServer:
    chatty = tool("chatter", annotations={"readOnlyHint": True})
    return gw.serve(
        LocalServer(version("hello"), {"big": big, "chatter": chatter, "echo": echo}, listed={"chatter": chatty})
    )


async def test_a_large_answer_arrives_whole(gw: World) -> None:
    serve(gw)
    status, answer, headers = await gw.modern("/mcp/hello", "tools/call", {"name": "big", "arguments": {}})
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert len(answer["result"]["content"][0]["text"]) == BIG_BYTES


async def test_answers_that_nobody_reads_share_a_budget_and_the_rest_is_refused_in_words() -> None:
    async with world(unsent_bytes_max=BIG_BYTES) as gw:
        server = serve(gw)
        async with stalled(gw, "big"):
            await until(lambda: len(server.calls) == 1 and server.in_flight == 0)
            status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "big", "arguments": {}})
            assert (status, answer["error"]["data"]["code"]) == (503, "limit_reached")
            assert "gateway.unsent_bytes_max" in answer["error"]["data"]["hint"]
            small = await gw.modern("/mcp/hello", "tools/call", {"name": "echo", "arguments": {"text": "hi"}})
            assert small[0] == 200, "who asks for little is not concerned"

        async def allowed() -> bool:
            return (await gw.modern("/mcp/hello", "tools/call", {"name": "big", "arguments": {}}))[0] == 200

        async with asyncio.timeout(5):
            while not await allowed():
                await asyncio.sleep(0.01)  # the node hears of the end of the connection


async def test_notifications_that_nobody_reads_are_dropped_beyond_a_limit_and_the_answer_still_comes(gw: World) -> None:
    server = serve(gw)
    async with stalled(gw, "chatter", progressToken=1) as rest:
        await until(lambda: server.calls == ["chatter"] and server.in_flight == 0)
        received = await rest()
    assert received.count(b"notifications/progress") * len(MESSAGE) <= PENDING_BYTES_MAX + 2 * len(MESSAGE)
    assert received.count(b"notifications/progress") < MESSAGES
    assert b'"text":"done"' in received
