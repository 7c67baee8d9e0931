"""JSON-RPC 2.0 as bytes: one message in, one message out, with orjson.

No validation of MCP's shapes happens here and nothing is dropped: a message is the dictionary that was on the wire.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from henslowe.actors.endpoints import JsonObject
from henslowe.transport.mcp.large_json import LongLine, decode

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002
"""Legacy only; the modern era says INVALID_PARAMS with the URI in `data`."""
URL_ELICITATION_REQUIRED: Final = -32042
"""Legacy only; the modern era says `input_required`."""
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022


def request(number: int, method: str, params: JsonObject | None) -> bytes:
    """One request, without a line end.

    Raises:
        TypeError: `params` hold something that JSON cannot say (an integer beyond 64 bits, a lone surrogate).
    """
    if params is None:
        return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method})
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def notification(method: str, params: JsonObject | None) -> bytes:
    """One notification, without a line end."""
    if params is None:
        return orjson.dumps({"jsonrpc": "2.0", "method": method})
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def reply(request_id: Any, answer: JsonObject) -> bytes:
    """The response to a peer's request; `answer` is `{"result": ...}` or `{"error": ...}`."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, **answer})


def error(code: int, message: str, data: Any = None) -> JsonObject:
    """An answer `{"error": {...}}`."""
    body: JsonObject = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"error": body}


def messages(data: bytes | bytearray | LongLine) -> list[JsonObject]:
    """The messages in one JSON text: one object, or the objects of a batch (revision 2025-03-26 had batches).

    In the result of a long line there may be large texts.

    Raises:
        ValueError: It is not JSON, or not made of objects.
    """
    decoded = decode(data) if isinstance(data, LongLine) else orjson.loads(data)
    if isinstance(decoded, dict):
        return [decoded]
    if isinstance(decoded, list) and decoded and all(isinstance(item, dict) for item in decoded):
        return decoded
    raise ValueError(f"expected a JSON-RPC message, got: {type(decoded).__name__}")


def answer_of(message: JsonObject) -> JsonObject:
    """The part of a response that is the answer: `{"result": ...}` or `{"error": ...}`."""
    if "error" in message:
        failure = message["error"]
        if isinstance(failure, dict):
            return {"error": failure}
        return error(INTERNAL_ERROR, f"the server answered with an error that is not an object: {str(failure)[:200]}")
    result = message.get("result")
    if isinstance(result, dict):
        return {"result": result}
    return error(INTERNAL_ERROR, f"the server answered with a result that is not an object: {str(result)[:200]}")


def refusal(method: str) -> JsonObject:
    """The answer to a server's own request: `ping` is answered, and nothing else was offered to it."""
    if method == "ping":
        return {"result": {}}
    return error(METHOD_NOT_FOUND, f"{method} is not offered: the client declared no such capability")
