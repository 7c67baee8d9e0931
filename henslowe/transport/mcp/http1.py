"""HTTP/1.1 responses from bytes: a pure, incremental parser with limits.

Knows framing (length, chunks, until the end) and whether the connection may be used again; nothing of MCP.
Source: RFC 9112.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from henslowe.errors import UpstreamLost
from henslowe.transport.head_pattern import DIGITS_MAX, Pattern, split

HEAD_BYTES_MAX: Final = 64 * 1024
CHUNK_LINE_MAX: Final = 4 * 1024
_KNOWN_BYTES_MAX: Final = 4 * 1024
"""Longer heads are read each time."""
_BODILESS: Final = (204, 304)
_STATUS: Final = re.compile(r"HTTP/1\.[0-9] ([1-5][0-9]{2})(?![^ ])")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")

Read = tuple[int, dict[str, str], bool]
"""What a head says: its status, its fields, and whether the connection may carry another request."""


class _At(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    UNTIL_END = auto()
    DONE = auto()


class ResponseParser:
    """One response.

    Attributes:
        status: The status code; 0 until the head is complete.
        headers: Header fields by lower-case name; of repeated ones the last. Not to be changed: heads that differ in
            their length alone share them, with the length of the first.
        keep_alive: Whether the connection may carry another request; valid once `complete`.
        pattern: What the head has in common with the server's next ones; None for one without a usual length.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep_alive = False
        self.pattern: Pattern[Read] | None = None
        self._at = _At.HEAD
        self._buffer = b""
        self._left = 0

    @classmethod
    def within(cls, read: Read, length: int) -> ResponseParser:
        """The parser of a response whose head was read, and whose body of this length is to come."""
        parser = cls()
        parser.status, parser.headers, parser.keep_alive = read
        parser._left = length
        parser._at = _At.LENGTH if length else _At.DONE
        return parser

    @property
    def complete(self) -> bool:
        """Whether the whole response was read."""
        return self._at is _At.DONE

    @property
    def excess(self) -> bytes:
        """Bytes after the response's end, which nobody asked for."""
        return self._buffer if self._at is _At.DONE else b""

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that are found in `data`.

        Raises:
            UpstreamLost: It is not HTTP/1.1, or beyond a limit.
        """
        self._buffer = self._buffer + data if self._buffer else data
        if self._at is _At.HEAD and not self._head():
            return b""
        if self._at is _At.LENGTH:
            return self._length()
        if self._at is _At.UNTIL_END:
            body, self._buffer = self._buffer, b""
            return body
        return self._chunks() if self._at is not _At.DONE else b""

    def end(self) -> None:
        """The connection ended.

        Raises:
            UpstreamLost: In the middle of the response.
        """
        if self._at is _At.UNTIL_END:
            self._at = _At.DONE
        elif self._at is not _At.DONE:
            raise _broken("the connection ended within the response")

    def _head(self) -> bool:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise _broken(f"a head of more than {HEAD_BYTES_MAX} bytes")
                return False
            head = self._buffer[: end + 4]
            first, *lines = head[:-4].decode("latin-1").split("\r\n")
            self._buffer = self._buffer[end + 4 :]
            if (status := _STATUS.match(first)) is None:
                raise _broken(f"expected an HTTP/1.1 status line, got: {first.encode('latin-1')[:100]!r}")
            self.status = int(status[1])
            if self.status >= 200:
                break
        headers = self.headers
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _broken(f"expected a header field, got: {line.encode('latin-1')[:100]!r}")
            name, value = name.lower(), value.strip(" \t")
            if name == "content-length" and headers.get(name, value) != value:
                raise _broken("two content lengths that differ")
            headers[name] = value
        self._frame(first.startswith("HTTP/1.0"))
        self.pattern = self._pattern(head)
        return True

    def _pattern(self, head: bytes) -> Pattern[Read] | None:
        """What the head has in common with others; its body must be framed by a length, and by nothing else."""
        framed = self._at in (_At.LENGTH, _At.DONE) and self.status not in _BODILESS
        parts = split(head) if framed and len(head) <= _KNOWN_BYTES_MAX else None
        if parts is None or parts[1] != self.headers["content-length"].encode():
            return None
        return Pattern((self.status, self.headers, self.keep_alive), parts[0], parts[2])

    def _frame(self, http10: bool) -> None:
        connection = self.headers.get("connection", "").lower()
        self.keep_alive = "keep-alive" in connection if http10 else "close" not in connection
        if self.status in _BODILESS:
            self._at = _At.DONE
        elif "transfer-encoding" in self.headers:
            if self.headers["transfer-encoding"].lower() != "chunked":
                raise _broken(f"expected chunked transfer encoding, got: {self.headers['transfer-encoding']!r}")
            self._at = _At.CHUNK_SIZE
        elif (length := self.headers.get("content-length")) is not None:
            if not (length.isascii() and length.isdigit()) or len(length) > DIGITS_MAX:
                raise _broken(f"expected a content length, got: {length[:40]!r}")
            self._left = int(length)
            self._at = _At.LENGTH if self._left else _At.DONE
        else:
            self._at = _At.UNTIL_END
            self.keep_alive = False

    def _length(self) -> bytes:
        if len(self._buffer) == self._left:  # all of it, as nearly always
            body, self._buffer = self._buffer, b""
        else:
            body, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(body)
        if not self._left:
            self._at = _At.DONE
        return body

    def _chunks(self) -> bytes:
        found: list[bytes] = []
        while self._buffer and self._at is not _At.DONE:
            if self._at is _At.CHUNK:
                piece = self._buffer[: self._left]
                self._buffer = self._buffer[len(piece) :]
                self._left -= len(piece)
                found.append(piece)
                if not self._left:
                    self._at = _At.CHUNK_END
                continue
            line, newline, rest = self._buffer.partition(b"\r\n")
            if not newline:
                if len(self._buffer) > CHUNK_LINE_MAX:
                    raise _broken("a chunk's size line is too long")
                break
            self._buffer = rest
            self._chunk_line(line)
        return found[0] if len(found) == 1 else b"".join(found)

    def _chunk_line(self, line: bytes) -> None:
        if self._at is _At.CHUNK_END:
            if line:
                raise _broken("a chunk is longer than it says")
            self._at = _At.CHUNK_SIZE
        elif self._at is _At.CHUNK_SIZE:
            size = line.partition(b";")[0].strip()
            if _HEX.fullmatch(size) is None:  # int() alone would take a sign, too
                raise _broken(f"expected a chunk's size, got: {size[:40]!r}")
            self._left = int(size, 16)
            self._at = _At.CHUNK if self._left > 0 else _At.TRAILER
        elif not line:
            self._at = _At.DONE


def _broken(why: str) -> UpstreamLost:
    return UpstreamLost(f"cannot read the response: {why}", sent=True)
