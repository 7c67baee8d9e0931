"""Finds out who asks, from the `Authorization` header: the root token, a token of this node, or one of an issuer.

A token that is not good is never taken for no token: a client whose token was revoked must not go on as an anonymous
one. Failures are limited by address before a signature is looked at; a good token is never held up by other people's
bad ones. What somebody may do is not decided here but by the `door`.
"""

from __future__ import annotations

import hmac
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from henslowe.actors.access.board import AccessBoard
from henslowe.actors.access.credentials import PREFIX
from henslowe.actors.access.principal import Principal
from henslowe.actors.access.scopes import EVERYTHING
from henslowe.errors import HensloweError, Unauthorised
from henslowe.transport.access.denied import Denied
from henslowe.transport.rate_limit import RateLimiter

if TYPE_CHECKING:
    from henslowe.transport.access.issuer import Issuer

log = logging.getLogger(__name__)

ROOT: Final = Principal("root", EVERYTHING)
"""Whoever has the admin token file."""
HINT: Final = "send the content of <data>/admin.token, or a token that `henslowe token create` made"
TOKEN_CHARS_MAX: Final = 16_384
"""Longest token looked at; a header line of aiohttp is shorter."""


class Authenticator:
    """Runs in: the node's loop.

    Args:
        root_token: The content of the admin token file.
        board: The tokens of this node.
        issuer: Checks the tokens of an authorization server; None without one.
        failures: How many bad tokens an address may show.
        now_s: Unix seconds.
    """

    def __init__(
        self,
        root_token: str,
        board: AccessBoard,
        *,
        issuer: Issuer | None = None,
        failures: RateLimiter | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._root = root_token.encode()
        self._board = board
        self._issuer = issuer
        self._failures = RateLimiter(1.0, burst=60) if failures is None else failures
        self._now_s = now_s

    async def who(self, header: str | None, peer: str) -> Principal | Denied | None:
        """Who shows this header; None for no header, `Denied` for one that is not good."""
        if header is None:
            return None
        found = self.known(header)
        if found is not None:
            return found
        token = _token_of(header)
        if not token:
            return self._failed(peer, "expected Authorization: Bearer and a token")
        if token.startswith(PREFIX):
            return self._failed(peer, "the token is not known here: revoked, expired, or of another node")
        if self._issuer is None:
            return self._failed(peer, "the token is neither the admin token nor one that this node made")
        return await self._verified(self._issuer, token, peer)

    def known(self, header: str) -> Principal | None:
        """Who shows this header, where nobody has to be asked for it; None for any other, good or not."""
        token = _token_of(header)
        if not token:
            return None
        if hmac.compare_digest(token.encode(errors="replace"), self._root):
            return ROOT
        if token.startswith(PREFIX):
            return self._board.find(token, self._now_s())
        return None if self._issuer is None else self._issuer.known(token)

    def holds(self, principal: Principal) -> bool:
        """Whether somebody who was let in would be let in now."""
        return self._board.holds(principal, self._now_s())

    async def _verified(self, issuer: Issuer, token: str, peer: str) -> Principal | Denied:
        if (wait_s := self._failures.wait_s(peer)) > 0:
            return _too_many(wait_s)
        try:
            return await issuer.verify(token)
        except Unauthorised as error:
            return self._failed(peer, error.message)
        except HensloweError as error:  # the issuer is away, or a secret for asking it is missing
            log.warning("token_not_checked", extra={"reason": error.message})
            message = "the token could not be checked: its issuer did not answer"
            return Denied(503, "unavailable", message, "try again later", (("Retry-After", "5"),))

    def _failed(self, peer: str, message: str) -> Denied:
        if (wait_s := self._failures.take(peer)) > 0:
            return _too_many(wait_s)
        return Denied(401, "unauthorised", message, HINT)


def _token_of(header: str) -> str:
    """The bearer token in an `Authorization` header; "" for one that has none."""
    scheme, _, token = header.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and len(token) <= TOKEN_CHARS_MAX else ""


def _too_many(wait_s: float) -> Denied:
    retry = (("Retry-After", str(max(1, math.ceil(wait_s)))),)
    return Denied(429, "rate_limited", "too many bad tokens from this address", "wait as Retry-After says", retry)
