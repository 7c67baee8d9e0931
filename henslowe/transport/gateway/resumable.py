"""Event streams of the handshake era that a client can leave and take up again.

A `ResumableExchange` gives its events ids and keeps them (`replay`). When its client goes away in the middle of the
stream, the call goes on: disconnection is no cancellation. A client that comes back follows the stream where it left
it. A call that died with the node is made again if that is safe, and otherwise answered with an error: nobody waits
for what will not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from henslowe.actors.endpoints import JsonObject
from henslowe.transport.gateway.exchange import Exchange
from henslowe.transport.gateway.protocol import KEEPALIVE, SSE_HEADERS, response_bytes, sse_frame
from henslowe.transport.gateway.replay import ReplayLog, ReplayStream
from henslowe.transport.http_guard import cors_headers


class ResumableExchange(Exchange):
    """The response side of one POSTed request whose stream may be taken up again. Runs in: the node's loop.

    Args:
        log: Keeps the events.
        session: Whose stream it is.
        message: The request, kept in case the node dies.
        primed: Whether the stream opens with an event that only has an id.
        more: As of `Exchange`.
    """

    __slots__ = ("_detached", "_log", "_message", "_primed", "_session", "_work", "stream")

    def __init__(
        self, request: web.Request, message: JsonObject, *, log: ReplayLog, session: str, primed: bool, **more: Any
    ) -> None:
        super().__init__(request, message["id"], **more)
        self._log = log
        self._session = session
        self._message = message
        self._primed = primed
        self.stream: ReplayStream | None = None
        """None until the response is an event stream."""
        self._work: asyncio.Task[JsonObject] | None = None
        self._detached = False

    @property
    def detached(self) -> bool:
        """See `Exchange.detached`."""
        return self._detached

    def working(self, work: Awaitable[JsonObject]) -> Awaitable[JsonObject]:
        """See `Exchange.working`: a task of its own, that the end of the connection does not end."""
        self._work = asyncio.ensure_future(work)
        return asyncio.shield(self._work)

    def cancel_work(self) -> None:
        """See `Exchange.cancel_work`."""
        if self._work is not None:
            self._work.cancel()

    def leave(self, concluded: Callable[[asyncio.Task[JsonObject]], None]) -> bool:
        """See `Exchange.leave`: it goes on if its stream can be taken up again."""
        if self.stream is None or self._work is None:
            return False
        self._detached = True
        self.task = self._work
        self._work.add_done_callback(concluded)  # also if it ended in this very moment
        return True

    def conclude(self, answer: JsonObject) -> None:
        """See `Exchange.conclude`: keep it for a client that comes back."""
        assert self.stream is not None
        self._log.append(self.stream, response_bytes(self.request_id, answer), last=True)

    def keep_alive(self) -> None:
        """See `Exchange.keep_alive`."""
        if not self._detached:
            super().keep_alive()

    def _event(self, message: bytes, *, last: bool = False) -> None:
        stream = self._opened()
        self._log.append(stream, message, last=last)
        if not self._detached:
            self._push(sse_frame(message, stream.id()))

    def _begin(self) -> None:
        """The response becomes an event stream."""
        self._opened()

    def _sent(self) -> None:
        if self.stream is not None and self.stream.complete:
            self._log.done(self.stream)

    def _opened(self) -> ReplayStream:
        if self.stream is None:
            self.stream = self._log.open(self._session, self._message)
            if self._primed:
                self._push(b"id: %b\ndata: \n\n" % self.stream.id().encode())
        return self.stream


async def follow(
    request: web.Request, stream: ReplayStream, number: int, *, keepalive_s: float, log: ReplayLog
) -> web.StreamResponse:
    """Send what came after an event, and what is still to come, until the stream is complete."""
    response = web.StreamResponse(headers={**SSE_HEADERS, **cors_headers(request)})
    try:
        await response.prepare(request)
        sent = number
        while True:
            for each, message in stream.since(sent):
                await response.write(sse_frame(message, stream.id(each)))
                sent = each
            if stream.complete and sent >= stream.number:
                break
            await stream.grown(keepalive_s)
            log.touch(stream)
            if not stream.since(sent):
                if stream.complete:
                    break
                await response.write(KEEPALIVE)
        await response.write_eof()
        log.done(stream)
    except ConnectionError:
        pass  # it may come back once more
    return response
