"""The link over Streamable HTTP: one POST per exchange, the answer as JSON or as an event stream.

The upstream session of a legacy server, and its loss, are hidden here: a session that the server has forgotten is
opened again and the request repeated, since a server that answers 404 has not run it. A request is repeated on a fresh
connection only when it may run twice. Bytes and connections are `pool`'s business, eras `bridge`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from henslowe.actors.endpoints import Era, JsonObject, OnNotification, OnRequest
from henslowe.errors import HensloweError, LimitReached, UpstreamLost
from henslowe.transport.mcp import jsonrpc
from henslowe.transport.mcp.asked import Asked
from henslowe.transport.mcp.begun import Begun, Told
from henslowe.transport.mcp.deadlines import NEVER_S, Deadlines
from henslowe.transport.mcp.errands import Errands
from henslowe.transport.mcp.http_begun import Call, HttpBegun, is_repeatable
from henslowe.transport.mcp.http_requests import Requests, named
from henslowe.transport.mcp.link import NEVER_CANCELLED, NO_HEADERS, too_large, with_own_token, with_token
from henslowe.transport.mcp.pool import Connection, Pool
from henslowe.transport.mcp.sse import SseDecoder

log = logging.getLogger(__name__)

REFUSED_MAX: Final = 3
"""Refused connections in a row after which the server counts as gone."""
ERRAND_S: Final = 5.0
LISTEN_AGAIN_S: Final = 1.0
_NOT_FOUND: Final = HTTPStatus.NOT_FOUND.value
RESUMES_MAX: Final = 100
"""Most times that one response's stream is taken up again."""


class HttpLink:
    """One Streamable HTTP server as a `Link`.

    Args:
        url: Its MCP address.
        peer: Its name for messages.
        headers: Sent with every request (credentials of the service, never a client's).
        on_event: Called with each notification that belongs to no exchange.
        on_closed: Called once, with the reason, when the server cannot be reached any more.
        on_request: Answers the server's own requests.
        on_reopened: Called when the server had forgotten us: it may be another one now.
        in_flight_max: Most exchanges at once.
        message_bytes_max: Longest response or event.

    Raises:
        ConfigError: The URL or a header cannot be used.
    """

    needs_headers = True

    def __init__(
        self,
        url: str,
        *,
        peer: str,
        headers: Mapping[str, str],
        on_event: Callable[[JsonObject], None],
        on_closed: Callable[[str], None],
        on_request: OnRequest,
        on_reopened: Callable[[], None],
        in_flight_max: int,
        message_bytes_max: int,
    ) -> None:
        self._pool = Pool(url, peer=peer, body_bytes_max=message_bytes_max)
        self._requests = Requests(self._pool.target, self._pool.host, headers)
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._peer = peer
        self._on_event = on_event
        self._on_closed = on_closed
        self._on_reopened = on_reopened
        self._in_flight_max = in_flight_max
        self._message_bytes_max = message_bytes_max
        self._greeting: JsonObject | None = None
        self._reopening = asyncio.Lock()
        self._last_id = 0
        self._in_flight = 0
        self._errands = Errands(peer)
        self._asked = Asked(on_request, self._tell, peer)
        self._listening: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Exchanges that have not ended."""
        return self._in_flight

    async def wait_listening(self) -> None:
        """Return once the server accepts connections; the caller bounds the wait."""
        await self._pool.wait_listening()

    def speak(self, era: Era, protocol_version: str) -> None:
        """Use this era from the next exchange on."""
        self._requests.speak(era, protocol_version)

    def opened(self) -> None:
        """The handshake is over: a legacy server is listened to for what belongs to no exchange."""
        if self._requests.era is Era.LEGACY:
            self._listening = asyncio.ensure_future(self._listen())

    async def exchange(
        self,
        method: str,
        params: JsonObject | None,
        *,
        timeout_s: float,
        headers: Mapping[str, str] = NO_HEADERS,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """See `Link.exchange`."""
        if self._closed:
            raise UpstreamLost(f"cannot call {self._peer}: the connection was closed", sent=False)
        if self._in_flight >= self._in_flight_max:
            raise LimitReached(
                f"cannot call {self._peer}: {self._in_flight_max} calls are in flight",
                hint="raise instances.in_flight_max, or slow the clients down",
            )
        number = self._last_id = self._last_id + 1
        sent, token = with_token(params, number)
        body = jsonrpc.request(number, method, sent)
        if method == "initialize":
            self._greeting = sent
        self._in_flight += 1
        until_s = self._loop.time() + timeout_s
        session, name = self._requests.session, named(method, sent)
        call = Call(number, method, body, name, headers, session, until_s, on_notification, token)
        try:
            return await self.ended(call, self._ask(call))
        finally:
            self._in_flight -= 1

    def begin(
        self,
        method: str,
        params: JsonObject | None,
        *,
        timeout_s: float,
        headers: Mapping[str, str],
        on_notification: OnNotification | None,
        told: Told,
    ) -> Begun | None:
        """See `Link.begin`: on a connection that rests, if there is one."""
        if self._closed or self._in_flight >= self._in_flight_max or method == "initialize":
            return None
        now_s, number = self._loop.time(), self._last_id + 1
        until_s = now_s + timeout_s
        body = jsonrpc.request(number, method, params)
        session, name = self._requests.session, named(method, params)
        call = Call(number, method, body, name, headers, session, until_s, on_notification)
        request = self._written(call)
        connection = self._pool.idle(now_s)
        if connection is None:
            return None
        self._last_id = number
        self._in_flight += 1
        begun = HttpBegun(self, call, connection, told)
        connection.begin(request, begun)
        self._deadlines.add(begun, until_s)
        return begun

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification; dropped when too many are on their way."""
        self._errands.begin(self._tell(jsonrpc.notification(method, params), method))

    async def close(self) -> None:
        """End the session, every exchange with `UpstreamLost`, and all connections. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._deadlines.close()
        listening = [self._listening] if self._listening else []
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, self._errands.end(), self._asked.close(), return_exceptions=True)
        try:
            if self._requests.session and not self._pool.refused:
                async with asyncio.timeout(1.0):
                    (await self._send(self._requests.bodiless("DELETE"))).discard()
        except (HensloweError, TimeoutError):
            pass  # a courtesy; the server forgets the session by itself
        finally:
            self._pool.close()

    # -- requests ----------------

    async def _ask(self, call: Call) -> JsonObject:
        connection = await self._send(self._written(call), call.until_s, repeatable=is_repeatable(call))
        return await self.received(call, connection)

    async def received(self, call: Call, connection: Connection) -> JsonObject:
        """The answer, once a response's head is there."""
        if self.is_forgotten(call, connection):
            connection.discard()
            async with asyncio.timeout_at(call.until_s):
                await self._reopen(call.session)
            connection = await self._send(self._written(call), call.until_s)
        if call.method == "initialize":
            self._requests.session = connection.headers.get("mcp-session-id", "")
        if not connection.is_stream:
            return self.plain_answer(call, connection, connection.body())
        async with asyncio.timeout_at(call.until_s):
            return await self._streamed(call, connection)

    async def ended(self, call: Call, answer: Awaitable[JsonObject]) -> JsonObject:
        """The answer; what ends an exchange without one is told to the server, or the caller."""
        try:
            return await answer
        except (TimeoutError, asyncio.CancelledError):
            self.given_up(call)
            raise
        except LimitReached:
            return too_large(self._message_bytes_max)

    def given_up(self, call: Call) -> None:
        """A modern server takes the closed connection as the cancellation; a legacy one must be told."""
        if self._requests.era is Era.LEGACY and call.method not in NEVER_CANCELLED:
            self.notify("notifications/cancelled", {"requestId": call.number})

    @staticmethod
    def is_forgotten(call: Call, connection: Connection) -> bool:
        """Whether the server does not know our session any more."""
        return connection.status == _NOT_FOUND and bool(call.session) and call.method != "initialize"

    def plain_answer(self, call: Call, connection: Connection, body: bytes) -> JsonObject:
        """The answer in a response that is no stream, or in its status."""
        status = connection.status
        try:
            received = jsonrpc.messages(body) if body else []
        except ValueError:
            received = []
        if len(received) == 1 and received[0].get("id") == call.number and "method" not in received[0]:
            return jsonrpc.answer_of(received[0])  # as nearly always
        for message in received:
            self._message(call, message, error_without_id=True)
        if call.answer is not None:
            return call.answer
        text = f"the server answered {status} {connection.reason}".rstrip()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UpstreamLost(f"cannot call {self._peer}: {text}", sent=True, status=status)
        excerpt = body[:200].decode(errors="replace")
        return jsonrpc.error(jsonrpc.INTERNAL_ERROR, text, {"status": status, "body": excerpt})

    async def _streamed(self, call: Call, connection: Connection) -> JsonObject:
        """The answer in an event stream, which a legacy server may break off and continue on request."""
        last_id, pause_s = "", LISTEN_AGAIN_S
        for _ in range(RESUMES_MAX):
            events = SseDecoder(self._message_bytes_max)
            events.last_id = last_id
            try:
                await self._read_stream(connection, events, call)
            except UpstreamLost:
                if not events.last_id:
                    raise
            except BaseException:
                connection.abort()
                raise
            if call.answer is not None:
                connection.discard()
                return call.answer
            last_id = events.last_id
            if self._requests.era is Era.MODERN or not last_id:
                break
            await asyncio.sleep(pause_s if events.retry_s is None else min(events.retry_s, 60.0))
            connection = await self._send(self._requests.bodiless("GET", last_id), repeatable=True)
            if not connection.is_stream:
                connection.discard()
                break
        raise UpstreamLost(f"cannot call {self._peer}: the stream ended before the answer", sent=True)

    async def _read_stream(self, connection: Connection, events: SseDecoder, call: Call | None) -> None:
        """Hand out what the stream holds, until its end or until the call has its answer."""
        while call is None or call.answer is None:
            chunk = await connection.chunk()
            if not chunk:
                return
            for event in events.feed(chunk):
                try:
                    received = jsonrpc.messages(event.data)
                except ValueError:
                    continue  # an event of no meaning to us, such as an empty one that only carries an id
                for message in received:
                    self._message(call, message)

    def _message(self, call: Call | None, message: JsonObject, *, error_without_id: bool = False) -> None:
        if "method" not in message:
            mine = call is not None and message.get("id") == call.number
            if call is not None and (mine or (error_without_id and "error" in message and message.get("id") is None)):
                call.answer = jsonrpc.answer_of(message)
        elif "id" in message:
            self._asked.take(message)
        elif message["method"] == "notifications/cancelled":
            self._asked.withdrawn(message.get("params"))
        elif call is None:
            self._on_event(message)
        elif call.on_notification is not None:
            params = message.get("params")
            if message["method"] == "notifications/progress" and isinstance(params, dict):
                if call.token is None:
                    return
                message = with_own_token(message, call.token)
            call.on_notification(message)
        elif message["method"] not in ("notifications/progress", "notifications/message"):
            self._on_event(message)

    # -- the session of a legacy server ----------------

    async def _reopen(self, lost: str) -> None:
        """Open a session in place of the lost one, once for all who miss it."""
        async with self._reopening:
            if self._requests.session != lost:
                return
            self._requests.session = ""
            answer = await self.exchange("initialize", self._greeting, timeout_s=ERRAND_S)
            if "error" in answer:
                self._requests.session = lost
                raise UpstreamLost(
                    f"cannot call {self._peer}: the session is lost and a new one was refused: "
                    f"{answer['error'].get('message')}",
                    sent=False,
                )
            await self._tell(jsonrpc.notification("notifications/initialized", None), "notifications/initialized")
        log.info("upstream_session_reopened", extra={"peer": self._peer})
        self._on_reopened()

    async def _listen(self) -> None:
        """Keep the server's own event stream open (legacy: GET), until cancelled or refused."""
        last_id, pause_s = "", LISTEN_AGAIN_S
        while True:
            session = self._requests.session
            events = SseDecoder(self._message_bytes_max)
            events.last_id = last_id
            try:
                connection = await self._send(self._requests.bodiless("GET", last_id), repeatable=True)
                if not connection.is_stream:
                    connection.discard()
                    if connection.status != HTTPStatus.NOT_FOUND or not session:
                        return
                    await self._reopen(session)
                    last_id = ""
                else:
                    pause_s = LISTEN_AGAIN_S
                    try:
                        await self._read_stream(connection, events, None)
                    finally:
                        connection.abort()
            except (HensloweError, TimeoutError) as cause:
                log.info("event_stream_lost", extra={"peer": self._peer, "cause": str(cause)})
            last_id = events.last_id or last_id
            await asyncio.sleep(pause_s if events.retry_s is None else min(events.retry_s, 60.0))
            pause_s = min(pause_s * 2, 60.0)

    # -- bytes ----------------

    def _written(self, call: Call) -> bytes:
        """A call's request, as the era and our session have it now."""
        return self._requests.post(call.method, call.name, call.headers, call.body)

    async def _send(self, request: bytes, until_s: float = NEVER_S, *, repeatable: bool = False) -> Connection:
        """Send one request; returns the connection with the response's head.

        Raises:
            TimeoutError: There is none until this loop time.
            UpstreamLost: See `Link.exchange`. A connection that the server had dropped while it rested is replaced
                when the request is repeatable, or no byte of it was sent.
        """
        now_s = self._loop.time()
        connection = self._pool.idle(now_s) or await self._fresh(until_s)
        try:
            await connection.send(request, self._deadlines, until_s - now_s)
        except UpstreamLost as lost:
            if not (repeatable and connection.used and not lost.details.get("received")):
                raise
            connection = await self._fresh(until_s)
            await connection.send(request, self._deadlines, until_s - self._loop.time())
        return connection

    async def sent_afresh(self, call: Call) -> Connection:
        """The connection with the response's head, once the request was sent on one that was never used."""
        connection = await self._fresh(call.until_s)
        await connection.send(self._written(call), self._deadlines, call.until_s - self._loop.time())
        return connection

    def over(self, begun: HttpBegun) -> None:
        """An exchange without a task has ended."""
        self._in_flight -= 1
        self._deadlines.remove(begun)

    async def _fresh(self, until_s: float) -> Connection:
        try:
            async with asyncio.timeout_at(None if until_s == NEVER_S else until_s):
                return await self._pool.fresh()
        except UpstreamLost:
            if self._pool.refused >= REFUSED_MAX:
                self._gone()
            raise

    async def _tell(self, body: bytes, method: str = "") -> None:
        """Send a message to which there is no answer."""
        async with asyncio.timeout(ERRAND_S):
            (await self._send(self._requests.post(method, None, NO_HEADERS, body))).discard()

    def _gone(self) -> None:
        if not self._closed:
            self._closed = True
            self._pool.close()
            self._on_closed(f"{self._peer} refuses connections")
