"""Cuts a byte stream into lines within a limit; a longer line is skipped without being held in memory.

Pure: bytes in, lines out. What is in a line is not its business, except that of a skipped one it keeps both ends,
where a JSON-RPC response says which request it answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ENDS: Final = 128
"""Bytes kept from each end of a skipped line."""

_ID_FIRST: Final = re.compile(rb'\A\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*,')
_ID_LAST: Final = re.compile(rb'"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


@dataclass(slots=True, frozen=True)
class TooLong:
    """A line beyond the limit: its length and its ends."""

    length: int
    head: bytes
    tail: bytes

    @property
    def response_id(self) -> int | None:
        """The id of the response that the line seems to be: servers write it first (Python) or last (TypeScript)."""
        found = _ID_FIRST.search(self.head) or _ID_LAST.search(self.tail)
        return int(found[1]) if found else None


class LineCutter:
    """Lines from chunks.

    Args:
        line_bytes_max: Longest line that is handed out.
    """

    def __init__(self, line_bytes_max: int) -> None:
        self._max = line_bytes_max
        self._parts: list[bytes] = []
        self._held = 0
        self._skipped = 0
        self._head = self._tail = b""

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        """The lines that end in this chunk, without their line ends."""
        *ended, rest = data.split(b"\n")
        lines: list[bytes | TooLong] = []
        for piece in ended:
            self._take(piece)
            lines.append(self._line())
        if rest:
            self._take(rest)
        return lines

    def _take(self, piece: bytes) -> None:
        if self._skipped:
            self._skipped += len(piece)
            self._tail = (self._tail + piece[-ENDS:])[-ENDS:]
            return
        self._parts.append(piece)
        self._held += len(piece)
        if self._held > self._max:
            self._skipped, self._head, self._tail = self._held, _first(self._parts), _last(self._parts)
            self._parts.clear()

    def _line(self) -> bytes | TooLong:
        if self._skipped:
            line: bytes | TooLong = TooLong(self._skipped, self._head, self._tail)
        else:
            line = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._held = self._skipped = 0
        return line


def _first(parts: list[bytes]) -> bytes:
    """The first `ENDS` bytes, without joining what may be many megabytes."""
    found = b""
    for part in parts:
        found += part[: ENDS - len(found)]
        if len(found) == ENDS:
            break
    return found


def _last(parts: list[bytes]) -> bytes:
    """The last `ENDS` bytes, likewise."""
    found = b""
    for part in reversed(parts):
        found = part[-(ENDS - len(found)) :] + found
        if len(found) == ENDS:
            break
    return found
