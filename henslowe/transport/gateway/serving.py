"""What both eras need to serve a request: the shared parts of the gateway, the calls under way, and the open streams.

`Serving` runs the work of one exchange so that whatever happens (an answer, an error, the client's cancellation, the
client's disappearance) ends in one response or none, and keeps silent calls alive. `legacy` and `modern` decide what
the work is.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from henslowe.actors.endpoints import JsonObject, ServerFacts
from henslowe.config.settings import GatewaySettings
from henslowe.transport.gateway.dialogue import BegunAttempt
from henslowe.transport.gateway.exchange import Exchange
from henslowe.transport.gateway.extra import ExtraMethods, NoMethods
from henslowe.transport.gateway.metrics import GatewayMetrics
from henslowe.transport.gateway.private import Privates
from henslowe.transport.gateway.protocol import KEEPALIVE, NODE_ERROR, SSE_HEADERS, sse_frame
from henslowe.transport.gateway.replay import ReplayLog
from henslowe.transport.gateway.sessions import Sessions
from henslowe.transport.gateway.streams import ChangeStream, Streams
from henslowe.transport.gateway.thinking import Thinking
from henslowe.transport.gateway.unsent import Unsent
from henslowe.transport.gateway.visitors import Visitors
from henslowe.transport.gateway.watches import Watches
from henslowe.transport.gateway.wishes import Wishes
from henslowe.transport.http_guard import cors_headers
from henslowe.transport.mcp import jsonrpc

log = logging.getLogger(__name__)

DETACHED_MAX: Final = 1_000
"""Calls that go on without their clients; beyond it, one whose client goes away is cancelled."""
CANCELLED: Final = jsonrpc.error(NODE_ERROR, "the client cancelled this request", {"code": "cancelled"})

StatusOf = Callable[[JsonObject], int]


def always_ok(_answer: JsonObject) -> int:
    """The status of answers in the handshake era, errors included."""
    return 200


class Inline(Protocol):
    """A call that is under way without a task (`inline`)."""

    def keep_alive(self) -> None:
        """It has been silent for an interval."""
        ...

    def cancel(self) -> None:
        """Its client cancelled it."""
        ...


class Begun(BegunAttempt, Protocol):
    """Such a call that goes on as an exchange."""

    def go_on(self, exchange: Exchange) -> None:
        """Hand over what was said and what became of it meanwhile."""
        ...


@dataclass(slots=True)
class Serving:
    """Shared by the two eras. Runs in: the node's loop."""

    settings: GatewaySettings
    sessions: Sessions
    streams: Streams
    visitors: Visitors
    metrics: GatewayMetrics
    watches: Watches
    wishes: Wishes
    replay: ReplayLog
    privates: Privates | None = None
    extra: ExtraMethods = field(default_factory=NoMethods)
    """Methods that no specification has."""
    told_of_task: Callable[..., list[tuple[str, JsonObject]]] = lambda *_, **__: []
    """See `Tasks.announced`."""
    unsent: Unsent = field(init=False)
    thinking: Thinking = field(default_factory=lambda: Thinking(time.monotonic))
    _open: dict[Exchange | Inline, float] = field(default_factory=dict)
    _by_request: dict[tuple[str, Any], Exchange] = field(default_factory=dict)
    _inline: dict[tuple[str, Any], Inline] = field(default_factory=dict)
    _questions: dict[tuple[str, str], asyncio.Future[JsonObject]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _ticking: asyncio.TimerHandle | None = None
    _detached: set[Exchange] = field(default_factory=set)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.unsent = Unsent(self.settings.unsent_bytes_max)

    async def run(
        self,
        exchange: Exchange,
        work: Awaitable[JsonObject],
        *,
        session_id: str = "",
        finish: Callable[[JsonObject], JsonObject] | None = None,
        status_of: StatusOf = always_ok,
    ) -> web.StreamResponse:
        """Do the work and send its answer. A client that goes away cancels the work; so does `cancel`.

        One whose stream can be taken up again does not: the work goes on, and its answer is kept (`resumable`).

        Args:
            exchange: The response side.
            work: The answer to be.
            session_id: With it, the session's client may cancel by request id.
            finish: Applied to the answer.
            status_of: HTTP status of a plain answer.
        """
        key = (session_id, exchange.request_id)
        exchange.task = asyncio.current_task()
        self._open[exchange] = time.monotonic()
        if self._ticking is None:
            self._tick()
        if session_id:
            self._by_request[key] = exchange
        try:
            try:
                answer = await work
            except asyncio.CancelledError:
                if not exchange.cancelled_by_client or exchange.task is None or exchange.task.uncancel() > 0:
                    raise
                answer = CANCELLED
            exchange.task = None  # from here on a cancellation by the client comes too late
            if finish is not None:
                answer = finish(answer)
            finishing = exchange.finish(answer, self.unsent, status=status_of(answer))
            del answer  # a large one is not held beside its bytes
            return await finishing
        except BaseException as failure:
            await exchange.abandon(failure)
            raise
        finally:
            del self._open[exchange]
            self._detached.discard(exchange)
            if self._by_request.get(key) is exchange:
                del self._by_request[key]

    def opened(self, call: Inline, began_s: float, session_id: str, request_id: Any) -> None:
        """A call is under way without a task; with a session's id, its client may cancel it."""
        self._open[call] = began_s
        if self._ticking is None:
            self._tick()
        if session_id:
            self._inline[session_id, request_id] = call

    def closed(self, call: Inline, session_id: str, request_id: Any) -> None:
        """It is over, or goes on as an exchange."""
        del self._open[call]
        if session_id and self._inline.get((session_id, request_id)) is call:
            del self._inline[session_id, request_id]

    def may_detach(self, exchange: Exchange) -> bool:
        """Whether a call goes on whose client went away; then it is counted until it ends."""
        if self._closed or len(self._detached) >= DETACHED_MAX:
            return False
        self._detached.add(exchange)
        return True

    def cancel(self, session_id: str, request_id: Any) -> None:
        """Cancel a request of a session on behalf of its client; nothing happens if there is none."""
        if not isinstance(request_id, str | int):
            return
        call = self._inline.get((session_id, request_id))
        if call is not None:
            call.cancel()
            return
        exchange = self._by_request.get((session_id, request_id))
        if exchange is not None and exchange.task is not None and not exchange.cancelled_by_client:
            exchange.cancelled_by_client = True
            exchange.task.cancel()

    def listening(self, session_id: str) -> Exchange | None:
        """The latest request under way of a session whose response may be an event stream."""
        for (owner, _), exchange in reversed(self._by_request.items()):
            if owner == session_id and exchange.sse and not exchange.detached:
                return exchange
        return None

    async def question(
        self, send: Callable[[JsonObject], None], session_id: str, method: str, params: JsonObject
    ) -> JsonObject:
        """Ask a session's client something on one of its event streams, and wait for its answer."""
        question_id = f"henslowe-{next(self._numbers)}"
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._questions[session_id, question_id] = future
        try:
            with self.thinking.question(session_id):
                send({"jsonrpc": "2.0", "id": question_id, "method": method, "params": params})
                return await future
        finally:
            del self._questions[session_id, question_id]

    def answered(self, session_id: str, message: JsonObject) -> None:
        """Take a client's answer to a question; one that nobody waits for is dropped."""
        question_id = message["id"]
        future = self._questions.get((session_id, question_id)) if isinstance(question_id, str) else None
        if future is not None and not future.done():
            future.set_result(jsonrpc.answer_of(message))

    async def pump(
        self,
        request: web.Request,
        stream: ChangeStream,
        *,
        encode: Callable[[JsonObject], bytes],
        opening: bytes = b"",
        closing: bytes = b"",
        alive: Callable[[], bool] = lambda: True,
        lingers: Callable[[], bool] = lambda: False,
    ) -> web.StreamResponse:
        """Write a change stream to its client until either ends, or until `alive` (asked at each keepalive) says no.

        Where it `lingers` after its connection was lost, it is its owner's to `drop`.

        Raises:
            LimitReached: Too many streams are open.
        """
        self.streams.add(stream)
        if stream.subscribed():
            self.watches.reconcile(stream.services())
        response = web.StreamResponse(headers={**SSE_HEADERS, **cors_headers(request)})
        try:
            await response.prepare(request)
            await response.write(opening or KEEPALIVE)  # so that the client sees the stream is open
            while True:
                events = await stream.take(self.settings.sse_keepalive_s)
                if events:
                    await response.write(b"".join(map(encode, events)))
                elif stream.ended or not alive():
                    break
                else:
                    await response.write(KEEPALIVE)
            if closing:
                await response.write(closing)
            await response.write_eof()
        except ConnectionError:
            pass  # the client is gone; the stream is all there was
        finally:
            if stream.ended or not lingers():
                self.drop(stream)
        return response

    def drop(self, stream: ChangeStream) -> None:
        """Forget a change stream."""
        self.streams.remove(stream)
        self.watches.reconcile(stream.services())

    def close(self) -> None:
        """Stop the ticks, end the streams, and give up the calls that go on without their clients."""
        self._closed = True
        for exchange in self._detached:
            if exchange.task is not None:
                exchange.task.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        self.streams.close()
        self.watches.close()
        self.wishes.close()
        self.replay.close()

    def _tick(self) -> None:
        """One timer for all calls: those silent for an interval get a keepalive."""
        loop = asyncio.get_running_loop()
        since = time.monotonic() - self.settings.sse_keepalive_s
        for exchange, opened_s in self._open.items():
            if opened_s <= since:
                exchange.keep_alive()
        self._ticking = loop.call_later(self.settings.sse_keepalive_s, self._tick) if self._open else None


def event_frame(event: JsonObject, meta: JsonObject | None = None, event_id: str = "") -> bytes:
    """A change as an SSE frame, with `meta` in its parameters."""
    message: JsonObject = {"jsonrpc": "2.0", **event}
    if meta is not None:
        params = message.get("params") or {}
        message["params"] = {**params, "_meta": {**params.get("_meta", {}), **meta}}
    return sse_frame(orjson.dumps(message), event_id)


def offered(facts: ServerFacts, *, modern: bool) -> JsonObject:
    """The capabilities that a client is told of: the server's, as far as its era has them, and change notifications.

    Lists change whenever a version does, whatever the server itself says. Each era has tasks in its own form.
    """
    hidden = "tasks" if modern else "extensions"
    capabilities = {name: value for name, value in facts.capabilities.items() if name != hidden}
    for name in ("tools", "prompts", "resources"):
        declared = capabilities.get(name)
        if isinstance(declared, dict):
            capabilities[name] = {**declared, "listChanged": True}
    return capabilities
