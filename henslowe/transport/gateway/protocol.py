"""Words of the protocol on the client's side: error codes, HTTP statuses, message shapes, SSE frames.

Constants and small pure functions. The words that both sides of the gateway share are in `henslowe.transport.mcp.eras`
and `.jsonrpc`; what is done with them is in `inbound`, `legacy` and `modern`.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from henslowe.actors.endpoints import JsonObject
from henslowe.errors import HensloweError
from henslowe.transport.mcp import jsonrpc, large_json
from henslowe.transport.mcp.large_json import Pieces

SESSION_HEADER: Final = "Mcp-Session-Id"
VERSION_HEADER: Final = "MCP-Protocol-Version"

SESSION_NOT_FOUND: Final = -32001
"""The code that the common SDKs use beside HTTP 404."""
NODE_ERROR: Final = -32000
"""The node itself could not: unknown service, limit reached. `data.code` is the stable code of `henslowe.errors`."""

CLIENT_FAILED: Final = -32010
"""A client did not answer what the server asked of it."""

CALLER_FAULTS: Final = frozenset(
    {CLIENT_FAILED, -32700, -32600, -32601, -32602, -32002, -32020, -32021, -32022, -32042}
)
"""Codes that say something about the caller's request, not about the version that answered."""

MODERN_STATUS: Final = {
    jsonrpc.PARSE_ERROR: 400,
    jsonrpc.INVALID_REQUEST: 400,
    jsonrpc.INVALID_PARAMS: 400,
    jsonrpc.HEADER_MISMATCH: 400,
    jsonrpc.MISSING_CLIENT_CAPABILITY: 400,
    jsonrpc.UNSUPPORTED_VERSION: 400,
    jsonrpc.METHOD_NOT_FOUND: 404,
}
"""HTTP status of a modern error response; every other code travels with 200."""

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
LOG_RANK: Final = {level: rank for rank, level in enumerate(LOG_LEVELS)}

SSE_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
KEEPALIVE: Final = b": keepalive\n\n"


class Refused(HensloweError):
    """A request that ends here, with its HTTP status and JSON-RPC error. Never leaves the gateway."""

    code = "refused"

    def __init__(self, status: int, rpc_code: int, message: str, data: Any = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.rpc_code = rpc_code
        self.data = data
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> JsonObject:
        """The JSON-RPC answer, without `jsonrpc` and `id`."""
        return jsonrpc.error(self.rpc_code, self.message, self.data)


def node_error(error: HensloweError, rpc_code: int = jsonrpc.INTERNAL_ERROR) -> JsonObject:
    """An operating error as a JSON-RPC answer; `data` is its additive contract without the message."""
    return jsonrpc.error(rpc_code, error.message, {"code": error.code, "hint": error.hint, **error.details})


def retry_after(answer: JsonObject) -> str:
    """The value of `Retry-After` for an error that says when to come again, else ""."""
    data = answer["error"].get("data")
    seconds = data.get("retry_after_s") if isinstance(data, dict) else None
    return str(seconds) if type(seconds) is int else ""


def response_bytes(request_id: Any, answer: JsonObject) -> bytes:
    """A JSON-RPC response on the wire; an error where a server's answer is nested too deep to be written."""
    try:
        return large_json.dumps({"jsonrpc": "2.0", "id": request_id, **answer})
    except orjson.JSONEncodeError:
        refused = jsonrpc.error(jsonrpc.INTERNAL_ERROR, "the server's answer is nested too deep", {"code": "too_large"})
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, **refused})


def response_pieces(request_id: Any, answer: JsonObject) -> Pieces:
    """The same in pieces, of which the large texts of the answer are not copied."""
    if large_json.holds_large(answer):
        return Pieces(large_json.split({"jsonrpc": "2.0", "id": request_id, **answer}))
    return Pieces([response_bytes(request_id, answer)])


def sse_frame(message: bytes, event_id: str = "") -> bytes:
    """One JSON-RPC message as a Server-Sent Event."""
    if event_id:
        return b"id: %b\nevent: message\ndata: %b\n\n" % (event_id.encode(), message)
    return b"event: message\ndata: %b\n\n" % message
