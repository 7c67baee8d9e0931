"""A JSON response that is whole when it is made: head and body in one write.

aiohttp's own response builds a table of headers, asks hooks and writes piece by piece, which costs more than what most
calls do besides. This one is meant for the common case and is an ordinary `web.Response` in every other: as soon as
somebody looks at its headers, and for connections that do not go on.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import ClientConnectionResetError, HttpVersion11, hdrs, web, web_response
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

CONTENT_TYPE: Final = "application/json"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_heads: dict[int, tuple[str, bytes]] = {}
"""By status: the second that it was made in, and the head but for its length. There are few statuses."""


def whole(body: bytes, status: int = 200) -> bytes:
    """A response with a JSON body on the wire, on a connection that goes on."""
    date = rfc822_formatted_time()
    head = _heads.get(status)
    if head is None or head[0] is not date:
        head = _heads[status] = date, _head(status, date)
    return b"%bContent-Length: %d\r\n\r\n%b" % (head[1], len(body), body)


def _head(status: int, date: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nContent-Type: {CONTENT_TYPE}\r\nDate: {date}\r\n"
        f"Server: {web_response.SERVER_SOFTWARE}\r\n"  # type: ignore[attr-defined]  # it imports the name
    ).encode()


class JsonReply(web.Response):
    """A response with a JSON body. Runs in: the node's loop.

    Args:
        body: The JSON, as bytes.
        status: The HTTP status.
    """

    def __init__(self, body: bytes, status: int = 200) -> None:
        # The base's constructor waits until somebody needs what it makes.
        self._body = body
        self._status = status
        self._ordinary = False

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers, which may be changed: from here on this is an ordinary response."""
        self._become_ordinary()
        return super().headers

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """See `web.StreamResponse.prepare`; what is ready is written by `write_eof`."""
        plain = request.version == HttpVersion11 and request.keep_alive and request.method == hdrs.METH_POST
        if self._ordinary or not plain:
            self._become_ordinary()
            return await super().prepare(request)
        self._req = request
        self._payload_writer = request.writer
        self._keep_alive = True
        return self._payload_writer

    async def write_eof(self, data: bytes = b"") -> None:
        """See `web.StreamResponse.write_eof`."""
        if self._ordinary:
            return await super().write_eof(data)
        if self._eof_sent:
            return None
        request, body = self._req, self._body
        assert request is not None, "prepare comes first"
        assert isinstance(body, bytes)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._eof_sent = True
        transport.write(whole(body, self._status))
        await request.writer.drain()
        return None

    def _become_ordinary(self) -> None:
        if not self._ordinary:
            self._ordinary = True
            super().__init__(body=self._body, status=self._status, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
