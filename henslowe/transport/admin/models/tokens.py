"""Tokens as the admin API tells them, and how to ask for one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from henslowe.transport.admin.models.base import Reply, Request


class TokenReply(Reply):
    """A token of this node, without the token itself."""

    id: str
    name: str
    scopes: tuple[str, ...]
    state: str
    """`good` or `expired`."""
    created_s: float
    created_by: str
    expires_s: float | None = None
    """None for never."""
    last_used_s: float = 0.0
    """To the minute; 0 for never."""
    rotated_s: float = 0.0
    old_secret_until_s: float = 0.0
    """After a rotation: how long the secret before it is good, too."""


class TokensReply(Reply):
    """The tokens of this node."""

    tokens: tuple[TokenReply, ...]


class MintedReply(TokenReply):
    """A token with its text, which is shown this once."""

    token: str


class CreateTokenRequest(Request):
    """A token to be made."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    scopes: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    """`mcp`, `mcp:SERVICE`, `admin`, `admin:read`, `admin:write`, `admin:services`, `admin:tokens`."""
    expires_in_s: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)] | None = None
    """None for never."""


class RotateTokenRequest(Request):
    """How a token gets its new secret."""

    grace_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 0.0
    """How long the old one is good, too."""
