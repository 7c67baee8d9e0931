"""Batches: several messages in one POST, which two revisions of the handshake era had. Each is served as if alone.

What a member asks is answered by `legacy`; here they are taken apart, and their answers put together. The answers are
counted as those of single requests are (`unsent`), from when they are there until the client has taken all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

from aiohttp import hdrs, web

from henslowe.actors.endpoints import JsonObject
from henslowe.errors import HensloweError
from henslowe.transport.gateway import inbound
from henslowe.transport.gateway.protocol import Refused, node_error, response_pieces
from henslowe.transport.gateway.scopes import Scope
from henslowe.transport.gateway.serving import Serving
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.gateway.unsent import send_slices
from henslowe.transport.http_guard import cors_headers
from henslowe.transport.mcp import jsonrpc
from henslowe.transport.mcp.large_json import Pieces

BATCH_MAX: Final = 100
"""Messages in one batch; the revisions that had batches named no limit."""
_REVISIONS: Final = frozenset({"2024-11-05", "2025-03-26"})


class Batches:
    """Serves batches. One per gateway, on the node's loop.

    Args:
        serving: Counts what clients have not taken.
        answer: The answer to a request of a session.
        notified: Takes a notification of one.
    """

    def __init__(
        self,
        serving: Serving,
        answer: Callable[[Scope, Session, JsonObject], Awaitable[JsonObject]],
        notified: Callable[[Session, str, JsonObject | None], None],
    ) -> None:
        self._serving = serving
        self._answer = answer
        self._notified = notified

    async def post(
        self, request: web.Request, scope: Scope, session: Session, messages: list[Any]
    ) -> web.StreamResponse:
        """Serve the messages at once.

        Raises:
            Refused: The session's revision has no batches, or there are none, or too many messages.
        """
        if session.protocol_version not in _REVISIONS:
            raise Refused(400, jsonrpc.INVALID_REQUEST, f"{session.protocol_version} has no batches; send one message")
        if not 0 < len(messages) <= BATCH_MAX:
            raise Refused(400, jsonrpc.INVALID_REQUEST, f"expected 1 to {BATCH_MAX} messages, got: {len(messages)}")
        with ExitStack() as held:
            async with asyncio.TaskGroup() as group:
                members = [group.create_task(self._member(scope, session, each, held)) for each in messages]
            responses = [response.joined() for member in members if (response := member.result()) is not None]
            if not responses:
                return web.Response(status=202)
            body = Pieces([b"[", b",".join(responses), b"]"])
            del members, responses
            headers = {hdrs.CONTENT_TYPE: inbound.JSON_TYPE, **cors_headers(request)}
            return await send_slices(request, web.StreamResponse(headers=headers), body)

    async def _member(self, scope: Scope, session: Session, message: Any, held: ExitStack) -> Pieces | None:
        """The response to one message, counted from now on; None for what has none."""
        request_id = message.get("id") if isinstance(message, dict) else None
        try:
            answer = await self._answered(scope, session, message)
            if answer is None:
                return None
            response = response_pieces(request_id, answer)
            held.enter_context(self._serving.unsent.holding(len(response)))
        except Refused as refused:
            return response_pieces(request_id, refused.answer())
        except HensloweError as error:
            return response_pieces(request_id, node_error(error))
        return response

    async def _answered(self, scope: Scope, session: Session, message: Any) -> JsonObject | None:
        if not isinstance(message, dict):
            raise Refused(400, jsonrpc.INVALID_REQUEST, "expected a JSON-RPC message")
        inbound.check_shape(message)
        method = message.get("method")
        if method == "initialize":
            raise Refused(400, jsonrpc.INVALID_REQUEST, "initialize must not be part of a batch")
        if method is None:
            self._serving.answered(session.id, message)
            return None
        if "id" not in message:
            self._notified(session, method, message.get("params"))
            return None
        return await self._answer(scope, session, message)
