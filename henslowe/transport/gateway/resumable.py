"""Event streams of the handshake era that a client can leave and take up again.

A `ResumableExchange` gives its events ids and keeps them (`replay`). When its client goes away in the middle of the
stream, the call goes on: disconnection is no cancellation. A client that comes back follows the stream where it left
it. A call that died with the node is made again if that is safe, and otherwise answered with an error: nobody waits
for what will not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from henslowe.actors.endpoints import JsonObject
from henslowe.errors import HensloweError
from henslowe.transport.connections import ClientConnection
from henslowe.transport.gateway.exchange import Exchange
from henslowe.transport.gateway.protocol import (
    KEEPALIVE,
    NODE_ERROR,
    SSE_HEADERS,
    node_error,
    response_bytes,
    sse_frame,
)
from henslowe.transport.gateway.replay import ReplayLog, ReplayStream
from henslowe.transport.gateway.sessions import Session
from henslowe.transport.gateway.unsent import Unsent
from henslowe.transport.http_guard import cors_headers
from henslowe.transport.mcp import jsonrpc

PRIMED: Final = "2025-11-25"
"""The revision whose streams open with an event that only carries an id, to resume from."""


class ResumableExchange(Exchange):
    """The response side of one POSTed request whose stream may be taken up again. Runs in: the node's loop.

    Args:
        log: Keeps the events.
        session: Whose stream it is.
        message: The request, kept in case the node dies.
        may_detach: Whether the call may go on without its client.
        progress_token, log_rank_min, keepalive_s: As of `Exchange`.
    """

    __slots__ = ("_detached", "_log", "_may_detach", "_message", "_session", "stream")

    def __init__(
        self,
        request: web.Request,
        message: JsonObject,
        *,
        log: ReplayLog,
        session: Session,
        may_detach: Callable[[Exchange], bool],
        progress_token: Any,
        log_rank_min: int | None,
        keepalive_s: float,
    ) -> None:
        super().__init__(
            request,
            message["id"],
            sse=True,
            progress_token=progress_token,
            log_rank_min=log_rank_min,
            keepalive_s=keepalive_s,
        )
        self._log = log
        self._session = session
        self._message = message
        self._may_detach = may_detach
        self.stream: ReplayStream | None = None
        """None until the response is an event stream."""
        self._detached = False

    @property
    def detached(self) -> bool:
        """See `Exchange.detached`."""
        return self._detached

    async def finish(
        self, answer: JsonObject, unsent: Unsent, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        """See `Exchange.finish`; without its client the answer is kept."""
        if self._detached:
            self._conclude(answer)
            return web.Response()  # to a connection that has ended
        finishing = super().finish(answer, unsent, status=status, headers=headers)
        del answer  # see there
        return await finishing

    async def abandon(self, failure: BaseException) -> None:
        """See `Exchange.abandon`; a client that comes back is told."""
        if self._detached:
            self._conclude(_answer_of(failure))
        else:
            await super().abandon(failure)

    def keep_alive(self) -> None:
        """See `Exchange.keep_alive`."""
        if not self._detached:
            super().keep_alive()

    def _left(self) -> bool:
        """The client is gone: whether the work goes on. It does not once there is an answer, which is kept anyway."""
        if self.task is None or not self._may_detach(self):
            return False
        self._detached = True
        if self._writer is not None:
            self._writer.cancel()
        return True

    def _conclude(self, answer: JsonObject) -> None:
        """Keep the answer for a client that comes back."""
        assert self.stream is not None
        self._log.append(self.stream, response_bytes(self.request_id, answer), last=True)

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
            self.stream = self._log.open(self._session.id, self._message)
            if isinstance(self._request.protocol, ClientConnection):
                self._request.protocol.keep_going(self._left)
            if self._session.protocol_version >= PRIMED:
                self._push(b"id: %b\ndata: \n\n" % self.stream.id().encode())
        return self.stream


def _answer_of(failure: BaseException) -> JsonObject:
    """How a call ended that has no answer."""
    if isinstance(failure, asyncio.CancelledError):
        return jsonrpc.error(NODE_ERROR, "this request was cancelled", {"code": "cancelled"})
    if isinstance(failure, HensloweError):
        return node_error(failure)
    return jsonrpc.error(jsonrpc.INTERNAL_ERROR, "the gateway failed; the node's log says why")


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
