"""Server-Sent Events from bytes: pure, incremental, bounded.

Source: HTML Living Standard, section 9.2 (event streams). Only what MCP uses is kept: `data`, `id` and `retry`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from henslowe.errors import LimitReached

_NO_ID: Final = re.compile(rb"[\0\r]")
"""What no id may have in it: it would end a header, or a line."""
_DIGITS_MAX: Final = 12


@dataclass(slots=True, frozen=True)
class SseEvent:
    """One event: its data lines joined, and the id that a later `Last-Event-ID` would name ("" for none).

    The id is nobody's to read, so its characters are its bytes.
    """

    data: bytes
    last_id: str


class SseDecoder:
    """Events from chunks.

    Args:
        event_bytes_max: Longest event.

    Attributes:
        last_id: The last event id seen, also of events without data.
        retry_s: The pause that the server asks for before reconnecting, or None.
    """

    def __init__(self, event_bytes_max: int) -> None:
        self._max = event_bytes_max
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self.last_id = ""
        self.retry_s: float | None = None

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that end in this chunk.

        Raises:
            LimitReached: An event is longer than the limit.
        """
        *lines, rest = chunk.split(b"\n")
        events: list[SseEvent] = []
        for line in lines:
            if self._rest:
                self._rest.append(line)
                line = b"".join(self._rest)  # noqa: PLW2901 - the line as a whole
                self._rest.clear()
                self._rest_bytes = 0
            self._line(line.removesuffix(b"\r"), events)
        if rest:
            self._rest.append(rest)
            self._rest_bytes += len(rest)
        if self._rest_bytes + self._data_bytes > self._max:
            raise LimitReached(f"cannot read the event stream: an event has more than {self._max} bytes")
        return events

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._data:
                events.append(SseEvent(b"\n".join(self._data), self.last_id))
                self._data.clear()
                self._data_bytes = 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(value)
        elif field == b"id" and _NO_ID.search(value) is None:
            self.last_id = value.decode("latin-1")
        elif field == b"retry" and value.isdigit() and len(value) <= _DIGITS_MAX:
            self.retry_s = int(value) / 1000
