"""Requests to a server over HTTP as bytes: what stands around each message, by era, session and call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from henslowe.actors.endpoints import Era, JsonObject
from henslowe.transport.mcp import eras
from henslowe.transport.mcp.headers import header_lines, header_value, passed_on
from henslowe.transport.mcp.link import NO_HEADERS

KNOWN_MAX: Final = 1_024
"""Heads that are remembered; when there are more, all are forgotten."""
KNOWN_BYTES_MAX: Final = 4 * 1024
"""Longer ones are made each time."""
_LINES: Final = {
    "POST": "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n",
    "GET": "Accept: text/event-stream\r\n",
    "DELETE": "Accept: application/json, text/event-stream\r\n",
}
"""Header lines by verb."""


class Requests:
    """Writes the requests to one server.

    Args:
        target: Path and query.
        host: Value of the `Host` field.
        headers: Sent with every request.

    Attributes:
        era: What is spoken.
        session: Ours at a server of the handshake era; "" for none.

    Raises:
        ConfigError: A header cannot be sent.
    """

    def __init__(self, target: str, host: str, headers: Mapping[str, str]) -> None:
        fixed = f" {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: henslowe\r\n{header_lines(headers)}"
        self._heads = {verb: f"{verb}{fixed}{lines}" for verb, lines in _LINES.items()}
        self.era = Era.MODERN
        self.session = ""
        self._version = eras.LATEST_MODERN
        self._known: dict[tuple[str, str, str | None], bytes] = {}

    def speak(self, era: Era, protocol_version: str) -> None:
        """Write for this era from the next request on."""
        self.era, self._version = era, protocol_version
        self._known.clear()

    def post(self, method: str, name: str | None, headers: Mapping[str, str], body: bytes) -> bytes:
        """A request with a message.

        Args:
            method: The message's.
            name: What it names, see `named`.
            headers: The client's, of which some are passed on.
            body: The message.
        """
        if headers or method == "initialize":
            head = self._head("POST", method, name, headers)
        else:  # all requests to a server of the handshake era begin alike, and so do all calls of one tool
            key = (self.session, "", None) if self.era is Era.LEGACY else ("", method, name)
            head = self._known.get(key) or self._learn(key, method, name)
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    def bodiless(self, verb: str, last_event_id: str = "") -> bytes:
        """A request about our session, or for its stream from after an event on."""
        lines = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        return self._head(verb, "", None, NO_HEADERS) + f"{lines}\r\n".encode("latin-1")

    def _learn(self, key: tuple[str, str, str | None], method: str, name: str | None) -> bytes:
        head = self._head("POST", method, name, NO_HEADERS)
        if len(head) <= KNOWN_BYTES_MAX:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[key] = head
        return head

    def _head(self, verb: str, method: str, name: str | None, headers: Mapping[str, str]) -> bytes:
        lines = self._heads[verb]
        if method != "initialize":  # before it there is nothing to go by
            lines += f"MCP-Protocol-Version: {self._version}\r\n{passed_on(headers)}"
            if self.era is Era.LEGACY:
                lines += f"Mcp-Session-Id: {self.session}\r\n" if self.session else ""
            elif method:
                lines += (
                    f"Mcp-Method: {header_value(method)}\r\n"  # a client of the other era may have written anything
                )
                lines += "" if name is None else f"Mcp-Name: {header_value(name)}\r\n"
        return lines.encode("latin-1")


def named(method: str, params: JsonObject | None) -> str | None:
    """What a request names, if that can stand in a header."""
    name = eras.name_in(method, params)
    return name if isinstance(name, str) else None
