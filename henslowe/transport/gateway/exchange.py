"""One request of a client and its one HTTP response: plain JSON, or SSE when something comes before the answer.

The response becomes an event stream at the first notification (progress, log), or when the answer takes longer than the
keepalive interval, and only if the client accepts one. Until then nothing is started for a call: the common case costs
no task and no timer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Final

import orjson
from aiohttp import web

from henslowe.actors.endpoints import JsonObject
from henslowe.errors import LimitReached
from henslowe.transport.access.asker import asker
from henslowe.transport.gateway.protocol import (
    KEEPALIVE,
    LOG_RANK,
    SESSION_HEADER,
    SSE_HEADERS,
    node_error,
    response_bytes,
    response_pieces,
    retry_after,
    sse_frame,
)
from henslowe.transport.gateway.unsent import LARGE_BYTES, Unsent, send_slices
from henslowe.transport.http_guard import cors_headers
from henslowe.transport.json_reply import JsonReply
from henslowe.transport.mcp.large_json import Pieces

PENDING_MAX: Final = 1_000
"""Notifications that wait for a slow reader; while there are as many, further ones are dropped."""
PENDING_BYTES_MAX: Final = 1024 * 1024
"""The same in bytes."""

_JSON: Final = {"Content-Type": "application/json"}


class Exchange:
    """The response side of one POSTed request. Runs in: the node's loop.

    Args:
        request: The HTTP request.
        request_id: The client's JSON-RPC id, given back as it is.
        sse: Whether the client accepts an event stream.
        progress_token: The client's own token; without one no progress is sent.
        log_rank_min: Least log level sent, as its rank; None for no logs.
        keepalive_s: Interval of comments on a silent stream.
    """

    __slots__ = (
        "_done",
        "_keepalive_s",
        "_log_rank_min",
        "_pending",
        "_pending_bytes",
        "_progress_token",
        "_request",
        "_wake",
        "_writer",
        "cancelled_by_client",
        "request_id",
        "sse",
        "task",
    )

    def __init__(
        self,
        request: web.Request,
        request_id: Any,
        *,
        sse: bool,
        progress_token: Any,
        log_rank_min: int | None,
        keepalive_s: float,
    ) -> None:
        self._request = request
        self.request_id = request_id
        self.sse = sse
        self.task: asyncio.Task[Any] | None = None
        self.cancelled_by_client = False
        self._progress_token = progress_token
        self._log_rank_min = log_rank_min
        self._keepalive_s = keepalive_s
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._wake: asyncio.Event | None = None
        self._writer: asyncio.Task[web.StreamResponse] | None = None
        self._done = False

    @property
    def detached(self) -> bool:
        """Whether the call goes on without its client."""
        return False

    def notify(self, message: JsonObject) -> None:
        """Send a notification of this request's own ahead of the answer, where the client asked for its kind."""
        method, params = message.get("method"), message.get("params")
        if not isinstance(params, dict) or self._done:
            return
        if method == "notifications/progress":
            if self._progress_token is None:
                return
            params = {**params, "progressToken": self._progress_token}
        elif method == "notifications/message" and (
            self._log_rank_min is None or LOG_RANK.get(params.get("level", ""), 0) < self._log_rank_min
        ):
            return
        if len(self._pending) >= PENDING_MAX or self._pending_bytes > PENDING_BYTES_MAX:
            return
        self._event(orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    def send(self, message: JsonObject) -> None:
        """Send a message of the gateway's own (a question to the client) ahead of the answer."""
        self._event(orjson.dumps(message))

    def keep_alive(self) -> None:
        """Become an event stream if the client accepts one: the answer takes so long that proxies may hang up."""
        if self.sse and self._writer is None:
            self._begin()
            self._push(KEEPALIVE)

    @property
    def principal(self) -> str:
        """Who asks; "" for anybody."""
        return asker(self._request).name

    @property
    def size(self) -> int:
        """Bytes of the request."""
        return self._request.content_length or 0

    async def finish(
        self, answer: JsonObject, unsent: Unsent, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        """Send the answer, as JSON or as the last event, and return the finished response."""
        body = response_pieces(self.request_id, answer)
        if "error" in answer and (wait := retry_after(answer)):
            headers = {**(headers or {}), "Retry-After": wait}
        del answer  # while a slow client takes the bytes, nothing else is held for it
        if len(body) <= LARGE_BYTES:
            return await self._finish(body, status, headers)
        try:
            with unsent.holding(len(body)):
                return await self._finish(body, status, headers)
        except LimitReached as error:
            return await self._finish(response_pieces(self.request_id, node_error(error)), 503, headers)

    async def _finish(self, body: Pieces, status: int, headers: dict[str, str] | None) -> web.StreamResponse:
        if self._writer is None:
            if len(body) <= LARGE_BYTES:
                reply = JsonReply(body.joined(), status)
                if headers:
                    reply.headers.update(headers)
                return reply
            headers = {**_JSON, **headers} if headers else _JSON
            response = web.StreamResponse(status=status, headers={**headers, **cors_headers(self._request)})
            return await send_slices(self._request, response, body)
        self._event(body.joined(), last=True)
        self._done = True
        return await self._writer

    async def abandon(self, failure: BaseException) -> None:  # noqa: ARG002 (others keep it)
        """Stop writing: the client is gone, or the request ends without an answer."""
        self._done = True
        if self._writer is not None and not self._writer.done():
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._writer

    def _event(self, message: bytes, *, last: bool = False) -> None:  # noqa: ARG002 (for those that keep it)
        """Send one message as an event; the last one is the answer."""
        self._push(sse_frame(message))

    def _begin(self) -> None:
        """The response becomes an event stream without an event."""

    def _sent(self) -> None:
        """All was written to a connection that held."""

    def _push(self, frame: bytes) -> None:
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        if self._writer is None:
            self._wake = asyncio.Event()
            self._writer = asyncio.get_running_loop().create_task(self._write())
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()

    async def _write(self) -> web.StreamResponse:
        response = web.StreamResponse(headers={**SSE_HEADERS, **cors_headers(self._request)})
        assert self._wake is not None
        try:
            await response.prepare(self._request)
            while True:
                while self._pending:
                    frame = self._pending.popleft()
                    self._pending_bytes -= len(frame)
                    await response.write(frame)
                if self._done:
                    break
                self._wake.clear()
                try:
                    async with asyncio.timeout(self._keepalive_s):
                        await self._wake.wait()
                except TimeoutError:
                    self._push(KEEPALIVE)
            await response.write_eof()
            self._sent()
        except ConnectionError:
            self._done = True  # the handler is being cancelled by the server; there is no one to tell
        return response


def json_response(request_id: Any, answer: JsonObject, status: int = 200, session_id: str = "") -> web.Response:
    """An answer as plain JSON, outside of any exchange."""
    reply = JsonReply(response_bytes(request_id, answer), status)
    if session_id:
        reply.headers[SESSION_HEADER] = session_id
    return reply
