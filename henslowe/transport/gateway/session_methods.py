"""What a session asks of the gateway itself: its log level, its subscriptions, a ping.

They belong to the session, which no server has: servers are told of them (`wishes`, `watches`), whichever answers next.
"""

from __future__ import annotations

from typing import Final

from henslowe.actors.endpoints import Era, JsonObject
from henslowe.errors import HensloweError
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.protocol import LOG_RANK, node_error
from henslowe.transport.gateway.scopes import Scope
from henslowe.transport.gateway.serving import Serving
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.mcp import jsonrpc

_MODERN_ONLY: Final = frozenset({"server/discover", "subscriptions/listen"})
OURS: Final = _MODERN_ONLY | {"logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"}
"""Requests that belong to the session, which is the gateway's."""


class SessionMethods:
    """Answers them. One per gateway, on the node's loop."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def answer(self, scope: Scope, session: Session, method: str, params: JsonObject | None) -> JsonObject:
        """The answer to what is the gateway's own to answer."""
        if method == "ping":
            return {"result": {}}
        if method == "logging/setLevel":
            return await self._set_level(scope, session, params)
        if method in _MODERN_ONLY:
            return jsonrpc.error(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {method}")
        return await self._subscribe(scope, session, method, params)

    async def _set_level(self, scope: Scope, session: Session, params: JsonObject | None) -> JsonObject:
        level = (params or {}).get("level")
        if not isinstance(level, str) or level not in LOG_RANK:
            return jsonrpc.error(jsonrpc.INVALID_PARAMS, f"expected level to be one of {', '.join(LOG_RANK)}")
        await self._serving.sessions.update(session.id, log_level=level)
        self._serving.wishes.level(scope.name, level, scope.routed)
        await self._tell_own(session, "logging/setLevel", {"level": level})
        return {"result": {}}

    async def _tell_own(self, session: Session, method: str, params: JsonObject) -> None:
        """Tell the session's own connections what it wants from now on."""
        if self._serving.privates is not None:
            await self._serving.wishes.tell(session, self._serving.privates.of(session.id), method, params)

    async def _subscribe(self, scope: Scope, session: Session, method: str, params: JsonObject | None) -> JsonObject:
        uri = (params or {}).get("uri")
        if not isinstance(uri, str):
            return jsonrpc.error(jsonrpc.INVALID_PARAMS, "expected uri to be a string")
        if method == "resources/subscribe":
            # Asked of the server too, so that its refusal is the client's; `watches` keeps it up from then on.
            answer = await scope.call(Ask(self._serving.visitors.session(session.id), method, params, Era.LEGACY))
            if "error" in answer:
                return answer
            change = {"subscribe": uri}
        else:
            change = {"unsubscribe": uri}
        try:
            await self._serving.sessions.update(session.id, **change)
        except HensloweError as error:
            return node_error(error)
        self._serving.watches.reconcile(scope.routed())
        await self._tell_own(session, method, {"uri": uri})
        return {"result": {}}
