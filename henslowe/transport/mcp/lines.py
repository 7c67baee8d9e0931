"""Cuts a byte stream into lines within a limit; a longer line is skipped without being held in memory.

Pure: bytes in, lines out. What is in a line is not its business, except that of a skipped one it keeps both ends,
where a JSON-RPC response says which request it answers, and that a long one is looked through as it comes
(`large_json`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from henslowe.transport.mcp.large_json import GrowingLine, LongLine

LONG_BYTES: Final = 256 * 1024
"""From here on the pieces of a line are put together as they come: all at once, many megabytes take milliseconds."""
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


Line = bytes | LongLine | TooLong
"""What is handed out."""


class LineCutter:
    """Lines from chunks.

    Args:
        line_bytes_max: Longest line that is handed out.
    """

    def __init__(self, line_bytes_max: int) -> None:
        self._max = line_bytes_max
        self._parts: list[bytes] = []
        self._long: GrowingLine | None = None
        self._held = 0
        self._skipped = 0
        self._head = self._tail = b""

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in this chunk, without their line ends."""
        lines: list[Line] = []
        if b"\n" not in data:  # of a long line nearly always, and faster
            self._take(data)
            return lines
        *ended, rest = data.split(b"\n")
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
        self._held += len(piece)
        if self._held > self._max:
            self._skip(piece)
        elif self._long is not None:
            self._long.add(piece)
        else:
            self._parts.append(piece)
            if self._held > LONG_BYTES:
                self._long = GrowingLine()
                for part in self._parts:
                    self._long.add(part)
                self._parts.clear()

    def _skip(self, piece: bytes) -> None:
        """Keep both ends of a line that turned out to be too long, and drop the rest."""
        before = b"".join(self._parts) if self._long is None else self._long.ends(ENDS)
        self._skipped = self._held
        self._head, self._tail = (before + piece)[:ENDS], (before[-ENDS:] + piece)[-ENDS:]
        self._parts.clear()
        self._long = None

    def _line(self) -> Line:
        line: Line
        if self._skipped:
            line = TooLong(self._skipped, self._head, self._tail)
        elif self._long is not None:
            line = self._long.whole()
        else:
            line = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._long = None
        self._held = self._skipped = 0
        return line
