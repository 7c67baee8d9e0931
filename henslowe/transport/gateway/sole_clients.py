"""The client of a session, as servers of its era meet it: asked and told on whichever of its event streams is open.

Only servers with a connection that is the session's alone (`private`) know that there is such a client.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from henslowe.actors.endpoints import JsonObject, SoleClient
from henslowe.transport.gateway.listening import Listening
from henslowe.transport.gateway.private import SessionClient
from henslowe.transport.gateway.protocol import CLIENT_FAILED, LOG_RANK
from henslowe.transport.gateway.serving import Serving
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.gateway.streams import LIST_CHANGES, UPDATED
from henslowe.transport.gateway.tasks import STATUS
from henslowe.transport.gateway.wishes import own_uri
from henslowe.transport.mcp import eras, jsonrpc

_OWN_EVENTS: Final = LIST_CHANGES | {"notifications/elicitation/complete", "notifications/message"}
"""What a session's own connection may announce to it, beside updates of what it subscribed to."""


class SoleClients:
    """Finds the way to clients. One per gateway, on the node's loop."""

    def __init__(self, serving: Serving, listening: Listening) -> None:
        self._serving = serving
        self._listening = listening

    def of(self, session: Session) -> SessionClient | None:
        """Whoever a server of its era may ask something, on a connection that is the session's alone."""
        able = eras.askable(session.capabilities)
        if not able:
            return None
        asked, heard = partial(self._asked, session.id), partial(self._heard, session.id)
        return SessionClient(session.id, SoleClient(able, asked, session.client_info, heard))

    async def _asked(self, session_id: str, method: str, params: JsonObject, _request_id: str | int) -> JsonObject:
        """The answer of a session's client to a request of its server, on whichever of its streams is open."""
        exchange, stream = self._serving.listening(session_id), self._listening.stream(session_id)
        send = exchange.send if exchange is not None else stream.ask if stream is not None else None
        if send is None:
            return jsonrpc.error(CLIENT_FAILED, "the client does not listen")
        try:
            async with asyncio.timeout(self._serving.settings.call_timeout_s):
                return await self._serving.question(send, session_id, method, params)
        except TimeoutError:
            return jsonrpc.error(CLIENT_FAILED, "the client did not answer in time")

    def _heard(self, session_id: str, event: JsonObject) -> None:
        """Pass on what a server announced on a connection that is this session's alone."""
        session, stream, method = (
            self._serving.sessions.get(session_id),
            self._listening.stream(session_id),
            event["method"],
        )
        if session is None or stream is None:
            return
        if method == STATUS:
            for _, told in self._serving.told_of_task(event, unit=stream.unit):
                stream.of_task(told["params"]["taskId"], told)
            return
        if method == UPDATED:
            params = event.get("params") or {}
            for uri in session.subscriptions:
                if params.get("uri") == own_uri(session, uri):
                    stream.updated(uri, {**params, "uri": uri})
            return
        if method not in _OWN_EVENTS:
            return
        if method == "notifications/message":
            level = str((event.get("params") or {}).get("level"))
            if LOG_RANK.get(level, 0) < LOG_RANK.get(session.log_level, 0):
                return
        stream.tell(event)
