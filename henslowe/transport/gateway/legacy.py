"""The handshake era towards clients: 2025-11-25 and earlier, with sessions that the gateway mints and keeps.

A session is a row and nothing else: it names no version, no instance and no connection, which is why it survives
promotions, rollbacks, crashes and restarts of the node. Its id is also its unit of routing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from henslowe.actors.endpoints import Era, JsonObject
from henslowe.transport.access.asker import asker
from henslowe.transport.gateway import inbound
from henslowe.transport.gateway.batches import Batches
from henslowe.transport.gateway.dialogue import NO_CAPABILITIES, Ask
from henslowe.transport.gateway.exchange import Exchange, json_response
from henslowe.transport.gateway.head import Caller, Head
from henslowe.transport.gateway.listening import Listening
from henslowe.transport.gateway.private import SessionClient
from henslowe.transport.gateway.protocol import (
    CLIENT_FAILED,
    LOG_RANK,
    SESSION_HEADER,
    SESSION_NOT_FOUND,
    Refused,
)
from henslowe.transport.gateway.questions import AskedClient, Question
from henslowe.transport.gateway.resumable import ResumableExchange
from henslowe.transport.gateway.scopes import Scope
from henslowe.transport.gateway.serving import Begun, Serving, offered
from henslowe.transport.gateway.session_methods import OURS, SessionMethods
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.gateway.sole_clients import SoleClients
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.link import NO_HEADERS

KNOWN_MAX: Final = 1_000
"""Sessions whose calls are prepared; when there are more, all are forgotten: to prepare one costs 3 us."""
_SESSION_ID_CHARS_MAX: Final = 128
"""Ours have 32; a longer one is nobody's, and not worth a look at the table."""


@dataclass(slots=True, frozen=True)
class _Known:
    """What calls of one session have in common. Plain attributes: reading one of a row costs ten times as much."""

    session: Session
    scope: str
    principal: str
    log_level: str
    client: AskedClient
    mute: AskedClient
    """The same client, where it takes no event stream."""
    own: SessionClient | None
    thinking_s: Callable[[], float]


class Legacy:
    """POST, GET and DELETE of clients that shook hands."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._known: dict[str, _Known] = {}
        self._listening = Listening(serving, self._unlistened)
        self._batches = Batches(serving, self._unlistened, self._notified)
        self._methods = SessionMethods(serving)
        self._sole = SoleClients(serving, self._listening)

    async def post(self, request: web.Request, scope: Scope, message: Any, *, sse: bool) -> web.StreamResponse:
        """Serve one message, or a batch where the session's revision has them."""
        if isinstance(message, list):
            return await self._batches.post(request, scope, self._session(request, scope), message)
        inbound.check_shape(message)
        method = message.get("method")
        if method == "initialize" and "id" in message:
            return await self._initialize(request, scope, message)
        session = self._session(request, scope)
        if method is None:
            self._serving.answered(session.id, message)
            return web.Response(status=202)
        if "id" not in message:
            self._notified(session, method, message.get("params"))
            return web.Response(status=202)
        return await self._request(request, scope, session, message, sse=sse)

    def plain(self, head: Head, scope: Scope, message: JsonObject, caller: Caller) -> tuple[Ask | None, Session | None]:
        """What a request asks that needs nothing but its server; None for any other, and for one to be refused."""
        inbound.check_shape(message)
        method, params = message["method"], message.get("params")
        if method == "initialize" or method in OURS or method in self._serving.extra:
            return None, None
        session_id, name, request_id = head.session_id, caller.who.name, message["id"]
        known = self._know(session_id, scope, name)
        if known is None or inbound.wants_progress(params):
            return None, None
        self._serving.sessions.seen(session_id)
        if known.log_level:  # this may be a new life of the node
            self._serving.wishes.level(scope.name, known.log_level, scope.routed)
        unit = self._serving.visitors.session(session_id)
        ask = Ask(unit, method, params, Era.LEGACY, NO_HEADERS, name, caller.size, request_id, NO_CAPABILITIES)
        ask.client, ask.session = (known.client, known.own) if head.sse else (known.mute, None)
        ask.thinking_s = known.thinking_s
        return ask, known.session

    def _know(self, session_id: str, scope: Scope, principal: str) -> _Known | None:
        """What is known of a session of this endpoint and principal."""
        session, known = self._serving.sessions.get(session_id), self._known.get(session_id)
        if known is None or known.session is not session:
            found = self._found(session_id, scope, principal)
            return None if found is None else self._learn(found)
        return known if known.scope == scope.name and known.principal == principal else None

    def _learn(self, session: Session) -> _Known:
        """What all calls of a session have in common, as long as its row stays as it is."""
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        known = self._known[session.id] = _Known(
            session,
            session.scope,
            session.principal,
            session.log_level,
            self._client(session, _not_yet),
            self._client(session, None),
            self._sole.of(session),
            partial(self._serving.thinking.total_s, session.id),
        )
        return known

    async def go_on(
        self, request: web.Request, scope: Scope, session: Session, message: JsonObject, begun: Begun, *, sse: bool
    ) -> web.StreamResponse:
        """Serve a request that was begun without a task."""
        return await self._request(request, scope, session, message, sse=sse, begun=begun)

    async def get(self, request: web.Request, scope: Scope) -> web.StreamResponse:
        """Serve the session's change stream, or a stream that its client takes up again."""
        return await self._listening.get(request, scope, self._session(request, scope))

    async def delete(self, request: web.Request, scope: Scope) -> web.StreamResponse:
        """End the session, its stream and its connections."""
        session = self._session(request, scope)
        await self._serving.sessions.close(session.id)
        if self._serving.privates is not None:
            self._serving.privates.end_session(session.id)
        self._listening.end_session(session.id)
        return web.Response(status=200)

    @property
    def lingering(self) -> int:
        """Change streams that wait for their clients to come back."""
        return self._listening.lingering

    def close(self) -> None:
        """End what goes on without a connection. Idempotent."""
        self._listening.close()

    def _session(self, request: web.Request, scope: Scope) -> Session:
        session_id = request.headers.get(SESSION_HEADER)
        if not session_id:
            raise Refused(400, jsonrpc.INVALID_REQUEST, f"expected a {SESSION_HEADER} header; send initialize first")
        session = self._found(session_id, scope, asker(request).name)
        if session is None:
            raise Refused(404, SESSION_NOT_FOUND, "Session not found")
        self._serving.sessions.seen(session_id)
        self._serving.visitors.seen(session_id, request, session.client_info)
        return session

    def _found(self, session_id: str, scope: Scope, principal: str) -> Session | None:
        """The session of this endpoint and principal."""
        if not 0 < len(session_id) <= _SESSION_ID_CHARS_MAX:
            return None
        session = self._serving.sessions.get(session_id)
        if session is None or session.scope != scope.name or session.principal != principal:
            return None
        return session

    async def _initialize(self, request: web.Request, scope: Scope, message: JsonObject) -> web.StreamResponse:
        params = message.get("params") or {}
        requested, client_info = params.get("protocolVersion"), params.get("clientInfo")
        capabilities = params.get("capabilities", {})
        if not isinstance(requested, str):
            raise Refused(400, jsonrpc.INVALID_PARAMS, "expected protocolVersion to be a string")
        if not isinstance(client_info, dict) or not isinstance(capabilities, dict):
            raise Refused(400, jsonrpc.INVALID_PARAMS, "expected clientInfo and capabilities to be objects")
        session_id = secrets.token_urlsafe(24)
        version = requested if requested in eras.LEGACY_VERSIONS else eras.LATEST_LEGACY
        self._serving.visitors.seen(session_id, request, client_info)
        facts = await scope.facts(self._serving.visitors.session(session_id))
        await self._serving.sessions.open(
            session_id,
            scope=scope.name,
            protocol_version=version,
            client_info=client_info,
            capabilities=capabilities,
            principal=asker(request).name,
        )
        result: JsonObject = {
            "protocolVersion": version,
            "capabilities": offered(facts, modern=False),
            "serverInfo": facts.server_info,
        }
        if facts.instructions is not None:
            result["instructions"] = facts.instructions
        return json_response(message["id"], {"result": result}, session_id=session_id)

    def _notified(self, session: Session, method: str, params: JsonObject | None) -> None:
        """Take a notification. Of what means nothing to a gateway that owns the handshake, servers hear of roots."""
        if method == "notifications/cancelled" and params is not None:
            self._serving.cancel(session.id, params.get("requestId"))
        elif method == "notifications/roots/list_changed" and self._serving.privates is not None:
            self._serving.privates.notify(session.id, method, params)

    async def _request(
        self,
        request: web.Request,
        scope: Scope,
        session: Session,
        message: JsonObject,
        *,
        sse: bool,
        begun: Begun | None = None,
    ) -> web.StreamResponse:
        params = message.get("params")
        token = None
        if sse and params is not None:
            meta = params.get("_meta")
            token = meta.get("progressToken") if isinstance(meta, dict) else None
        if session.log_level:  # this may be a new life of the node
            self._serving.wishes.level(scope.name, session.log_level, scope.routed)
        exchange = self._exchange(request, session, message, sse=sse, token=token)
        if begun is not None:
            begun.go_on(exchange)
        work = self._answer(scope, session, message, exchange, begun)
        return await self._serving.run(exchange, work, session_id=session.id)

    def _exchange(
        self, request: web.Request, session: Session, message: JsonObject, *, sse: bool, token: Any
    ) -> Exchange:
        settings, replay = self._serving.settings, self._serving.replay
        log_rank_min = LOG_RANK.get(session.log_level, 0)
        if not sse or not replay.enabled:
            return Exchange(
                request,
                message["id"],
                sse=sse,
                progress_token=token,
                log_rank_min=log_rank_min,
                keepalive_s=settings.sse_keepalive_s,
            )
        return ResumableExchange(
            request,
            message,
            log=replay,
            session=session,
            may_detach=self._serving.may_detach,
            progress_token=token,
            log_rank_min=log_rank_min,
            keepalive_s=settings.sse_keepalive_s,
        )

    def _answer(
        self,
        scope: Scope,
        session: Session,
        message: JsonObject,
        exchange: Exchange | None,
        begun: Begun | None = None,
    ) -> Awaitable[JsonObject]:
        """The answer to be: the gateway's own for what belongs to the session, else the server's."""
        method, params = message["method"], message.get("params")
        if method in OURS:
            return self._methods.answer(scope, session, method, params)
        if method in self._serving.extra:
            return self._serving.extra.answer(method, params, service=scope.name, principal=session.principal)
        listening = exchange if exchange is not None and exchange.sse else None
        on_notification = question = own = None
        if listening is not None:
            on_notification, question = listening.notify, partial(self._serving.question, listening.send, session.id)
            own = self._sole.of(session)
        return scope.call(
            Ask(
                self._serving.visitors.session(session.id),
                method,
                params,
                Era.LEGACY,
                on_notification=on_notification,
                client=self._client(session, question),
                session=own,
                principal="" if exchange is None else exchange.principal,
                size=0 if exchange is None else exchange.size,
                thinking_s=partial(self._serving.thinking.total_s, session.id),
                request_id=None if exchange is None else exchange.request_id,
                begun=begun,
            )
        )

    def _unlistened(self, scope: Scope, session: Session, message: JsonObject) -> Awaitable[JsonObject]:
        """The answer to be for a client that is sent nothing ahead of it."""
        return self._answer(scope, session, message, None)

    @staticmethod
    def _client(session: Session, question: Question | None) -> AskedClient:
        """Whoever a stateless server may ask something."""
        return AskedClient(session.client_info, session.capabilities, session.log_level, question)


async def _not_yet(_method: str, _params: JsonObject) -> JsonObject:
    """Stands for the way to a client while a call has no exchange: a call whose server asks something gets one."""
    return jsonrpc.error(CLIENT_FAILED, "the client does not listen")
