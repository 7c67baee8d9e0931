"""An MCP endpoint with a handful of tools, served by the small node beside its admin API."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request


async def mcp_hello(request: web.Request) -> web.StreamResponse:
    """An MCP endpoint; refuses what the SDK would not take for a modern request."""
    message = orjson.loads(await request.read())
    route = classify_inbound_request(message, headers={key.lower(): value for key, value in request.headers.items()})
    if not isinstance(route, InboundModernRoute):
        return web.json_response(
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": f"{route}"}}, status=400
        )
    params = message["params"]
    if message["method"] == "tools/list":
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": _tools_page(params.get("cursor"))})
    name, arguments = params["name"], params["arguments"]
    result: dict[str, Any] = {"resultType": "complete", "content": [], "isError": False}
    if name == "greet":
        result["content"] = [{"type": "text", "text": f"Hello, {arguments.get('name', '?')}!"}]
    elif name == "grüße":
        result |= {"structuredContent": {"gruß": "Hallo"}}
    elif name == "fail":
        result |= {"content": [{"type": "text", "text": "it\x1b[2J broke"}], "isError": True}
    elif name == "hang":
        await asyncio.Event().wait()
    elif name == "ask":
        result = {"resultType": "input_required", "inputRequests": {}}
    else:
        error = {"code": -32602, "message": f"Unknown tool: {name}"}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    if name != "fail":
        return web.json_response(answer)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    for each in (progress, answer):
        await response.write(b"event: message\ndata: " + orjson.dumps(each) + b"\n\n")
    return response


def _tools_page(cursor: str | None) -> dict[str, Any]:
    """Two pages of one tool each."""
    if cursor is None:
        schema = {"type": "object", "properties": {"name": {}, "loud": {}}, "required": ["name"]}
        tool = {"name": "greet", "description": "Greet somebody.\nBy name.", "inputSchema": schema}
        return {"resultType": "complete", "tools": [tool], "nextCursor": "2"}
    return {"resultType": "complete", "tools": [{"name": "fail\x1b[2J", "inputSchema": {"type": "object"}}]}
