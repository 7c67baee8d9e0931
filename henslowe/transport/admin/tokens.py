"""The admin routes of tokens: list, create, rotate, revoke. The text of a token is in one answer and nowhere else."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import hdrs, web

from henslowe.actors.access.keeper import Minted
from henslowe.actors.access.rows import TokenRow
from henslowe.transport.admin.answers import json_response
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.tokens import (
    CreateTokenRequest,
    MintedReply,
    RotateTokenRequest,
    TokenReply,
    TokensReply,
)


async def listed(call: Call) -> Reply | web.StreamResponse:
    """All tokens, by name."""
    return TokensReply(tokens=tuple(token_reply(row) for row in call.admin.tokens.rows()))


async def create(call: Call) -> Reply | web.StreamResponse:
    """A new token."""
    body = call.body
    assert isinstance(body, CreateTokenRequest)
    expires_s = None if body.expires_in_s is None else time.time() + body.expires_in_s
    return _shown_once(await call.admin.tokens.create(call.who, body.name, body.scopes, expires_s), 201)


async def rotate(call: Call) -> Reply | web.StreamResponse:
    """A new secret for a token."""
    body = call.body
    assert isinstance(body, RotateTokenRequest)
    return _shown_once(await call.admin.tokens.rotate(call.who, call.path("token"), body.grace_s), 200)


async def revoke(call: Call) -> Reply | web.StreamResponse:
    """The end of a token."""
    return token_reply(await call.admin.tokens.revoke(call.who, call.path("token")))


def token_reply(row: TokenRow) -> TokenReply:
    """A token as the API shows it."""
    return TokenReply(**_facts(row))


def minted_reply(minted: Minted) -> MintedReply:
    """A new token, or a new secret, the one time that it is shown."""
    return MintedReply(token=minted.token, **_facts(minted.row))


def _shown_once(minted: Minted, status: int) -> web.Response:
    response = json_response(minted_reply(minted), status)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


def _facts(row: TokenRow) -> dict[str, Any]:
    now_s = time.time()
    return {
        "id": row.id,
        "name": row.name,
        "scopes": row.scopes,
        "state": "expired" if row.expires_s is not None and row.expires_s <= now_s else "good",
        "created_s": row.created_s,
        "created_by": row.created_by,
        "expires_s": row.expires_s,
        "last_used_s": row.last_used_s,
        "rotated_s": row.rotated_s,
        "old_secret_until_s": row.previous_until_s if row.previous_until_s > now_s else 0.0,
    }
