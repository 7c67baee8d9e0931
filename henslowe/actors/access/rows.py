"""The tokens table: one frozen row per token of this node, found by its id. The token itself is not in it."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from henslowe.storage import TableSpec


class TokenRow(BaseModel):
    """What is known of a token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    """Chosen by a person, unique; the principal is `token:NAME`."""
    digest: bytes
    """SHA-256 of the token; see `credentials` for why that is enough."""
    scopes: tuple[str, ...]
    created_s: float
    created_by: str
    expires_s: float | None = None
    """Unix time; None for never."""
    last_used_s: float = 0.0
    """To the minute; 0 for never."""
    rotated_s: float = 0.0
    previous_digest: bytes = b""
    """The secret before the last rotation, good until `previous_until_s`."""
    previous_until_s: float = 0.0


TOKENS: Final = TableSpec(name="tokens", row_type=TokenRow, key="id")
