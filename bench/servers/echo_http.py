"""A fast MCP server over HTTP, both eras: one tool that says what it is told. For measuring what stands before it.

python bench/servers/echo_http.py PORT
"""

import asyncio
import sys
import uuid

import orjson
from aiohttp import web

TOOL = {
    "name": "echo",
    "description": "Says what it is told.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
ME = {"name": "echo", "version": "1"}
MODERN = "2026-07-28"
JSON = {"Content-Type": "application/json"}


def answer(method: str, params: dict) -> dict:
    if method == "tools/call":
        return {"result": {"content": [{"type": "text", "text": params["arguments"]["text"]}], "isError": False}}
    if method == "tools/list":
        return {"result": {"tools": [TOOL]}}
    if method == "initialize":
        version = params["protocolVersion"]
        return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": ME}}
    if method == "server/discover":
        return {"result": {"supportedVersions": [MODERN], "capabilities": {"tools": {}}}}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": "Method not found"}}


async def post(request: web.Request) -> web.Response:
    message = orjson.loads(await request.read())
    if "id" not in message:
        return web.Response(status=202)
    method = message["method"]
    said = answer(method, message.get("params") or {})
    headers = JSON
    if method == "initialize":
        headers = {**JSON, "Mcp-Session-Id": uuid.uuid4().hex}
    elif request.headers.get("MCP-Protocol-Version") == MODERN and "result" in said:
        said["result"] |= {"resultType": "complete", "_meta": {"io.modelcontextprotocol/serverInfo": ME}}
        if method != "tools/call":
            said["result"] |= {"ttlMs": 60_000, "cacheScope": "public"}
    body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], **said})
    return web.Response(status=404 if "error" in said else 200, headers=headers, body=body)


async def refuse(_request: web.Request) -> web.Response:
    return web.Response(status=405)


def main() -> None:
    app = web.Application()
    app.router.add_post("/mcp", post)
    app.router.add_route("*", "/mcp", refuse)
    try:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
