"""The stateless era towards clients: 2026-07-28, where each POST stands alone and says everything about itself.

Headers and body must agree (the SDK's ladder), `server/discover` is answered from what the server said at its start,
`subscriptions/listen` is the gateway's own change stream, and everything else goes to the server of the client's unit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from henslowe.actors.endpoints import Era, JsonObject
from henslowe.transport.access.asker import asker
from henslowe.transport.gateway import inbound, task_news
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.exchange import Exchange, json_response
from henslowe.transport.gateway.head import Caller, Head
from henslowe.transport.gateway.protocol import LOG_RANK, MODERN_STATUS, VERSION_HEADER, Refused, sse_frame
from henslowe.transport.gateway.scopes import Scope, cache_policy
from henslowe.transport.gateway.serving import Begun, Serving, event_frame, offered
from henslowe.transport.gateway.sessions import SUBSCRIPTIONS_MAX
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.streams import PROMPTS, RESOURCES, TOOLS, ChangeStream
from henslowe.transport.gateway.task_news import TaskNews
from henslowe.transport.gateway.tasks import declares, missing_extension
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.sdk import pure

_GONE: Final = frozenset({"initialize", "logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"})
"""Methods that this era no longer has; a legacy server behind the gateway would answer them."""
_FILTERS: Final = {"toolsListChanged": TOOLS, "promptsListChanged": PROMPTS, "resourcesListChanged": RESOURCES}
_OWN: Final = frozenset({"server/discover", "subscriptions/listen"})
"""Methods that the gateway answers itself."""
_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"


def status_of(answer: JsonObject) -> int:
    """The HTTP status of an answer in this era."""
    error = answer.get("error")
    return 200 if error is None else MODERN_STATUS.get(error.get("code"), 200)


class Modern:
    """POST of stateless clients. Every other verb is refused before it gets here."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def post(self, request: web.Request, scope: Scope, message: Any, *, sse: bool) -> web.StreamResponse:
        """Serve one request."""
        if not isinstance(message, dict):
            raise Refused(400, jsonrpc.INVALID_REQUEST, "expected a single JSON-RPC message, got a batch")
        inbound.check_shape(message)
        if "id" not in message:
            return self._notified(request.headers.get(VERSION_HEADER))
        if "method" not in message:
            raise Refused(400, jsonrpc.INVALID_REQUEST, "expected a request or a notification, got a response")
        forwarded = inbound.forwarded_headers(request.raw_headers)
        envelope = inbound.check_modern(message, request.headers)
        unit = self._serving.visitors.stateless(request, envelope.client_info)
        method, params = message["method"], message["params"]
        if method == "tools/call":
            _check_params(request, scope, unit, params)
        elif method == "server/discover":
            return await self._discover(scope, unit, message["id"])
        elif method == "subscriptions/listen":
            return await self._listen(request, scope, message, unit, sse=sse)
        elif method in _GONE:
            raise Refused(404, jsonrpc.METHOD_NOT_FOUND, f"Method not found: {method}")
        elif method in self._serving.extra:
            return await self._extra(request, scope, message, sse=sse)
        return await self._request(request, scope, message, unit, forwarded, sse=sse)

    def plain(self, head: Head, message: JsonObject, caller: Caller) -> Ask | None:
        """What a request asks that needs nothing but its server; None for any other, and for one to be refused.

        Its headers for arguments are left to whoever knows the server: there must be none that matter.
        """
        inbound.check_shape(message)
        method, params = message["method"], message.get("params")
        if head.forwarded is None or method in _OWN or method in _GONE or method in eras.CACHEABLE:
            return None
        meta = inbound.check_modern_again(message, head.routing, head.agreed)
        assert params is not None, "the envelope is in it"
        if method in self._serving.extra or "progressToken" in meta or eras.LOG_LEVEL_META in meta:
            return None
        if "requestState" in params:
            return None
        name = caller.who.name
        unit = self._serving.visitors.unasked(name, meta.get(eras.CLIENT_INFO_META), caller.peer)
        capabilities = eras.askable(meta[eras.CLIENT_CAPABILITIES_META])
        return Ask(unit, method, params, Era.MODERN, head.forwarded, name, caller.size, message["id"], capabilities)

    async def go_on(
        self, request: web.Request, scope: Scope, message: JsonObject, ask: Ask, begun: Begun, *, sse: bool
    ) -> web.StreamResponse:
        """Serve a request that was begun without a task."""
        return await self._request(request, scope, message, ask.unit, ask.headers, sse=sse, begun=begun)

    async def _request(
        self,
        request: web.Request,
        scope: Scope,
        message: JsonObject,
        unit: Unit,
        forwarded: Mapping[str, str],
        *,
        sse: bool,
        begun: Begun | None = None,
    ) -> web.StreamResponse:
        """The response to what is the server's to answer."""
        method, params = message["method"], message["params"]
        meta = params["_meta"]
        level = meta.get(eras.LOG_LEVEL_META)
        if isinstance(level, str) and level in LOG_RANK:
            self._serving.wishes.level(scope.name, level, scope.routed)
        exchange = Exchange(
            request,
            message["id"],
            sse=sse,
            progress_token=meta.get("progressToken"),
            log_rank_min=LOG_RANK.get(level) if isinstance(level, str) else None,
            keepalive_s=self._serving.settings.sse_keepalive_s,
        )
        if begun is not None:
            begun.go_on(exchange)
        work = scope.call(
            Ask(
                unit,
                method,
                params,
                Era.MODERN,
                forwarded,
                on_notification=exchange.notify if sse else None,
                capabilities=eras.askable(meta.get(eras.CLIENT_CAPABILITIES_META)),
                principal=asker(request).name,
                size=request.content_length or 0,
                request_id=exchange.request_id,
                begun=begun,
            )
        )
        if method not in eras.CACHEABLE:
            return await self._serving.run(exchange, work, status_of=status_of)
        return await self._serving.run(
            exchange, work, finish=lambda answer: self._cacheable(scope, unit, method, answer), status_of=status_of
        )

    async def _extra(self, request: web.Request, scope: Scope, message: JsonObject, *, sse: bool) -> web.StreamResponse:
        """The answer of an extension."""
        method, params = message["method"], message.get("params")
        keepalive_s = self._serving.settings.sse_keepalive_s
        exchange = Exchange(
            request, message["id"], sse=sse, progress_token=None, log_rank_min=None, keepalive_s=keepalive_s
        )
        work = self._serving.extra.answer(method, params, service=scope.name, principal=asker(request).name)
        return await self._serving.run(exchange, work, status_of=status_of)

    def _notified(self, version: str | None) -> web.Response:
        """Acknowledge a notification: this era has none that a stateless endpoint could act on."""
        if version not in eras.MODERN_VERSIONS:
            raise Refused(
                400,
                jsonrpc.UNSUPPORTED_VERSION,
                "Unsupported protocol version",
                {"supported": list(eras.MODERN_VERSIONS), "requested": version},
            )
        return web.Response(status=202)

    def _cacheable(self, scope: Scope, unit: Unit, method: str, answer: JsonObject) -> JsonObject:
        result = answer.get("result")
        if not isinstance(result, dict) or result.get("resultType", "complete") != "complete":
            return answer
        # What a resource holds is the server's to know: the node promises nothing about it.
        declared = method == "resources/read" or scope.declares_ttl(unit)
        policy = cache_policy(
            result,
            unsettled=scope.unsettled(),
            declared=declared,
            ttl_ms_max=self._serving.settings.list_ttl_ms,
        )
        return {"result": policy}

    async def _discover(self, scope: Scope, unit: Unit, request_id: Any) -> web.StreamResponse:
        facts = await scope.facts(unit)
        result: JsonObject = {
            "supportedVersions": [*eras.MODERN_VERSIONS, *reversed(eras.LEGACY_VERSIONS)],
            "capabilities": offered(facts, modern=True),
            "resultType": "complete",
            "_meta": {eras.SERVER_INFO_META: facts.server_info},
        }
        if facts.instructions is not None:
            result["instructions"] = facts.instructions
        policy = cache_policy(
            result,
            unsettled=scope.unsettled(),
            declared=False,
            ttl_ms_max=self._serving.settings.list_ttl_ms,
        )
        return json_response(request_id, {"result": policy})

    async def _listen(
        self, request: web.Request, scope: Scope, message: JsonObject, unit: Unit, *, sse: bool
    ) -> web.StreamResponse:
        if not sse:
            raise Refused(406, jsonrpc.INVALID_REQUEST, "expected Accept to include text/event-stream")
        requested, meta = message["params"].get("notifications"), message["params"]["_meta"]
        asks_for_tasks = isinstance(requested, dict) and "taskIds" in requested
        if asks_for_tasks and not declares(meta.get(eras.CLIENT_CAPABILITIES_META)):
            return json_response(message["id"], missing_extension(), status_of(missing_extension()))
        honoured, kinds, uris = _filter_of(requested, scope.readable)
        request_id = message["id"]
        tag = {eras.SUBSCRIPTION_ID_META: request_id}
        visitors, client_info = self._serving.visitors, meta.get(eras.CLIENT_INFO_META)
        stream = ChangeStream(
            scope.name,
            lambda: scope.view(visitors.stateless(request, client_info)),  # the unit moves on with its epoch
            scope.routed,
            kinds=kinds,
            subscribed=lambda: uris,
        )
        who = asker(request).name

        async def look(task_id: str) -> JsonObject:
            params = {"taskId": task_id, "_meta": meta}
            return await scope.call(Ask(unit, "tasks/get", params, Era.MODERN, principal=who))

        news = TaskNews(look, stream.of_task)
        if task_ids := await news.begin(task_news.wanted(requested)):
            honoured["taskIds"] = task_ids
        following = asyncio.get_running_loop().create_task(news.follow())
        acknowledged = event_frame({"method": _ACKNOWLEDGED, "params": {"notifications": honoured}}, tag)
        ended = {"jsonrpc": "2.0", "id": request_id, "result": {"resultType": "complete", "_meta": tag}}
        try:
            return await self._serving.pump(
                request,
                stream,
                encode=lambda event: event_frame(event, tag),
                opening=acknowledged,
                closing=sse_frame(orjson.dumps(ended)),
            )
        finally:
            following.cancel()


def _filter_of(requested: Any, readable: Callable[[str], bool]) -> tuple[JsonObject, frozenset[str], frozenset[str]]:
    """What of a subscription filter is honoured: as the client is told, as kinds, and as resource URIs."""
    if not isinstance(requested, dict):
        raise Refused(400, jsonrpc.INVALID_PARAMS, "expected params.notifications to be an object")
    honoured: JsonObject = {name: True for name in _FILTERS if requested.get(name) is True}
    kinds = frozenset(_FILTERS[name] for name in honoured)
    uris = requested.get("resourceSubscriptions") or []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise Refused(400, jsonrpc.INVALID_PARAMS, "expected resourceSubscriptions to be a list of URIs")
    if len(uris) > SUBSCRIPTIONS_MAX:
        raise Refused(400, jsonrpc.INVALID_PARAMS, f"expected at most {SUBSCRIPTIONS_MAX} URIs, got: {len(uris)}")
    uris = [uri for uri in uris if readable(uri)]
    if uris:
        honoured["resourceSubscriptions"] = uris
    return honoured, kinds, frozenset(uris)


def _check_params(request: web.Request, scope: Scope, unit: Unit, params: JsonObject) -> None:
    """Refuse a tool call whose `Mcp-Param-*` headers and arguments disagree, where the tool's schema declares any."""
    name, arguments = params.get("name"), params.get("arguments")
    if not isinstance(name, str) or not (arguments is None or isinstance(arguments, dict)):
        return
    schema = scope.input_schema(unit, name)
    if schema is None:
        return
    rejection = pure.validate_mcp_param_headers(schema, arguments or {}, request.headers)
    if rejection is not None:
        raise Refused(400, rejection.code, rejection.message, rejection.data)
