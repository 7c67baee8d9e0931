"""Connections of clients: aiohttp's, but for what is not HTTP, which costs one short answer and nothing more.

aiohttp keeps every piece that arrives after bytes it could not read, quotes them in its answer and logs a traceback
for each: a few dozen clients that send heads of many megabytes cost the node hundreds of them. Here the first broken
piece ends the reading. How long a head may take and how large it may be is the listener's (`listener`).
"""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import _ErrInfo

log = logging.getLogger(__name__)


class ClientConnection(web.RequestHandler):
    """One connection of a client. Runs in: the node's loop."""

    __slots__ = ("_unreadable",)

    def __init__(self, manager: web.Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._unreadable = False

    def data_received(self, data: bytes) -> None:
        """Take bytes until some of them are no HTTP: what comes after those is dropped."""
        if self._unreadable:
            return
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._unreadable = True

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


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        """A handler for one connection."""
        return ClientConnection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An application runner whose connections are `ClientConnection`s; its arguments are those of `web.AppRunner`."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
