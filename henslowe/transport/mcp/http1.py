"""HTTP/1.1 responses from bytes: a pure, incremental parser with limits.

Knows framing (length, chunks, until the end) and whether the connection may be used again; nothing of MCP.
Source: RFC 9112.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from henslowe.errors import UpstreamLost

HEAD_BYTES_MAX: Final = 64 * 1024
CHUNK_LINE_MAX: Final = 4 * 1024
HEADS_MAX: Final = 256
"""Heads that are known again; when there are more, all are forgotten. Servers repeat theirs, for a second at least."""
_LENGTH: Final = b"ength: "
_FIELD: Final = b"content-length:"
_DIGITS_MAX: Final = 15
_BODILESS: Final = (204, 304)
_heads: dict[bytes, tuple[int, dict[str, str], bool]] = {}
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")


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
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep_alive = False
        self._at = _At.HEAD
        self._buffer = b""
        self._left = 0

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
        if self._at is _At.HEAD and not self._known_head() and not self._head():
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

    def _known_head(self) -> bool:
        """Whether the head is one that came before, but for the length; then it is read."""
        buffer = self._buffer
        start = buffer.find(_LENGTH) + len(_LENGTH)
        end = buffer.find(b"\r\n", start, start + _DIGITS_MAX + 2)
        body = buffer.find(b"\r\n\r\n", end, HEAD_BYTES_MAX) + 4
        if end < 0 or body < 4 or not (digits := buffer[start:end]).isdigit():
            return False
        known = _heads.get(buffer[:start] + buffer[end:body])
        if known is None:
            return False
        self.status, self.headers, self.keep_alive = known
        self._buffer = buffer[body:]
        self._left = int(digits)
        self._at = _At.LENGTH if self._left else _At.DONE
        return True

    def _remember(self, head: bytes) -> None:
        """Know a head again that is framed by one length, written as nearly always."""
        start = head.find(_LENGTH) + len(_LENGTH)
        end = head.find(b"\r\n", start)
        written = head[:start].lower()
        if (
            written.endswith(b"\r\n" + _FIELD + b" ")
            and head.lower().count(b"\r\n" + _FIELD) == 1
            and self._at in (_At.LENGTH, _At.DONE)
            and self.status not in _BODILESS
            and head[start:end] == self.headers["content-length"].encode()
        ):
            if len(_heads) >= HEADS_MAX:
                _heads.clear()
            _heads[head[:start] + head[end:]] = self.status, self.headers, self.keep_alive

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
            if not first.startswith("HTTP/1.") or not (first[9:12].isascii() and first[9:12].isdigit()):
                raise _broken(f"expected an HTTP/1.1 status line, got: {first.encode('latin-1')[:100]!r}")
            self.status = int(first[9:12])
            if self.status >= 200:
                break
        headers = self.headers
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _broken(f"expected a header field, got: {line.encode('latin-1')[:100]!r}")
            headers[name.lower()] = value.strip(" \t")
        self._frame(first.startswith("HTTP/1.0"))
        self._remember(head)
        return True

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
            if not (length.isascii() and length.isdigit()):
                raise _broken(f"expected a content length, got: {length!r}")
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
