"""Who asks: a name for logs, limits and routing, and what it may do. Data, made when a request is authenticated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from henslowe.actors.access import scopes


@dataclass(slots=True, frozen=True)
class Principal:
    """Somebody who was let in; frozen, so that it can be kept and compared."""

    name: str
    """`token:NAME`, `oauth:SUBJECT`, `root` (the admin token file), `local:USER` (the Unix socket); "" for nobody."""
    scopes: frozenset[str]
    """Scopes of this node."""
    claims: frozenset[str] = frozenset()
    """Scopes as the issuer of an OAuth token wrote them; what a policy may ask for beside our own."""
    expires_s: float = math.inf
    """Unix time."""
    token_id: str = ""
    """Of a token of this node: its id, for revocation."""
    digest: bytes = b""
    """Of what was shown, so that an old secret of a rotated token is told from the new one."""
    audiences: frozenset[str] | None = None
    """The resources that an OAuth token is for; None for what is this node's own."""

    def may(self, scope: str) -> bool:
        """Whether it holds the scope."""
        return scopes.covers(self.scopes, scope)

    def was_given(self, scope: str) -> bool:
        """Whether a scope that a policy names was given to it: by its issuer, in the issuer's words, else by us."""
        return scope in self.claims or (self.audiences is None and self.may(scope))


ANONYMOUS: Final = Principal("", frozenset({scopes.MCP}))
"""A client without a token, where such clients are let in: to MCP, never to the admin API."""
