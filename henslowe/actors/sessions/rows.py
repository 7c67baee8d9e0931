"""The sessions table: one frozen row per open session, found by its id."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.storage import TableSpec


class SessionRow(BaseModel):
    """What the gateway has to know of a handshake-era client to serve it after a restart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """As in the `Mcp-Session-Id` header: minted by the gateway, never guessable."""
    scope: str
    """"" for the aggregate endpoint, else the service's name."""
    protocol_version: str
    principal: str = ""
    """Whose it is; "" for an anonymous client's. Nobody else can use it."""
    client_info: dict[str, Any]
    capabilities: dict[str, Any]
    log_level: str = ""
    """As set by `logging/setLevel`; "" for the server's own choice."""
    subscriptions: tuple[str, ...] = ()
    """URIs of `resources/subscribe`, in the order they came."""
    opened_s: float
    last_seen_s: float
    """Unix times. The second is written at most once a minute per session: expiry is a matter of hours."""


SESSIONS: Final = TableSpec(name="sessions", row_type=SessionRow, key="id")
