"""Calls without a task: from the bytes of a request to those of its answer by plain function calls.

The ordinary request needs nothing but its server, which has a connection to spare and answers in one piece. For such a
request the layers in between are asked only what they would decide (`Legacy.plain`, `Modern.plain`, `Caller.begin`), in
the turn of the loop in which its bytes came; the answer is written in the turn in which it came. Anything else about a
request, and whatever else becomes of it (no answer for a while, an event ahead of it, a stream, a lost connection, a
task), makes it an exchange like any other, from where it is: no rule is written twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from henslowe.actors.access.policy import Policy
from henslowe.actors.access.principal import Principal
from henslowe.actors.endpoints import Endpoint, Era, JsonObject
from henslowe.errors import HensloweError
from henslowe.transport.access.asker import WHO
from henslowe.transport.gateway import inbound
from henslowe.transport.gateway.calls import Attempt, Caller
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.exchange import Exchange
from henslowe.transport.gateway.head import Head
from henslowe.transport.gateway.legacy import Legacy
from henslowe.transport.gateway.modern import Modern, status_of
from henslowe.transport.gateway.protocol import response_bytes, retry_after
from henslowe.transport.gateway.results import Results
from henslowe.transport.gateway.scopes import HeaderSchemas, Scope
from henslowe.transport.gateway.selection import Target
from henslowe.transport.gateway.serving import CANCELLED, Serving, StatusOf, always_ok
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.gateway.tasks import METHODS, made
from henslowe.transport.gateway.unsent import LARGE_BYTES
from henslowe.transport.json_reply import whole
from henslowe.transport.mcp.begun import Begun

_PENDING_MAX: Final = 1_000
"""Notifications between the turn of the loop in which one comes and the one in which the exchange takes them over."""


class Client(Protocol):
    """The connection of a client; see `henslowe.transport.connections.ClientConnection`."""

    peer: str

    def reply(self, answer: bytes) -> None:
        """End the call with a whole response."""
        ...

    def hand_over(self, raw: bytes, handler: Handler) -> None:
        """Go on with the request in a handler, which calls `taken_over` first."""
        ...

    def taken_over(self) -> None:
        """The handler is at work."""
        ...


class InlineCalls:
    """Begins calls. One per gateway, on the node's loop.

    Args:
        scopes: The endpoints that were asked for before.
        policy: What principals may use.
        legacy, modern: Say what a request asks.
        caller: Makes the calls.
        results: What is kept of their answers.
        serving: The calls under way.
        schemas: Know the tools whose arguments travel in headers.
        refusal: The response for a request that ends at the gateway all the same, by what was raised.
    """

    def __init__(
        self,
        scopes: Mapping[Target, Scope],
        policy: Policy,
        *,
        legacy: Legacy,
        modern: Modern,
        caller: Caller,
        results: Results,
        serving: Serving,
        schemas: HeaderSchemas,
        refusal: Callable[[Exception, Scope, JsonObject], web.Response],
    ) -> None:
        self._scopes = scopes
        self._policy = policy
        self.legacy = legacy
        self.modern = modern
        self.caller = caller
        self.results = results
        self.serving = serving
        self.schemas = schemas
        self.refusal = refusal
        self._request_bytes_max = serving.settings.request_bytes_max

    def begin(self, client: Client, head: Head, who: Principal, raw: bytes, at: int) -> InlineCall | None:
        """The call of a request, under way; None, and nothing was done, where it takes a task.

        Args:
            client: Its connection.
            head: What its head says.
            who: Who asks.
            raw: The request as it came.
            at: Where its body begins.
        """
        scope = self._scopes.get(head.target)
        serving = self.serving
        size = len(raw) - at
        if (
            scope is None
            or size > self._request_bytes_max
            or serving.visitors.asked
            or not self._policy.permit(who).everything
        ):
            return None
        try:
            message = inbound.decode(raw[at:])
            if type(message) is not dict or "id" not in message or "method" not in message:
                return None
            call = InlineCall(self, client, head, scope, message)
            call.who, call.peer, call.size = who, client.peer, size
            if not self._ask(call) or (begun := self.caller.begin(head.target, call.ask, call)) is None:
                return None
        except (HensloweError, TypeError):
            return None  # it is refused in words, or cannot be sent on
        call.raw = raw
        call.attempt, call.begun = begun
        serving.opened(call, call.attempt.began_s, call.session_id, call.ask.request_id)
        return call

    def _ask(self, call: InlineCall) -> bool:
        """Give the call what it asks; False where that takes more than its server."""
        head, message = call.head, call.message
        if inbound.is_modern(head.version, message):
            ask, call.status_of = self.modern.plain(head, message, call), status_of
        else:
            ask, session = self.legacy.plain(head, call.scope, message, call)
            if session is not None:
                call.session, call.session_id = session, head.session_id
        if ask is None or ask.method in METHODS:
            return False
        call.ask = ask
        if head.sse:
            ask.on_notification = call.notified
        return True


class InlineCall:
    """One call without a task, until it is answered or goes on as an exchange. Runs in: the node's loop.

    Attributes:
        raw: The request as it came.
        ask: What is asked.
        who: Who asks.
        peer: From where.
        size: Bytes of the body.
        session: None in the stateless era.
        session_id: Its id, else "".
        status_of: HTTP status of a plain answer.
        attempt: The caller's record of the attempt that was begun.
        begun: The server's side of it.
        at_end: Called when it is over.
    """

    __slots__ = (
        "_answer",
        "_calls",
        "_client",
        "_defect",
        "_exchange",
        "_going_on",
        "_kept_as",
        "_pending",
        "_silent",
        "ask",
        "at_end",
        "attempt",
        "begun",
        "head",
        "message",
        "peer",
        "raw",
        "scope",
        "session",
        "session_id",
        "size",
        "status_of",
        "who",
    )

    def __init__(self, calls: InlineCalls, client: Client, head: Head, scope: Scope, message: JsonObject) -> None:
        self._calls = calls
        self._client = client
        self.head = head
        self.scope = scope
        self.message = message
        self.session: Session | None = None
        self.session_id = ""
        self.status_of: StatusOf = always_ok
        self.at_end: Callable[[], None] | None = None
        self.raw: bytes
        self.ask: Ask
        self.who: Principal
        self.peer: str
        self.size: int
        self.attempt: Attempt
        self.begun: Begun
        self._exchange: Exchange | None = None
        self._going_on = self._silent = False
        self._pending: list[JsonObject] | None = None
        self._answer: JsonObject | None = None
        self._defect: Exception | None = None
        self._kept_as = ""

    def may_go_to(self, endpoint: Endpoint) -> bool:
        """Whether there is nothing about the call that this endpoint's contract makes unusual.

        That is: no answer of it that may still be good, no headers for arguments.
        """
        calls, ask = self._calls, self.ask
        kept_as = calls.results.kept_as(ask, endpoint.contract)
        if kept_as is None:
            return False
        self._kept_as = kept_as
        if ask.era is Era.LEGACY or ask.method != "tools/call" or ask.params is None:
            return True
        return calls.schemas.find(endpoint, str(ask.params.get("name"))) is None

    # -- told by the server's side ----------------

    def answered(self, answer: JsonObject, size: int) -> None:
        """See `Told.answered`."""
        calls, ask, finished = self._calls, self.ask, False
        try:
            concluded = calls.caller.concluded(ask, self.attempt, answer)
            if (
                self._going_on  # a notification came in the same read, and has its place ahead of the answer
                or concluded is None
                or size > LARGE_BYTES  # of these the bytes that are not read yet are counted
                or made(concluded, ask) is not None
                or ("error" in concluded and retry_after(concluded))
            ):
                self._answer = answer
                self._go_on()
                return
            finished = True
            answer = calls.caller.finish(ask, self.attempt, concluded)
            if self._kept_as:
                calls.results.keep(self.attempt.endpoint, ask, self._kept_as, answer)
            reply = whole(response_bytes(ask.request_id, answer), self.status_of(answer))
        except Exception as defect:  # noqa: BLE001 - it must not cost others their connection to the server
            if not finished:
                calls.caller.give_up(self.attempt)
            self._defect = defect
            self._go_on()
            return
        self._close()
        self._end()
        self._client.reply(reply)

    def troubled(self) -> None:
        """See `Told.troubled`."""
        self._go_on()

    def notified(self, message: JsonObject) -> None:
        """The server said something ahead of the answer."""
        if self._exchange is not None:
            self._exchange.notify(message)
            return
        if self._pending is None:
            self._pending = []
        if len(self._pending) < _PENDING_MAX:
            self._pending.append(message)
            self._go_on()

    # -- told by the client's side ----------------

    def lost(self) -> None:
        """The client is gone."""
        self._abandon()

    def cancel(self) -> None:
        """The client cancelled the call."""
        if self._going_on:  # the exchange is there in the next turn
            serving = self._calls.serving
            asyncio.get_running_loop().call_soon(serving.cancel, self.session_id, self.ask.request_id)
            return
        self._abandon()
        self._client.reply(whole(response_bytes(self.ask.request_id, CANCELLED)))

    def keep_alive(self) -> None:
        """It has been silent for an interval: where the client takes one, its response becomes an event stream."""
        if self.head.sse:
            self._silent = True
            self._go_on()

    # -- as an exchange ----------------

    async def answer(self) -> JsonObject:
        """See `BegunAttempt.answer`."""
        return await self.begun.answer() if self._answer is None else self._answer

    def go_on(self, exchange: Exchange) -> None:
        """The exchange that takes over what was said so far."""
        self._exchange = exchange
        for message in self._pending or ():
            exchange.notify(message)
        if self._silent:
            exchange.keep_alive()

    def _go_on(self) -> None:
        if not self._going_on:
            self._going_on = True
            self._client.hand_over(self.raw, self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._close()
        self._client.taken_over()
        calls, scope, message, sse = self._calls, self.scope, self.message, self.head.sse
        request[WHO] = self.who
        try:
            if self._defect is not None:
                raise self._defect
            if self.session is None:
                return await calls.modern.go_on(request, scope, message, self.ask, self, sse=sse)
            return await calls.legacy.go_on(request, scope, self.session, message, self, sse=sse)
        except Exception as error:  # noqa: BLE001 - the HTTP edge, as in `gateway`
            return calls.refusal(error, scope, message)
        finally:
            self._end()

    def _end(self) -> None:
        self.ask.on_notification = None  # a circle
        if self.at_end is not None:
            self.at_end()

    def _close(self) -> None:
        self._calls.serving.closed(self, self.session_id, self.ask.request_id)

    def _abandon(self) -> None:
        if self._defect is None:
            if self._answer is None:
                self.begun.abandon()
            self._calls.caller.give_up(self.attempt)
        self._close()
        self._end()
