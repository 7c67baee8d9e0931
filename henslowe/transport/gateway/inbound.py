"""From bytes and headers to a message that may be acted on: decoding, the choice of era, and header validation.

Pure but for reading the body. Nothing here knows services or versions: whether a method exists and where it goes is
decided by `legacy` and `modern`. The modern ladder itself is the SDK's `classify_inbound_request`, used as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import hdrs, web

from henslowe.actors.endpoints import JsonObject
from henslowe.transport.gateway.protocol import Refused
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.headers import PARAM_PREFIX, TRACING
from henslowe.transport.mcp.sdk import pure

if TYPE_CHECKING:
    from mcp.shared.inbound import InboundModernRoute

_LEGACY_VERSIONS: Final = frozenset(eras.LEGACY_VERSIONS)
_MODERN_ONLY: Final = frozenset({"server/discover", "subscriptions/listen"})
_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
_OF_TASKS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""Methods of an extension, whose name-bearing header the SDK's ladder does not know."""
_TRACING: Final = frozenset(name.encode() for name in TRACING)
_PARAM_PREFIX: Final = PARAM_PREFIX.encode()
JSON_TYPE: Final = "application/json"
_JSON_TYPES: Final = ("application/json", "application/*", "*/*")
_SSE_TYPES: Final = ("text/event-stream", "text/*", "*/*")
DEPTH_MAX: Final = 128
"""Levels of nesting in a request; servers and encoders have limits of their own, and less clear words for them."""
AGREED_MAX: Final = 64
"""Bodies that are remembered to agree with one head: most have one, since the head names method and tool."""
_ACCEPTS: dict[str, tuple[bool, bool]] = {}
_ACCEPTS_MAX: Final = 256
"""Distinct Accept headers remembered; real clients have a handful."""


async def read_body(request: web.Request, limit: int, timeout_s: float) -> bytes:
    """The body, at most `limit` bytes.

    Raises:
        Refused: 413 when it is longer, 415 when it is not JSON, 408 when it does not come within `timeout_s`, 400 when
            it is not compressed as it says.
    """
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    if JSON_TYPE not in (content_type, request.content_type):
        raise Refused(415, jsonrpc.INVALID_REQUEST, f"expected Content-Type application/json, got: {content_type!r}")
    length = request.content_length
    if length is not None:
        if length > limit:
            raise _too_large(limit)
        # A compressed body's length is not that of its content.
        if request.content.is_eof() and hdrs.CONTENT_ENCODING not in request.headers:
            return request.content.read_nowait()
    chunks = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                chunks += chunk
                if len(chunks) > limit:
                    raise _too_large(limit)
    except web.RequestPayloadError:
        raise Refused(400, jsonrpc.PARSE_ERROR, "Parse error: the body is not encoded as its headers say") from None
    except TimeoutError:
        raise Refused(
            408, jsonrpc.INVALID_REQUEST, f"expected the whole body within {timeout_s:g} s", Connection="close"
        ) from None
    return bytes(chunks)


def decode(body: bytes) -> Any:
    """The JSON value of a body: an object, or an array where a revision has batches.

    Raises:
        Refused: It is not JSON, neither object nor array, or nested deeper than `DEPTH_MAX`.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, jsonrpc.PARSE_ERROR, f"Parse error: {error}") from None
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and depth_of(message) > DEPTH_MAX:
        raise Refused(400, jsonrpc.INVALID_REQUEST, f"expected at most {DEPTH_MAX} levels of nesting, got more")
    if not isinstance(message, dict | list):
        raise Refused(400, jsonrpc.INVALID_REQUEST, f"expected one JSON-RPC message, got: {type(message).__name__}")
    return message


def depth_of(value: Any) -> int:
    """How deep arrays and objects are nested, 0 for neither; without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > DEPTH_MAX:
            break  # deep enough to be refused
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def is_modern(version_header: str | None, message: Any) -> bool:
    """Whether a POST speaks the stateless era: by its header, else by the envelope in its `_meta`, else by its method.

    A header that names no handshake revision counts as modern, so that the ladder answers it in words.
    """
    if version_header is not None:
        if version_header not in _LEGACY_VERSIONS:
            return True
    elif isinstance(message, dict) and str(message.get("method")) in _MODERN_ONLY:  # it may be no string
        return True
    try:
        return eras.PROTOCOL_VERSION_META in message["params"]["_meta"]
    except (KeyError, TypeError):
        return False


def check_shape(message: JsonObject) -> None:
    """Accept what is a JSON-RPC 2.0 request, notification or response.

    Raises:
        Refused: 400; with -32600, or -32602 for parameters that no server should be sent.
    """
    if message.get("jsonrpc") != "2.0":
        raise Refused(400, jsonrpc.INVALID_REQUEST, f'expected "jsonrpc": "2.0", got: {_short(message.get("jsonrpc"))}')
    if "id" in message:
        request_id = message["id"]
        if type(request_id) is not int and type(request_id) is not str:
            raise Refused(
                400, jsonrpc.INVALID_REQUEST, f"expected id to be a string or an integer, got: {_short(request_id)}"
            )
    if "method" in message:
        method = message["method"]
        if type(method) is not str:
            raise Refused(400, jsonrpc.INVALID_REQUEST, "expected method to be a string")
        params = message.get("params")
        if params is not None and type(params) is not dict:
            raise Refused(400, jsonrpc.INVALID_PARAMS, f"expected params to be an object, got: {_short(params)}")
        if "id" in message:
            _check_request(method, params or {})
    elif "id" not in message or ("result" not in message and "error" not in message):
        raise Refused(400, jsonrpc.INVALID_REQUEST, "expected a request, a notification or a response")


def _check_request(method: str, params: JsonObject) -> None:
    """Accept what a server can be expected to answer.

    Servers are shared: one that takes a name of the wrong type badly would be missed by everybody, and to one that goes
    by the method alone, a cancellation with an id ends the call of whoever has that number on its connection.
    """
    if method.startswith("notifications/"):
        raise Refused(400, jsonrpc.INVALID_REQUEST, f"expected a notification to have no id: {method[:80]}")
    name = eras.NAME_PARAM.get(method)
    if name is not None and type(params.get(name)) is not str:
        raise Refused(400, jsonrpc.INVALID_PARAMS, f"expected {name} to be a string, got: {_short(params.get(name))}")
    arguments, meta = params.get("arguments") if name == "name" else None, params.get("_meta")
    if arguments is not None and type(arguments) is not dict:
        raise Refused(400, jsonrpc.INVALID_PARAMS, f"expected arguments to be an object, got: {_short(arguments)}")
    if meta is not None and type(meta) is not dict:
        raise Refused(400, jsonrpc.INVALID_PARAMS, f"expected _meta to be an object, got: {_short(meta)}")


def wants_progress(params: JsonObject | None) -> bool:
    """Whether a request carries a progress token."""
    meta = None if params is None else params.get("_meta")
    return isinstance(meta, dict) and "progressToken" in meta


def accepted(accept: str | None) -> tuple[bool, bool]:
    """Whether the client takes JSON, and whether it takes an event stream; both when it does not say."""
    if accept is None:
        return True, True
    known = _ACCEPTS.get(accept)
    if known is None:
        types = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
        known = any(t in _JSON_TYPES for t in types), any(t in _SSE_TYPES for t in types)
        if len(_ACCEPTS) < _ACCEPTS_MAX:
            _ACCEPTS[accept] = known
    return known


def check_modern(message: JsonObject, headers: Mapping[str, str]) -> InboundModernRoute:
    """The envelope of a modern request whose headers and body agree.

    Raises:
        Refused: 400 with -32602, -32020 or -32022, as the specification's ladder says.
    """
    verdict = pure.classify_inbound_request(message, headers=headers)
    if isinstance(verdict, pure.InboundLadderRejection):
        raise Refused(400, verdict.code, verdict.message, verdict.data)
    if message["method"] in _OF_TASKS:
        task_id, name = message["params"].get("taskId"), headers.get("Mcp-Name")
        if task_id is not None and (name is None or pure.decode_header_value(name) != task_id):
            raise Refused(
                400, jsonrpc.HEADER_MISMATCH, "Mcp-Name header does not match the request body's 'taskId' parameter"
            )
    return verdict


def check_modern_again(message: JsonObject, headers: Mapping[str, str], agreed: set[tuple[Any, ...]]) -> JsonObject:
    """The `_meta` of a modern request whose headers and body agree, as `check_modern` finds out.

    All that it looks at is remembered in `agreed`, which belongs to these headers: most bodies are like one before.

    Raises:
        Refused: As `check_modern`.
        TypeError: Something that has to be a string cannot even be looked up.
    """
    method, params = message["method"], message.get("params")
    meta = params.get("_meta") if params is not None else None
    if params is None or not isinstance(meta, dict):
        raise Refused(400, jsonrpc.INVALID_PARAMS, "expected params._meta to be an object")
    # A header repeats all of these, which bounds what is kept.
    looked_at = (
        method,
        eras.name_in(method, params),
        meta.get(eras.PROTOCOL_VERSION_META),
        eras.CLIENT_CAPABILITIES_META in meta,
    )
    if looked_at not in agreed:
        check_modern(message, headers)
        if len(agreed) < AGREED_MAX:
            agreed.add(looked_at)
    return meta


def forwarded_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that travel on to the server: `Mcp-Param-*` and the trace context, and no other.

    What is chosen here is all that the rest of the gateway ever has of a client's headers. A link writes none but these
    whoever asks it (`headers.passed_on`): two locks, since behind them are the clients' credentials.

    Raises:
        Refused: A routing header or a parameter header appears twice, so that two readers might see two values.
    """
    forwarded: dict[str, str] = {}
    routing: set[bytes] | None = None
    for name, value in raw_headers:
        if name[:1] not in b"mMtTbB":
            continue
        lower = name.lower()
        if lower in _ROUTING:
            if routing is None:
                routing = set()
            elif lower in routing:
                raise _twice(lower)
            routing.add(lower)
        elif lower.startswith(_PARAM_PREFIX):
            key = lower.decode("latin-1")
            if key in forwarded:
                raise _twice(lower)
            forwarded[key] = value.decode("utf-8", "surrogateescape")
        elif lower in _TRACING:
            key, said = lower.decode("latin-1"), value.decode("latin-1")
            forwarded[key] = f"{forwarded[key]},{said}" if key in forwarded else said  # lists may come in pieces
    return forwarded


def _twice(name: bytes) -> Refused:
    return Refused(400, jsonrpc.HEADER_MISMATCH, f"{name.decode('latin-1')} header appears more than once")


def _too_large(limit: int) -> Refused:
    return Refused(
        413, jsonrpc.INVALID_REQUEST, f"expected a body of at most {limit} bytes, got more", Connection="close"
    )


def _short(value: Any) -> str:
    return repr(value)[:80]
