"""An MCP server over HTTP whose tools do what servers in the wild do, and worse."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from henslowe.actors.endpoints import Era
from tests.transport.gateway.world import MODERN

HUGE_BYTES = 14 * 1024 * 1024
"""More than sockets hold, and less than a message may have."""
TOOLS = [
    {"name": "echo", "inputSchema": {"type": "object"}},
    {"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "deep", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {
        "name": "priced",
        "inputSchema": {"type": "object", "properties": {"price": {"type": "string", "x-mcp-header": "Price"}}},
    },
]


class Server:
    """An MCP server over HTTP whose tools misbehave as they are told."""

    def __init__(self, era: Era) -> None:
        self.era = era
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.told: list[str] = []
        self.fields: list[tuple[tuple[bytes, bytes], ...]] = []

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.fields.append(request.raw_headers)
        message = orjson.loads(await request.read())
        method, params = message["method"], message.get("params") or {}
        if "id" not in message:
            self.told.append(method)
            return web.Response(status=202)
        if method == "server/discover":
            if self.era is Era.LEGACY:
                return self.said(message, error={"code": -32601, "message": "Method not found"})
            return self.said(message, {"supportedVersions": [MODERN], "capabilities": {"tools": {}}})
        if method == "initialize":
            info = {"name": "shop", "version": "1"}
            revision = params["protocolVersion"]
            return self.said(message, {"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": info})
        if method == "tools/list":
            return self.said(message, {"tools": TOOLS})
        if method == "tasks/get":
            return self.said(message, {"resultType": "complete", **self.task(params["taskId"])})
        if method != "tools/call":
            return self.said(message, error={"code": -32601, "message": "Method not found"})
        return await self.tool(request, message, params.get("name"), params.get("arguments") or {})

    async def refuse(self, _request: web.Request) -> web.Response:
        return web.Response(status=405)

    async def tool(self, request: web.Request, message: Any, name: Any, arguments: Any) -> web.StreamResponse:
        self.calls.append(str(name))
        content = {"content": [{"type": "text", "text": str(arguments)}], "isError": name == "fails"}
        if name in ("http_500", "rubbish", "deep"):
            return self.wrong(message, name)
        if name in ("refuses", "busy"):
            error = {"code": -32603, "message": "no", "data": {"why": "because"}}
            later = {"code": -32000, "message": "later", "data": {"retry_after_s": 3}}
            return self.said(message, error=error if name == "refuses" else later)
        if name in ("huge", "large"):
            size = HUGE_BYTES if name == "huge" else 100_000
            return self.said(message, {**content, "content": [{"type": "text", "text": "x" * size}]})
        if name == "drops" or (name == "drops_once" and self.calls.count(name) % 2):
            assert request.transport is not None
            request.transport.abort()
        if name == "later":
            return self.said(message, {"resultType": "task", **self.task("theirs")})
        if name == "asks":
            questions = {"q": {"method": "elicitation/create", "params": {"message": "which?"}}}
            return self.said(message, {"resultType": "input_required", "inputRequests": questions})
        if name == "waits":
            await self.wait()
        if name in ("streams", "batches"):
            return await self.talk(request, name, {"jsonrpc": "2.0", "id": message["id"], "result": content})
        return self.said(message, content)

    async def wait(self) -> None:
        self.entered.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def talk(self, request: web.Request, name: str, answer: Any) -> web.StreamResponse:
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "busy"}}
        if name == "batches":
            return web.Response(body=orjson.dumps([log, answer]), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for each in (log, answer):
            await response.write(b"data: " + orjson.dumps(each) + b"\n\n")
        return response

    def wrong(self, message: Any, name: str) -> web.Response:
        if name == "http_500":
            return web.Response(status=500, text="broken")
        result = b'{"content":[],"ttlMs":5000,"structuredContent":{"a":%b}}' % (b"[" * 400 + b"]" * 400)
        body = b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (message["id"], result)
        return web.Response(body=body if name == "deep" else b"{rubbish", content_type="application/json")

    @staticmethod
    def task(task_id: str) -> dict[str, Any]:
        times = {"createdAt": "2026-11-20T00:00:00Z", "lastUpdatedAt": "2026-11-20T00:00:00Z"}
        return {"taskId": task_id, "status": "working", "ttlMs": 60_000, "pollIntervalMs": 100, **times}

    def said(self, message: Any, result: Any = None, **error: Any) -> web.Response:
        answer = {"result": result} if result is not None else error
        body = {"jsonrpc": "2.0", "id": message["id"], **answer}
        return web.Response(body=orjson.dumps(body), content_type="application/json")
