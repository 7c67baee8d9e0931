"""Keep-alive connections to one HTTP origin: one request at a time on each, most recently used first.

Written because a general client costs more than the rest of the gateway together (field measurements: 130 us of CPU
per request against 61). It knows requests and responses as bytes; MCP is `http`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from henslowe.errors import ConfigError, LimitReached, UpstreamLost
from henslowe.transport.head_pattern import Pattern
from henslowe.transport.mcp.deadlines import Deadlines
from henslowe.transport.mcp.http1 import Read, ResponseParser

IDLE_S: Final = 3.0
"""Longest rest of a connection before it is replaced: servers drop theirs after 5 s (uvicorn, node) without a word."""
IDLE_MAX: Final = 64
CONNECT_S: Final = 10.0
CONNECT_AGAIN_S: Final = 0.05
BUFFERED_MAX: Final = 256 * 1024
"""Bytes of a stream that wait for their reader before the server is slowed down."""
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
DISCARD_S: Final = 5.0
"""Longest wait for the rest of a stream whose answer has arrived."""


class Head(Protocol):
    """A future, or what takes the news as one does: the response's head is there (of no stream: all of it), or not."""

    def done(self) -> bool:
        """Whether it has the news."""
        ...

    def set_result(self, result: None, /) -> None:
        """It is there."""
        ...

    def set_exception(self, failure: Exception, /) -> None:
        """It will not come."""
        ...


class Connection(asyncio.Protocol):
    """One connection. `send`, then `body`, or `chunk` until it is empty, or `discard`; that returns it to its pool.

    Attributes:
        idle: Whether it rests in its pool.
        idle_since_s: Loop time of its last use.
        used: Whether it has carried a response before.
        status: Status of the response; 0 until its head is there.
        headers: Fields of the response by lower-case name; not to be changed.
        is_stream: Whether the response is an event stream, to be read with `chunk`.
    """

    def __init__(self, peer: str, body_bytes_max: int, release: Callable[[Connection], None]) -> None:
        self.idle = False
        self.idle_since_s = 0.0
        self.used = False
        self.status = 0
        self.headers: Mapping[str, str] = NO_FIELDS
        self.is_stream = False
        self._peer = peer
        self._body_bytes_max = body_bytes_max
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        """Of the response that is being read, unless that came in one piece."""
        self._pattern: Pattern[Read] | None = None
        """Of the last response's head: a server repeats itself."""
        self._reusable = False
        self._busy = False
        self._held = False
        self._head: Head | None = None
        self._more: asyncio.Future[None] | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._discarding: asyncio.TimerHandle | None = None
        self._end: UpstreamLost | LimitReached | None = None

    # -- the caller's side ----------------

    @property
    def usable(self) -> bool:
        """Whether another request may be tried on it."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def reason(self) -> str:
        """The status in words, as the standard names it."""
        with contextlib.suppress(ValueError):
            return HTTPStatus(self.status).phrase
        return ""

    async def send(self, request: bytes, deadlines: Deadlines, timeout_s: float) -> None:
        """Write a request and wait for the head of its response (of anything but a stream: for all of it).

        Raises:
            TimeoutError: There was none within `timeout_s`; the connection is given up.
            UpstreamLost: `details["received"]` says whether any byte of the response came.
            LimitReached: The body is beyond the limit.
        """
        if self._transport is None:
            raise UpstreamLost(f"cannot call {self._peer}: the connection ended before it was used", sent=False)
        head: asyncio.Future[None] = self._loop.create_future()
        self.begin(request, head)
        try:
            await deadlines.wait(head, timeout_s)
        except (TimeoutError, asyncio.CancelledError):
            self.abort()
            raise

    def begin(self, request: bytes, head: Head) -> None:
        """Write a request on a usable connection; `head` is given what `send` waits for."""
        assert not self._held
        assert self._transport is not None
        self._busy = self._held = True
        self._reusable = self.is_stream = False
        self.status = 0
        self._parser = None
        self._head = head
        self._transport.write(request)

    def body(self) -> bytes:
        """The whole body of a response that is no stream."""
        body = self._buffer.pop() if len(self._buffer) == 1 else self._taken()
        self._buffered = 0
        self._let_go()
        return body

    async def chunk(self) -> bytes:
        """The next bytes of a stream, b"" at its end.

        Raises:
            UpstreamLost: The connection ended within the stream.
        """
        while not self._buffer:
            if self._end is not None:
                raise self._end
            if not self._busy:
                self._let_go()
                return b""
            self._more = self._loop.create_future()
            try:
                await self._more
            finally:
                self._more = None
        if self._buffered > BUFFERED_MAX and self._transport is not None:
            self._transport.resume_reading()
        return self._taken()

    def discard(self) -> None:
        """Nobody reads the rest of the stream: keep the connection if the stream ends soon."""
        if self._busy:
            self._discarding = self._loop.call_later(DISCARD_S, self.abort)
            if self._buffered > BUFFERED_MAX and self._transport is not None:
                self._transport.resume_reading()
        self._taken()
        if not self._busy:
            self._let_go()

    def abort(self) -> None:
        """Drop the connection, and with it what the server does for it."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's side ----------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Runs in: loop, by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        """Runs in: loop, by asyncio."""
        if not self._busy:
            self.abort()  # a server that speaks unasked is not to be trusted with a request
            return
        parser = self._parser
        if parser is None:
            found = None if self._pattern is None else self._pattern.match(data)
            if self._pattern is None or found is None:
                parser = ResponseParser()
            else:
                self.status, self.headers, self._reusable = self._pattern.made
                begins, length = found
                if len(data) - begins == length <= self._body_bytes_max:  # all of it, as nearly always
                    self._buffer.append(data[begins:])
                    self._complete()
                    return
                parser, data = ResponseParser.within(self._pattern.made, length), data[begins:]
            self._parser = parser
        self._feed(parser, data)

    def _feed(self, parser: ResponseParser, data: bytes) -> None:
        try:
            body = parser.feed(data)
        except UpstreamLost as broken:
            self._fail(UpstreamLost(f"cannot call {self._peer}: {broken.message}", sent=True, received=True))
            return
        if not self.status and parser.status >= HTTPStatus.OK.value:  # an interim response says nothing
            self.status, self.headers, self._pattern = parser.status, parser.headers, parser.pattern
        if parser.status and self._head is not None and not self._head.done():
            self.is_stream = parser.headers.get("content-type", "").startswith("text/event-stream")
            if self.is_stream:
                self._pattern = None
                self._head.set_result(None)
        if body and self._discarding is None:
            self._keep(body)
        if parser.complete:
            self._reusable = parser.keep_alive and not parser.excess
            self._complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Runs in: loop, by asyncio."""
        parser, received = self._parser, self.status > 0
        if parser is not None:
            with contextlib.suppress(UpstreamLost):
                parser.end()
        if self._busy and received and parser is not None and parser.complete:
            self._reusable = False
            self._complete()
        elif self._busy:
            why = str(exc) if exc is not None else "the connection ended within the exchange"
            self._fail(UpstreamLost(f"cannot call {self._peer}: {why}", sent=True, received=received))
        self._transport = None
        self._release(self)

    def _keep(self, body: bytes) -> None:
        self._buffer.append(body)
        self._buffered += len(body)
        if self.is_stream:
            if self._buffered > BUFFERED_MAX and self._transport is not None:
                self._transport.pause_reading()
            self._wake()
        elif self._buffered > self._body_bytes_max:
            self._fail(
                LimitReached(
                    f"cannot read the response of {self._peer}: it has more than {self._body_bytes_max} bytes",
                    hint="raise instances.message_bytes_max",
                )
            )

    def _complete(self) -> None:
        self._busy = False
        if self._more is not None:
            self._wake()
        if self._discarding is not None:
            self._discarding.cancel()
            self._discarding = None
            self._let_go()
        head, self._head = self._head, None  # a connection that rests holds nothing of its last exchange
        if head is not None and not head.done():
            head.set_result(None)  # the last thing to do: it may begin the connection's next exchange

    def _taken(self) -> bytes:
        body = b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        return body

    def _let_go(self) -> None:
        """The response was read: only now may somebody else have the connection."""
        if not self._held:
            return
        self._held = False
        if self._transport is None:
            return
        if self._reusable:
            self.used = True
            self.idle_since_s = self._loop.time()
            self._release(self)
        else:
            self._transport.close()

    def _fail(self, error: UpstreamLost | LimitReached) -> None:
        self._busy = False
        self._end = error
        self._wake()
        self.abort()
        head, self._head = self._head, None
        if head is not None and not head.done():
            head.set_exception(error)

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


class Pool:
    """Connections to the origin of one URL.

    Args:
        url: `http://` or `https://`.
        peer: The server's name for messages.
        body_bytes_max: Longest body of a response that is no stream.

    Attributes:
        target: Path and query, for request lines.
        host: Value of the `Host` field.
        refused: Connections refused in a row.

    Raises:
        ConfigError: The URL cannot be used.
    """

    def __init__(self, url: str, *, peer: str, body_bytes_max: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(
                f"expected a url like http://host:port/mcp, got: {url!r}",
                hint="credentials belong into the service's headers",
            )
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.host = parts.netloc
        self.refused = 0
        self._hostname = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._peer = peer
        self._body_bytes_max = body_bytes_max
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._closed = False

    def idle(self, now_s: float) -> Connection | None:
        """A connection that rests and may be used at this loop time, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            connection.idle = False
            if connection.usable and connection.idle_since_s > now_s - IDLE_S:
                return connection
            connection.abort()
        return None

    async def fresh(self) -> Connection:
        """A connection that was never used.

        Raises:
            UpstreamLost: It cannot be made; `details["sent"]` is False.
        """
        if self._closed:
            raise UpstreamLost(f"cannot call {self._peer}: the connection was closed", sent=False)
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._peer, self._body_bytes_max, self._released),
                    self._hostname,
                    self._port,
                    ssl=self._tls,
                )
        except (OSError, TimeoutError) as cause:
            self.refused += 1
            why = str(cause) or f"no connection within {CONNECT_S:g} s"
            raise UpstreamLost(f"cannot reach {self._peer}: {why}", sent=False) from cause
        self.refused = 0
        self._all.add(connection)
        return connection

    async def wait_listening(self) -> None:
        """Return once a connection can be made; the caller bounds the wait."""
        while True:
            try:
                connection = await self.fresh()
            except UpstreamLost:
                if self._closed:
                    raise
                await asyncio.sleep(CONNECT_AGAIN_S)
                continue
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._released(connection)
            return

    def close(self) -> None:
        """Drop every connection; exchanges on them fail."""
        self._closed = True
        for connection in tuple(self._all):
            connection.abort()

    def _released(self, connection: Connection) -> None:
        """A connection is idle, or gone."""
        if not connection.usable:
            self._all.discard(connection)
            if connection.idle:
                connection.idle = False
                self._idle.remove(connection)
        elif self._closed or len(self._idle) >= IDLE_MAX:
            connection.abort()
        elif not connection.idle:
            connection.idle = True
            self._idle.append(connection)
