"""The GET side of the handshake era: a session's change stream, and streams that a client takes up again.

A change stream outlives its connection for a while: what happens meanwhile is told to the client when it comes back
with the last id it saw. Beyond that while, or after a restart of the node, the id still says what the client knew of
its lists, so that it is told if they changed, and of each resource that it subscribed to, since nobody watched them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from henslowe.actors.endpoints import Contract, JsonObject
from henslowe.errors import HensloweError
from henslowe.transport.gateway import evidence, naming
from henslowe.transport.gateway.protocol import node_error, response_bytes, sse_frame
from henslowe.transport.gateway.replay import EventId, ReplayStream
from henslowe.transport.gateway.resumable import PRIMED, follow
from henslowe.transport.gateway.scopes import Scope
from henslowe.transport.gateway.serving import Serving
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.gateway.sticky import session_unit
from henslowe.transport.gateway.streams import ChangeStream
from henslowe.transport.mcp import jsonrpc

LINGER_S: Final = 60.0
"""How long a change stream goes on without a connection."""

Again = Callable[[Scope, Session, JsonObject], Awaitable[JsonObject]]
"""Makes a request of a session once more."""


@dataclass(slots=True, eq=False)
class _Listener:
    """A session's change stream and what was sent on it."""

    change: ChangeStream
    replay: ReplayStream
    ending: asyncio.TimerHandle | None = None
    """Set while there is no connection."""


class Listening:
    """Change streams of sessions. Runs in: the node's loop.

    Args:
        serving: Shared by the two eras.
        again: Makes requests once more.
    """

    def __init__(self, serving: Serving, again: Again) -> None:
        self._serving = serving
        self._again = again
        self._of: dict[str, _Listener] = {}
        self._repeating: set[asyncio.Task[None]] = set()

    @property
    def lingering(self) -> int:
        """Change streams without a connection."""
        return sum(listener.ending is not None for listener in self._of.values())

    def stream(self, session_id: str) -> ChangeStream | None:
        """The session's change stream, connected or not."""
        listener = self._of.get(session_id)
        return None if listener is None else listener.change

    async def get(self, request: web.Request, scope: Scope, session: Session) -> web.StreamResponse:
        """Serve a GET: take a stream up again, or the session's change stream. A newer one ends the older."""
        log, last_event_id = self._serving.replay, request.headers.get("Last-Event-ID", "")
        found = log.find(session.id, last_event_id) if last_event_id else None
        if found is not None and found[0].request is not None:
            stream, event_id = found
            if not stream.complete and not stream.live:
                self._repeat(scope, session, stream)
            keepalive_s = self._serving.settings.sse_keepalive_s
            return await follow(request, stream, event_id.number, keepalive_s=keepalive_s, log=log)
        listener, missed = self._take_up(scope, session, last_event_id, found)
        return await self._serve(request, session, listener, missed)

    def end_session(self, session_id: str) -> None:
        """The session is over, and so are its streams."""
        listener = self._of.pop(session_id, None)
        if listener is not None:
            self._end(listener)
        self._serving.replay.end_session(session_id)

    def close(self) -> None:
        """End what goes on without a connection. Idempotent."""
        for listener in self._of.values():
            if listener.ending is not None:
                listener.ending.cancel()
        for task in self._repeating:
            task.cancel()

    # -- change streams ----------------

    def _take_up(
        self, scope: Scope, session: Session, last_event_id: str, found: tuple[ReplayStream, EventId] | None
    ) -> tuple[_Listener, list[tuple[int, bytes]]]:
        """The listener of a new connection, and what its client missed of what was sent."""
        session_id, unit, sessions, log = (
            session.id,
            self._serving.visitors.session(session.id),
            self._serving.sessions,
            self._serving.replay,
        )

        def subscribed() -> Collection[str]:
            current = sessions.get(session_id)
            return () if current is None else current.subscriptions

        change = ChangeStream(scope.name, lambda: scope.view(unit), scope.routed, subscribed=subscribed, unit=unit.key)
        older = self._of.pop(session_id, None)
        if found is not None and older is not None and older.replay is found[0]:
            change.take_over(older.change)
        elif last_event_id:
            event_id = EventId.parse(last_event_id)
            change.catch_up(event_id.note if event_id is not None else last_event_id)
            for uri in subscribed():
                change.updated(uri, {"uri": uri})
        if older is not None:
            self._end(older)
        replay = found[0] if found is not None else log.open(session_id, None)
        listener = self._of[session_id] = _Listener(change, replay)
        return listener, [] if found is None else replay.since(found[1].number)

    async def _serve(
        self, request: web.Request, session: Session, listener: _Listener, missed: list[tuple[int, bytes]]
    ) -> web.StreamResponse:
        change, replay, log, sessions = listener.change, listener.replay, self._serving.replay, self._serving.sessions

        def encode(event: JsonObject) -> bytes:
            message = orjson.dumps({"jsonrpc": "2.0", **event})
            log.append(replay, message)
            return sse_frame(message, replay.id(note=change.digest()))

        def alive() -> bool:
            sessions.seen(session.id)  # a client that listens is there
            log.touch(replay)
            return sessions.get(session.id) is not None

        opening = b"".join(sse_frame(message, replay.id(number, change.digest())) for number, message in missed)
        if not opening and session.protocol_version >= PRIMED:
            opening = b"id: %b\ndata: \n\n" % replay.id(note=change.digest()).encode()
        try:
            return await self._serving.pump(
                request, change, encode=encode, opening=opening, alive=alive, lingers=lambda: self._lingers(session.id)
            )
        finally:
            if self._of.get(session.id) is listener and self._lingers(session.id):
                loop = asyncio.get_running_loop()
                listener.ending = loop.call_later(LINGER_S, self._expire, session.id, listener)

    def _lingers(self, session_id: str) -> bool:
        """Whether a stream whose connection is lost goes on."""
        return self._serving.replay.enabled and self._serving.sessions.get(session_id) is not None

    def _expire(self, session_id: str, listener: _Listener) -> None:
        if self._of.get(session_id) is listener:
            del self._of[session_id]
        self._end(listener)

    def _end(self, listener: _Listener) -> None:
        if listener.ending is not None:
            listener.ending.cancel()
        listener.change.end()
        self._serving.drop(listener.change)

    # -- calls that died with the node ----------------

    def _repeat(self, scope: Scope, session: Session, stream: ReplayStream) -> None:
        """Answer a request whose call the last life of the node left under way."""
        stream.live = True
        task = asyncio.get_running_loop().create_task(self._answer_again(scope, session, stream))
        self._repeating.add(task)
        task.add_done_callback(self._repeating.discard)

    async def _answer_again(self, scope: Scope, session: Session, stream: ReplayStream) -> None:
        message = stream.request
        assert message is not None
        try:
            await scope.facts(self._serving.visitors.session(session.id))  # an instance is up
            if _may_repeat(scope, session, message):
                answer = await self._again(scope, session, message)
            else:
                answer = jsonrpc.error(
                    jsonrpc.INTERNAL_ERROR,
                    "the node was restarted while this call was under way; it may have run",
                    {"code": "upstream_lost", "sent": True},
                )
        except HensloweError as error:
            answer = node_error(error)
        self._serving.replay.append(stream, response_bytes(message["id"], answer), last=True)


def _may_repeat(scope: Scope, session: Session, message: JsonObject) -> bool:
    method, params = message["method"], message.get("params")
    view = scope.view(session_unit(session.id))
    contract = next(iter(view.values()), Contract())
    if not scope.name and method == "tools/call":
        target = naming.split(str((params or {}).get("name")))
        contract = view.get(target[0], Contract()) if target is not None else Contract()
        params = {"name": target[1]} if target is not None else None
    return evidence.may_repeat(method, params, contract)
