"""Connections of clients: aiohttp's, but for requests that need no router, and for what is not HTTP.

Most requests of a node are small POSTs to one family of paths. `DIRECT` names a handler for them, which is called with
the application's middlewares before it and no router, in one task, as soon as the request's head is there; whatever is
unusual about a request (another verb, an old HTTP, a compressed body, requests in a queue) leaves it to aiohttp. Such a
handler may also outlive its connection (`ClientConnection.keep_going`).

Most of these need not even a task: `INLINE` names who is asked first, with the bytes of a whole request in hand, on a
connection that rests (`Inline`). It may begin a call and answer it later by a function call, hand it over to a direct
handler in the middle, or leave it alone.

aiohttp keeps every piece that arrives after bytes it could not read, quotes them in its answer and logs a traceback
for each: a few dozen clients that send heads of many megabytes cost the node hundreds of them. Here the first broken
piece ends the reading. How long a head may take and how large it may be is the listener's (`listener`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from aiohttp import HttpVersion11, StreamReader, hdrs, web, web_response
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import _ErrInfo

from henslowe.transport.head_pattern import Pattern
from henslowe.transport.heads import Heads, owed
from henslowe.transport.pacing import CLOSED_AT_ONCE, NEW_AT_ONCE, Paced

log = logging.getLogger(__name__)

HEAD_PIECES_BYTES: Final = 4_096
"""Of a head, put together before its parser has them unless a line ends: some clients send byte by byte."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, frozen=True)
class Direct:
    """A handler of all POSTs to `root` and to paths right under it; `root` has no slash at its end."""

    root: str
    handler: Handler

    def takes(self, message: RawRequestMessage) -> bool:
        """Whether a request is one of the usual ones."""
        return (
            message.method == hdrs.METH_POST
            and self._is_mine(message.path)
            and message.version == HttpVersion11
            and not (message.should_close or message.upgrade or message.chunked or message.compression)
            and hdrs.EXPECT not in message.headers
        )

    def _is_mine(self, path: str) -> bool:
        """Whether there is nothing in a path that a router would have to look at."""
        if path == self.root:
            return True
        end = len(self.root)
        return path.startswith(self.root) and path.rfind("/") == end < len(path) - 1


class InlineCall(Protocol):
    """A request that is being served without a task; it ends in `ClientConnection.reply`, or is handed over."""

    def lost(self) -> None:
        """The client is gone; called at most once, and not after `taken_over`."""
        ...


class Inline(Protocol):
    """Serves requests without a task."""

    @property
    def heads(self) -> Heads[Any]:
        """What it has made of heads."""
        ...

    def begin(self, client: ClientConnection, head: Any, raw: bytes, at: int) -> InlineCall | None:
        """Begin with a request whose body begins at `at`; None, and nothing was done, to leave it to others."""
        ...


INLINE: Final = web.AppKey("henslowe_inline", Inline)
"""Set on an application before it runs; without it every request has a task."""
DIRECT: Final = web.AppKey("henslowe_direct", Direct)
"""Set on an application before it runs; without it every request goes through the router."""


class ClientConnection(web.RequestHandler):
    """One connection of a client. Runs in: the node's loop.

    While a direct handler is at work, aiohttp's own loop over the connection's requests rests: it waits for a future
    (`_waiter`) that is put aside until then, and requests that come meanwhile wait in its queue.
    """

    __slots__ = (
        "_at_work",
        "_direct",
        "_ending",
        "_head",
        "_inline",
        "_inline_call",
        "_is_new",
        "_left",
        "_newcomers",
        "_owed",
        "_pattern",
        "_resting",
        "_unreadable",
        "peer",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        ending: Paced,
        newcomers: Paced,
        direct: Direct | None = None,
        inline: Inline | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(manager, **settings)
        self._ending = ending
        self._newcomers = newcomers
        self._is_new = True
        """Nothing came of it yet."""
        self._direct = direct
        self._inline = inline
        self._inline_call: InlineCall | None = None
        self._pattern: Pattern[Any] | None = None
        """Of the last request that was served without a task: a client repeats itself."""
        self._head: bytearray | None = None
        """What came of a head whose beginning the parser has; None while it has all that came."""
        self._owed: int | None = 0
        """Bytes that the parser expects of its request; None once that is not known any more."""
        self.peer = ""
        """The client's address; "" for one without."""
        self._unreadable = False
        self._at_work: asyncio.Task[None] | None = None
        self._resting: asyncio.Future[None] | None = None
        self._left: Callable[[], bool] | None = None

    def keep_going(self, left: Callable[[], bool] | None) -> None:
        """Ask `left` when the client goes away: whether the request that is being handled goes on without it.

        It is asked at most once, and about this request only.
        """
        self._left = left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple | list):
            self.peer = str(peername[0])
        else:
            self._inline = None  # who that is takes a closer look

    def data_received(self, data: bytes) -> None:
        """Take bytes until some of them are no HTTP: what comes after those is dropped."""
        if self._is_new:
            if not self._newcomers.may_now():
                self._come_later(data)
                return
            self._is_new = False
        if self._unreadable:
            return
        if self._close or self._force_close:
            self._finish_body(data)
            return
        if self._head is not None:
            self._head += data
            if b"\n" not in data and len(self._head) <= HEAD_PIECES_BYTES:
                return
            data, self._head = bytes(self._head), None
        rests = self._at_work is None and self._inline_call is None
        if rests:
            if self._inline is not None and self._waiter is not None and self._begin(self._inline, data):
                return
            self._resting, self._waiter = self._waiter, None
        if self._owed is not None:
            self._owed = owed(self._owed, data)
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._unreadable = True
            found = self._messages[0][0]
            if rests and self._resting is not None and isinstance(found, _ErrInfo):
                self._refuse(found)
                return
        if rests:
            if self._resting is not None and self._owed is None and not (self._messages or self._upgraded):
                self._head = bytearray()
            self._next()

    def _finish_body(self, data: bytes) -> None:
        """Take the rest of a request that is being served while the listener ends; what comes after it is dropped.

        aiohttp hears nobody any more from then on. The request would wait for its body, and the node's end for it.
        """
        rest = data[: self._owed or 0]
        if rest and self._parser is not None:
            self._owed = owed(self._owed or 0, rest)
            self._parser.feed_data(rest)

    def _come_later(self, data: bytes) -> None:
        """Have a first request wait for its turn, behind those of connections that came before."""
        transport = self.transport
        if transport is not None:
            self._is_new = False
            transport.pause_reading()
            self._newcomers.add(functools.partial(self._come, transport, data))

    def _come(self, transport: asyncio.Transport, data: bytes) -> None:
        if self.transport is transport and not transport.is_closing():
            transport.resume_reading()
            self.data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # aiohttp's says nothing
        """The client hangs up, often one of many: its connection is closed in its turn."""
        transport = self.transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return None  # which closes it now
        self._ending.add(transport.close)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone: what is being done for it ends, unless it can go on."""
        self._lose_inline()
        left, self._left = self._left, None
        goes_on = left is not None and left()
        if goes_on and self._at_work is None:
            self._task_handler = None  # else it is cancelled, and what it waits for with it
        super().connection_lost(exc)
        if self._at_work is not None and not goes_on:
            self._at_work.cancel()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """End the connection; what is being done may take until the timeout."""
        try:
            await super().shutdown(timeout)
        finally:
            self._lose_inline()
            if self._at_work is not None:
                self._at_work.cancel()

    # -- without a task ----------------

    def reply(self, answer: bytes) -> None:
        """End the inline call with a whole response."""
        self._inline_call = None
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(answer)
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        self._rest(stays=True)

    def hand_over(self, raw: bytes, handler: Handler) -> None:
        """Go on with the inline call's request in a handler, which calls `taken_over` first."""
        assert self._inline is not None
        parsed = self._inline.heads.parse(raw, self)
        assert parsed is not None, "it was parsed before"
        if self._manager is not None:
            self._manager.requests_count -= 1  # else it counts twice
        self._at_work = self._loop.create_task(self._work(handler, *parsed))

    def taken_over(self) -> None:
        """The handler is at work: it is told what becomes of the connection as any handler is."""
        self._inline_call = None

    def _begin(self, inline: Inline, data: bytes) -> bool:
        """Whether a piece is a request that is now being served without a task."""
        if self._owed != 0 or self._messages or self._upgraded or self._paused or self._close or self._force_close:
            return False
        pattern = self._pattern
        at = 0 if pattern is None else inline.heads.again(pattern, data)
        if pattern is None or not at:
            found = inline.heads.find(data, self)
            if found is None:
                return False
            pattern, at = found
            self._pattern = pattern
        call = inline.begin(self, pattern.made, data, at)
        if call is None:
            return False
        self._inline_call = call
        self._resting, self._waiter = self._waiter, None
        self._request_in_progress = True
        if self._manager is not None:
            self._manager.requests_count += 1
        return True

    def _lose_inline(self) -> None:
        call, self._inline_call = self._inline_call, None
        if call is not None:
            call.lost()

    # -- direct handlers ----------------

    def _next(self) -> None:
        """Begin with the request that came, or let aiohttp do it."""
        resting, direct = self._resting, self._direct
        if resting is not None and direct is not None and len(self._messages) == 1 and not self._upgraded:
            message, payload = self._messages[0]
            if not isinstance(message, _ErrInfo) and direct.takes(message):
                self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                self._at_work = self._loop.create_task(self._work(direct.handler, message, payload))
                return
        self._resting, self._waiter = None, resting
        if self._messages and resting is not None and not resting.done():
            resting.set_result(None)

    async def _work(self, handler: Handler, message: RawRequestMessage, payload: StreamReader) -> None:
        """Handle one request as aiohttp does, and go on with the connection's next one."""
        request: web.BaseRequest | None = None
        stays = False
        try:
            if self._manager is None or self._request_factory is None:
                return  # the connection ended before the task began
            self._manager.requests_count += 1
            writer = StreamWriter(self, self._loop)
            # In this connection's applications all requests are `web.Request`s, and nobody asks one for its task.
            request = self._request_factory(message, payload, self, writer, cast("Any", self._task_handler))
            response, lost = await self._handle_request(request, None, cast("Any", handler))
            if not payload.is_eof():
                await self._linger(payload)
            stays = bool(response.keep_alive) and not lost and payload.is_eof()
        except ConnectionError:
            pass  # nobody is there to be told
        except Exception:
            log.exception("connection_failed", extra={"peer": self.peername})
        finally:
            if request is not None:
                request._task = cast("Any", None)  # no cycle of references
            self._left = self._at_work = None
            self._rest(stays=stays)

    def _rest(self, *, stays: bool) -> None:
        """Nothing is being done: wait for the next request, or end the connection."""
        if self._manager is None:  # it has ended
            return
        if not stays or self._close or self._force_close:
            self._waiter, self._resting = self._resting, None
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._messages:
            self._next()
        else:
            self._resting, self._waiter = None, self._resting

    async def _linger(self, payload: StreamReader) -> None:
        """Read the rest of a request that was answered early, so that its client sees the answer."""
        with suppress(TimeoutError, web.RequestPayloadError):
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof():
                    await payload.readany()

    # -- what is no request ----------------

    def _refuse(self, found: _ErrInfo) -> None:
        """Answer what could not be read on a connection that rests, and end it: no request has to be made up for it."""
        self._messages.clear()
        log.debug("request_unreadable", extra={"peer": self.peer, "cause": type(found.exc).__name__})
        if self.transport is not None:
            self.transport.pause_reading()
        self._ending.add(functools.partial(self._turn_away, _unreadable(found.status)))

    def _turn_away(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)
        self._rest(stays=False)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be read: its status and a few words, and the end of the connection."""
        if isinstance(exc, UnicodeEncodeError):  # a refusal that quoted what cannot be sent back, such as `Expect`
            status = HTTPStatus.BAD_REQUEST
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        log.debug("request_unreadable", extra={"peer": request.remote, "cause": type(exc).__name__})
        response = web.Response(status=status, text=f"{status}: {HTTPStatus(status).phrase}")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **settings: Any) -> None:
        """Log what is the node's fault; a body that is not encoded as its headers say is its client's."""
        if not isinstance(sys.exc_info()[1], web.RequestPayloadError):
            super().log_exception(*args, **settings)


def _unreadable(status: int) -> bytes:
    """The answer to bytes that are no request."""
    phrase = HTTPStatus(status).phrase
    text = f"{status}: {phrase}"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
        f"Date: {rfc822_formatted_time()}\r\nServer: {web_response.SERVER_SOFTWARE}\r\n"  # type: ignore[attr-defined]  # it imports the name
        "Connection: close\r\n\r\n"
    )
    return (head + text).encode()


class _Server(web.Server):
    ending: Paced
    newcomers: Paced
    direct: Direct | None = None
    inline: Inline | None = None

    def __call__(self) -> web.RequestHandler:
        """A handler for one connection."""
        return ClientConnection(
            self,
            loop=self._loop,
            ending=self.ending,
            newcomers=self.newcomers,
            direct=self.direct,
            inline=self.inline,
            **self._kwargs,
        )


class Runner(web.AppRunner):
    """An application runner whose connections are `ClientConnection`s; its arguments are those of `web.AppRunner`."""

    @property
    def waiting(self) -> int:
        """First requests of connections that came and wait for their turn."""
        return len(self.server.newcomers) if isinstance(self.server, _Server) else 0

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
        direct = self.app.get(DIRECT)
        if direct is not None:
            handler = direct.handler
            for middleware in reversed(self.app.middlewares):
                handler = functools.partial(middleware, handler=handler)
            server.direct = Direct(direct.root, handler)
        server.inline = self.app.get(INLINE)
        server.ending = Paced(made._loop, CLOSED_AT_ONCE)
        server.newcomers = Paced(made._loop, NEW_AT_ONCE)
        return server
