"""The link over Streamable HTTP: one POST per exchange, the answer as JSON or as an event stream.

The upstream session of a legacy server, and its loss, are hidden here: a session that the server has forgotten is
opened again and the request repeated, since a server that answers 404 has not run it. A request is repeated on a fresh
connection only when it may run twice. Bytes and connections are `pool`'s business, eras `bridge`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final

from henslowe.actors.endpoints import Era, JsonObject, OnNotification, OnRequest
from henslowe.errors import HensloweError, LimitReached, UpstreamLost
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.asked import Asked
from henslowe.transport.mcp.begun import Begun, Told
from henslowe.transport.mcp.deadlines import NEVER_S, Deadlines
from henslowe.transport.mcp.headers import header_lines, header_value, passed_on
from henslowe.transport.mcp.http_begun import Call, HttpBegun, Sent, is_repeatable
from henslowe.transport.mcp.link import NEVER_CANCELLED, NO_HEADERS, too_large, with_own_token, with_token
from henslowe.transport.mcp.pool import Connection, Pool
from henslowe.transport.mcp.sse import SseDecoder

log = logging.getLogger(__name__)

REFUSED_MAX: Final = 3
"""Refused connections in a row after which the server counts as gone."""
ERRANDS_MAX: Final = 64
"""Most small messages (cancellations, notifications) on their way at once."""
ERRAND_S: Final = 5.0
LISTEN_AGAIN_S: Final = 1.0


_LINES: Final = {
    "POST": "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n",
    "GET": "Accept: text/event-stream\r\n",
    "DELETE": "Accept: application/json, text/event-stream\r\n",
}
"""Header lines by verb."""
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
        fixed = f" {self._pool.target} HTTP/1.1\r\nHost: {self._pool.host}\r\nUser-Agent: henslowe\r\n"
        self._heads = {verb: f"{verb}{fixed}{header_lines(headers)}{lines}" for verb, lines in _LINES.items()}
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._peer = peer
        self._on_event = on_event
        self._on_closed = on_closed
        self._on_reopened = on_reopened
        self._in_flight_max = in_flight_max
        self._message_bytes_max = message_bytes_max
        self._era = Era.MODERN
        self._version = eras.LATEST_MODERN
        self._session = ""
        self._greeting: JsonObject | None = None
        self._reopening = asyncio.Lock()
        self._last_id = 0
        self._in_flight = 0
        self._errands: set[asyncio.Task[None]] = set()
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
        self._era, self._version = era, protocol_version

    def opened(self) -> None:
        """The handshake is over: a legacy server is listened to for what belongs to no exchange."""
        if self._era is Era.LEGACY:
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
        sent_params, token = with_token(params, number)
        call = Call(number, method, on_notification, token)
        body = jsonrpc.request(number, method, sent_params)
        if method == "initialize":
            self._greeting = sent_params
        self._in_flight += 1
        try:
            return await self.ended(call, self._ask(call, body, sent_params, headers, self._loop.time() + timeout_s))
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
        body = jsonrpc.request(number, method, params)
        connection = self._pool.idle(now_s)
        if connection is None:
            return None
        self._last_id = number
        self._in_flight += 1
        call = Call(number, method, on_notification, None)
        begun = HttpBegun(self, call, connection, Sent(body, params, headers, self._session, now_s + timeout_s), told)
        connection.begin(self._request("POST", body, self._era_lines(method, params, headers)), begun)
        self._deadlines.add(begun, now_s + timeout_s)
        return begun

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification; dropped when too many are on their way."""
        self._errand(self._tell(jsonrpc.notification(method, params), method))

    async def close(self) -> None:
        """End the session, every exchange with `UpstreamLost`, and all connections. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._deadlines.close()
        tasks = [*self._errands, *([self._listening] if self._listening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._asked.close(), return_exceptions=True)
        try:
            if self._session and not self._pool.refused:
                async with asyncio.timeout(1.0):
                    (await self._send("DELETE", b"", self._era_lines("", None, NO_HEADERS))).discard()
        except (HensloweError, TimeoutError):
            pass  # a courtesy; the server forgets the session by itself
        finally:
            self._pool.close()

    # -- requests ----------------

    async def _ask(
        self, call: Call, body: bytes, params: JsonObject | None, headers: Mapping[str, str], until_s: float
    ) -> JsonObject:
        sent = Sent(body, params, headers, self._session, until_s)
        lines = self._era_lines(call.method, params, headers)
        connection = await self._send("POST", body, lines, until_s, repeatable=is_repeatable(call))
        return await self.received(call, connection, sent)

    async def received(self, call: Call, connection: Connection, sent: Sent) -> JsonObject:
        """The answer, once a response's head is there."""
        if self.is_forgotten(call, connection, sent):
            connection.discard()
            async with asyncio.timeout_at(sent.until_s):
                await self._reopen(sent.session)
            lines = self._era_lines(call.method, sent.params, sent.headers)
            connection = await self._send("POST", sent.body, lines, sent.until_s)
        if call.method == "initialize":
            self._session = connection.headers.get("mcp-session-id", "")
        if not connection.is_stream:
            return self.plain_answer(call, connection, connection.body())
        async with asyncio.timeout_at(sent.until_s):
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
        if self._era is Era.LEGACY and call.method not in NEVER_CANCELLED:
            self.notify("notifications/cancelled", {"requestId": call.number})

    @staticmethod
    def is_forgotten(call: Call, connection: Connection, sent: Sent) -> bool:
        """Whether the server does not know our session any more."""
        return connection.status == HTTPStatus.NOT_FOUND and bool(sent.session) and call.method != "initialize"

    def plain_answer(self, call: Call, connection: Connection, body: bytes) -> JsonObject:
        """The answer in a response that is no stream, or in its status."""
        status = connection.status
        try:
            received = jsonrpc.messages(body) if body else []
        except ValueError:
            received = []
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
            if self._era is Era.MODERN or not last_id:
                break
            await asyncio.sleep(pause_s if events.retry_s is None else min(events.retry_s, 60.0))
            connection = await self._send(
                "GET", b"", f"{self._era_lines('', None, NO_HEADERS)}Last-Event-ID: {last_id}\r\n", repeatable=True
            )
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
            if self._session != lost:
                return
            self._session = ""
            answer = await self.exchange("initialize", self._greeting, timeout_s=ERRAND_S)
            if "error" in answer:
                self._session = lost
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
            session = self._session
            events = SseDecoder(self._message_bytes_max)
            events.last_id = last_id
            try:
                lines = self._era_lines("", None, NO_HEADERS)
                lines += f"Last-Event-ID: {last_id}\r\n" if last_id else ""
                connection = await self._send("GET", b"", lines, repeatable=True)
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

    def _era_lines(self, method: str, params: JsonObject | None, headers: Mapping[str, str]) -> str:
        """The header lines that depend on the era, the session and the request."""
        if method == "initialize":
            return ""
        lines = f"MCP-Protocol-Version: {self._version}\r\n" + passed_on(headers)
        if self._era is Era.LEGACY:
            return lines + (f"Mcp-Session-Id: {self._session}\r\n" if self._session else "")
        if method:
            lines += f"Mcp-Method: {header_value(method)}\r\n"  # a client of the other era may have written anything
            name = eras.name_in(method, params)
            if isinstance(name, str):
                lines += f"Mcp-Name: {header_value(name)}\r\n"
        return lines

    async def _send(
        self, verb: str, body: bytes, lines: str, until_s: float = NEVER_S, *, repeatable: bool = False
    ) -> Connection:
        """Send one request; returns the connection with the response's head.

        Raises:
            TimeoutError: There is none until this loop time.
            UpstreamLost: See `Link.exchange`. A connection that the server had dropped while it rested is replaced
                when the request is repeatable, or no byte of it was sent.
        """
        request = self._request(verb, body, lines)
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

    async def sent_afresh(self, call: Call, sent: Sent) -> Connection:
        """The connection with the response's head, once the request was sent on one that was never used."""
        connection = await self._fresh(sent.until_s)
        request = self._request("POST", sent.body, self._era_lines(call.method, sent.params, sent.headers))
        await connection.send(request, self._deadlines, sent.until_s - self._loop.time())
        return connection

    def over(self, begun: HttpBegun) -> None:
        """An exchange without a task has ended."""
        self._in_flight -= 1
        self._deadlines.remove(begun)

    def _request(self, verb: str, body: bytes, lines: str) -> bytes:
        content = f"Content-Length: {len(body)}\r\n" if verb == "POST" else ""
        return f"{self._heads[verb]}{content}{lines}\r\n".encode("latin-1") + body

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
            (await self._send("POST", body, self._era_lines(method, None, NO_HEADERS))).discard()

    def _errand(self, errand: Coroutine[Any, Any, None]) -> None:
        if self._closed or len(self._errands) >= ERRANDS_MAX:
            errand.close()
            return
        task = asyncio.ensure_future(errand)
        self._errands.add(task)
        task.add_done_callback(self._errand_done)

    def _errand_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.info("errand_failed", extra={"peer": self._peer, "cause": str(failure)})

    def _gone(self) -> None:
        if not self._closed:
            self._closed = True
            self._pool.close()
            self._on_closed(f"{self._peer} refuses connections")
