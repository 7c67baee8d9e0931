"""Translation between the two eras: pure functions over the dictionaries of the wire.

What an era does not know is added or taken away; everything else, known to us or not, is carried over as it is, so an
extension's field survives. The caller's dictionaries are never changed: they may be captured or sent again.

Not bridged: requests of a server to its client (sampling, elicitation, roots), and change streams, which the gateway
owns. A modern server that asks for input answers a legacy client with an error.
"""

from __future__ import annotations

from typing import Any

from henslowe.actors.endpoints import Era, JsonObject, ServerFacts
from henslowe.transport.mcp import eras, jsonrpc

LOCAL_METHODS = frozenset({"ping", "logging/setLevel", "initialize", "server/discover", "subscriptions/listen"})
"""Methods that `local_answer` may answer: a set to look into before calling it."""


def request_params(params: JsonObject | None, client: Era, facts: ServerFacts, node: JsonObject) -> JsonObject | None:
    """The parameters as the server behind `facts` expects them from a client of era `client`.

    `node` is the client info that a legacy client's request carries towards a modern server.
    """
    if facts.era is Era.MODERN:
        return _for_modern(params, client, facts.protocol_version, node)
    if client is Era.MODERN:
        return _for_legacy(params)
    return params


def answer(answer: JsonObject, method: str, params: JsonObject | None, client: Era, facts: ServerFacts) -> JsonObject:
    """The answer as a client of era `client` expects it; `params` are the client's own."""
    if client is facts.era:
        result = answer.get("result")
        if client is Era.MODERN and result is not None and "resultType" not in result:
            # Servers leave it out, which means "complete", and there are clients that insist on it.
            return {"result": {**result, "resultType": "complete"}}
        return answer
    failure = answer.get("error")
    if failure is not None:
        if client is Era.MODERN:
            return _error_for_modern(failure, params, facts.server_info)
        return {"error": _error_for_legacy(failure, method)}
    if client is Era.MODERN:
        return {"result": result_for_modern(answer["result"], method, facts.server_info)}
    return _result_for_legacy(answer["result"], method)


def local_answer(method: str, params: JsonObject | None, client: Era, facts: ServerFacts) -> JsonObject | None:
    """The answer to what need not or must not reach the server; None when the request should be sent.

    A server is opened once for all clients, so `initialize` and `server/discover` are answered from what it said then.
    """
    if method == "initialize":
        return {"result": initialize_result(facts, (params or {}).get("protocolVersion"))}
    if method == "server/discover":
        return {"result": discover_result(facts)}
    if method == "subscriptions/listen":
        return jsonrpc.error(jsonrpc.METHOD_NOT_FOUND, "subscriptions/listen is not offered on a shared connection")
    if facts.era is Era.MODERN and client is Era.LEGACY and method in ("ping", "logging/setLevel"):
        return {"result": {}}
    return None


def initialize_result(facts: ServerFacts, requested: Any) -> JsonObject:
    """What a legacy client gets from `initialize`: its own revision when we know it, else the latest legacy one."""
    version = requested if requested in eras.LEGACY_VERSIONS else eras.LATEST_LEGACY
    result: JsonObject = {
        "protocolVersion": version,
        "capabilities": facts.capabilities,
        "serverInfo": facts.server_info,
    }
    if facts.instructions is not None:
        result["instructions"] = facts.instructions
    return result


def discover_result(facts: ServerFacts) -> JsonObject:
    """What a modern client gets from `server/discover`."""
    result: JsonObject = {
        "supportedVersions": [*eras.LEGACY_VERSIONS, *eras.MODERN_VERSIONS],
        "capabilities": facts.capabilities,
    }
    if facts.instructions is not None:
        result["instructions"] = facts.instructions
    return result_for_modern(result, "server/discover", facts.server_info)


def result_for_modern(result: JsonObject, method: str, server_info: JsonObject) -> JsonObject:
    """A legacy result with what the modern era requires: `resultType`, the server's info, a cache policy of none."""
    meta = result.get("_meta")
    bridged = {
        **result,
        "resultType": result.get("resultType", "complete"),
        "_meta": {eras.SERVER_INFO_META: server_info, **(meta if isinstance(meta, dict) else {})},
    }
    if method in eras.CACHEABLE:
        bridged.setdefault("ttlMs", 0)
        bridged.setdefault("cacheScope", "private")
    return bridged


def _for_modern(params: JsonObject | None, client: Era, version: str, node: JsonObject) -> JsonObject:
    sent = params or {}
    meta = sent.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    if client is Era.MODERN:
        if meta.get(eras.PROTOCOL_VERSION_META) == version and eras.CLIENT_CAPABILITIES_META in meta:
            return sent
        completed = {eras.CLIENT_CAPABILITIES_META: {}, **meta, eras.PROTOCOL_VERSION_META: version}
        return {**sent, "_meta": completed}
    return {**sent, "_meta": {**meta, **eras.envelope(version, node)}}


def _for_legacy(params: JsonObject | None) -> JsonObject:
    sent = {k: v for k, v in (params or {}).items() if k not in ("inputResponses", "requestState")}
    meta = sent.get("_meta")
    if isinstance(meta, dict):
        kept = {k: v for k, v in meta.items() if k not in eras.REQUEST_META}
        if kept:
            sent["_meta"] = kept
        else:
            del sent["_meta"]
    return sent


def _result_for_legacy(result: JsonObject, method: str) -> JsonObject:
    kind = result.get("resultType", "complete")
    if kind != "complete":
        return jsonrpc.error(
            jsonrpc.INTERNAL_ERROR,
            f"cannot finish {method}: the server answered with {kind!r}, which clients before {eras.LATEST_MODERN} "
            "cannot continue through this node",
        )
    bridged = {k: v for k, v in result.items() if k not in ("resultType", "ttlMs", "cacheScope")}
    meta = bridged.get("_meta")
    if isinstance(meta, dict) and eras.SERVER_INFO_META in meta:
        kept = {k: v for k, v in meta.items() if k != eras.SERVER_INFO_META}
        if kept:
            bridged["_meta"] = kept
        else:
            del bridged["_meta"]
    if "structuredContent" in bridged and not isinstance(bridged["structuredContent"], dict):
        # Legacy results hold objects only; the same value stands as text in `content`, as the specification asks.
        del bridged["structuredContent"]
    if method == "tools/list" and isinstance(bridged.get("tools"), list):
        bridged["tools"] = [_tool_for_legacy(tool) for tool in bridged["tools"]]
    return {"result": bridged}


def _tool_for_legacy(tool: Any) -> Any:
    """A legacy client refuses an output schema whose root is not an object; without one it takes any result."""
    if not isinstance(tool, dict):
        return tool
    schema = tool.get("outputSchema")
    if schema is None or (isinstance(schema, dict) and schema.get("type") == "object"):
        return tool
    return {k: v for k, v in tool.items() if k != "outputSchema"}


def _error_for_modern(failure: JsonObject, params: JsonObject | None, server_info: JsonObject) -> JsonObject:
    code = failure.get("code")
    if code == jsonrpc.RESOURCE_NOT_FOUND:
        return {"error": {**failure, "code": jsonrpc.INVALID_PARAMS}}
    if code == jsonrpc.URL_ELICITATION_REQUIRED:
        return _input_required(failure, params, server_info)
    return {"error": failure}


def _input_required(failure: JsonObject, params: JsonObject | None, server_info: JsonObject) -> JsonObject:
    """A legacy server that wants a URL visited: the modern client is asked to, and then calls again.

    Both eras mean the same: the client opens the URLs and repeats the request, which then runs from the start.
    """
    meta = (params or {}).get("_meta")
    capabilities = meta.get(eras.CLIENT_CAPABILITIES_META) if isinstance(meta, dict) else None
    elicitation = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    data = failure.get("data")
    asked = data.get("elicitations") if isinstance(data, dict) else None
    if not isinstance(asked, list) or not asked:
        return {"error": {**failure, "code": jsonrpc.INTERNAL_ERROR}}
    if not isinstance(elicitation, dict) or "url" not in elicitation:
        return jsonrpc.error(
            jsonrpc.MISSING_CLIENT_CAPABILITY,
            str(failure.get("message", "URL elicitation required")),
            {"requiredCapabilities": {"elicitation": {"url": {}}}},
        )
    requests = {f"url-{n}": {"method": "elicitation/create", "params": item} for n, item in enumerate(asked, 1)}
    return {"result": result_for_modern({"resultType": "input_required", "inputRequests": requests}, "", server_info)}


def _error_for_legacy(failure: JsonObject, method: str) -> JsonObject:
    code, data = failure.get("code"), failure.get("data")
    if code == jsonrpc.INVALID_PARAMS and method == "resources/read" and isinstance(data, dict) and "uri" in data:
        return {**failure, "code": jsonrpc.RESOURCE_NOT_FOUND}
    if code in (jsonrpc.HEADER_MISMATCH, jsonrpc.UNSUPPORTED_VERSION):
        return {**failure, "code": jsonrpc.INTERNAL_ERROR}  # a quarrel between the node and the server
    return failure
