"""A refusal at the edge, before any route saw the request: data, and its form as a response."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from aiohttp import web


@dataclass(slots=True, frozen=True)
class Denied:
    """Why a request is turned away: the status, a code for programs, a sentence, and what to change."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def response_of(path: str, denied: Denied) -> web.Response:
    """The refusal in the words of the route: JSON-RPC for MCP clients, the error contract for everyone else."""
    if path == "/mcp" or path.startswith("/mcp/"):
        error = {"code": -32000, "message": denied.message, "data": {"code": denied.code, "hint": denied.hint}}
        body: dict[str, object] = {"jsonrpc": "2.0", "id": None, "error": error}
    else:
        body = {"error": {"code": denied.code, "message": denied.message, "hint": denied.hint, "details": {}}}
    return web.Response(
        status=denied.status, body=orjson.dumps(body), content_type="application/json", headers=dict(denied.headers)
    )
