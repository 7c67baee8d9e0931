"""What the parts above need of a connection to a server: one exchange at a time, whatever carries it.

`stdio` and `http` implement it. A link knows ids, progress tokens and bytes; it does not translate between eras.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from henslowe.actors.endpoints import Era, JsonObject, OnNotification
from henslowe.transport.mcp import jsonrpc
from henslowe.transport.mcp.begun import Begun, Told

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

NEVER_CANCELLED = frozenset({"initialize", "server/discover"})
"""Requests that a server must not be told to cancel (it may not know the notification yet)."""

STREAMS = frozenset({"subscriptions/listen"})
"""Requests whose exchange lasts as long as someone wants to listen."""


class Link(Protocol):
    """A connection on which requests can be exchanged.

    Runs in: the node's loop.
    """

    needs_headers: bool
    """Whether headers reach the server."""

    @property
    def in_flight(self) -> int:
        """Exchanges that have not ended."""
        ...

    def speak(self, era: Era, protocol_version: str) -> None:
        """Use this era from the next exchange on."""
        ...

    async def exchange(
        self,
        method: str,
        params: JsonObject | None,
        *,
        timeout_s: float,
        headers: Mapping[str, str] = NO_HEADERS,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """Send a request in the era spoken and wait for `{"result": ...}` or `{"error": ...}`.

        Raises:
            UpstreamLost: The connection ended; `details["sent"]`.
            LimitReached: Too many exchanges at once.
            TimeoutError: No answer within `timeout_s`; the server was told to cancel.
        """
        ...

    def begin(
        self,
        method: str,
        params: JsonObject | None,
        *,
        timeout_s: float,
        headers: Mapping[str, str],
        on_notification: OnNotification | None,
        told: Told,
    ) -> Begun | None:
        """Send a request at once; None, and nothing was done, when that is not possible. Not for progress tokens."""
        ...

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification; dropped when the connection is gone or congested."""
        ...

    def opened(self) -> None:
        """The handshake is over."""
        ...

    async def close(self) -> None:
        """End every exchange with `UpstreamLost` and release the connection. Idempotent."""
        ...


def with_token(params: JsonObject | None, token: int) -> tuple[JsonObject | None, object]:
    """The parameters with the caller's progress token replaced by one that is unique on the link.

    Returns:
        The parameters to send (the same object when there was no token), and the caller's token or None.
    """
    if params is None:
        return None, None
    meta = params.get("_meta")
    if not isinstance(meta, dict) or (own := meta.get("progressToken")) is None:
        return params, None
    return {**params, "_meta": {**meta, "progressToken": token}}, own


def with_own_token(notification: JsonObject, own: object) -> JsonObject:
    """A progress notification as the caller expects it, with its own token."""
    return {**notification, "params": {**notification["params"], "progressToken": own}}


def too_large(limit: int) -> JsonObject:
    """The answer to a call whose response is beyond the limit."""
    return jsonrpc.error(
        jsonrpc.INTERNAL_ERROR,
        f"cannot pass on the response: it has more than {limit} bytes",
        {"code": "limit_reached", "hint": "raise instances.message_bytes_max"},
    )
