"""Heads of requests that came before: what was made of one is not made again for the same bytes.

A client repeats the head of its requests word for word, but for the length of the body. So a head is parsed once, by
aiohttp, and what its reader makes of it is remembered under its bytes without the digits of the length, for all
connections; each connection also remembers its last pattern, which takes a comparison. Only whole requests in one piece
are looked at, whose one length is written as `Content-Length: 123`; everything else is aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from aiohttp import StreamReader, hdrs, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

from henslowe.transport.head_pattern import LENGTH, Pattern, split

R = TypeVar("R")

HEADS_MAX: Final = 1_024
"""Heads that are remembered; when there are more, all are forgotten: a reading costs some 20 us."""
REQUEST_BYTES_MAX: Final = 64 * 1024
"""Of what is looked at: more than one read of a socket gives, and less than aiohttp's streams hold."""
_HEAD_BYTES_MAX: Final = 4_096
"""Longer ones are not remembered, nor tried."""
_FIELD: Final = b"content-length:"
_DIGITS_MAX: Final = 9
_BUFFER_BYTES: Final = 2 * REQUEST_BYTES_MAX


class Heads(Generic[R]):
    """What was made of heads. Runs in: the node's loop.

    Args:
        read: Makes something of a head; None for one that needs the ordinary way.
        field_bytes_max: Longest field of a head.
        fields_max: Most fields of one.
    """

    def __init__(self, read: Callable[[RawRequestMessage], R | None], *, field_bytes_max: int, fields_max: int) -> None:
        self._read = read
        self._field_bytes_max = field_bytes_max
        self._fields_max = fields_max
        self._known: dict[bytes, Pattern[R] | None] = {}

    def find(self, data: bytes, protocol: BaseProtocol) -> tuple[Pattern[R], int] | None:
        """The pattern of the head, and where the body begins; None for what is not one whole usual request."""
        start = data.find(LENGTH) + len(LENGTH)
        end = data.find(b"\r\n", start, start + _DIGITS_MAX + 2)
        digits = data[start:end]
        if start < len(LENGTH) or end < 0 or not digits.isdigit():
            return None
        body = data.find(b"\r\n\r\n", end, _HEAD_BYTES_MAX) + 4
        if body < 4 or len(data) - body != int(digits) or len(data) > REQUEST_BYTES_MAX:
            return None
        key = data[:start] + data[end:body]
        try:
            pattern = self._known[key]
        except KeyError:
            pattern = self._learn(key, data[:body], protocol)
        return None if pattern is None else (pattern, body)

    def again(self, pattern: Pattern[R], data: bytes) -> int:
        """Where the body of one whole request begins whose head is of this pattern; 0 for any other."""
        found = pattern.match(data)
        if found is None:
            return 0
        body, length = found
        return body if len(data) - body == length and len(data) <= REQUEST_BYTES_MAX else 0

    def parse(self, data: bytes, protocol: BaseProtocol) -> tuple[RawRequestMessage, StreamReader] | None:
        """A request and its body as aiohttp has them; None for anything but exactly one.

        Raises:
            HttpProcessingError: It is no HTTP.
        """
        parser = HttpRequestParser(
            protocol,
            asyncio.get_running_loop(),
            _BUFFER_BYTES,
            payload_exception=web.RequestPayloadError,
            max_field_size=self._field_bytes_max,
            max_headers=self._fields_max,
        )
        messages, upgraded, rest = parser.feed_data(data)
        if len(messages) != 1 or upgraded or rest:
            return None
        return messages[0]

    def _learn(self, key: bytes, head: bytes, protocol: BaseProtocol) -> Pattern[R] | None:
        if len(self._known) >= HEADS_MAX:
            self._known.clear()
        self._known[key] = pattern = self._made(head, protocol)
        return pattern

    def _made(self, head: bytes, protocol: BaseProtocol) -> Pattern[R] | None:
        parts = split(head)
        if parts is None:
            return None
        before, digits, after = parts
        try:
            parsed = self.parse(head, protocol)
        except HttpProcessingError:
            return None
        if parsed is None:
            return None
        message: Any = parsed[0]
        if message.headers.getall(hdrs.CONTENT_LENGTH, ()) != [digits.decode()]:
            return None
        made = self._read(message)
        return None if made is None else Pattern(made, before, after)


def owed(before: int, data: bytes) -> int | None:
    """How many bytes are to come of a request after this piece; None where that cannot be told from it alone.

    Args:
        before: How many were to come before it; 0 between requests.
        data: The piece.
    """
    if before or not data:
        return before - len(data) if len(data) <= before else None
    end = data.find(b"\r\n\r\n", 0, REQUEST_BYTES_MAX)
    head, body = data[:end], len(data) - end - 4
    if end < 0 or head.lstrip(b"\r\n").startswith(b"CONNECT "):  # whose length means nothing
        return None
    lines = head.lower().split(b"\r\n")[1:]
    lengths = [line[len(_FIELD) :].strip() for line in lines if line.startswith(_FIELD)]
    if any(line.startswith((b"transfer-encoding:", b"upgrade:")) for line in lines) or len(lengths) > 1:
        return None
    if not lengths:
        return None if body else 0
    if not lengths[0].isdigit() or len(lengths[0]) > _DIGITS_MAX:
        return None
    left = int(lengths[0]) - body
    return left if left >= 0 else None
