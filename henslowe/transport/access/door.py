"""Decides about one request: who asks, how often, and whether the path is open to him.

| path | what it asks for |
|---|---|
| `/mcp` | a scope for any service; the endpoint then shows those that the scopes open |
| `/mcp/SERVICE` | `mcp` or `mcp:SERVICE` |
| `/metrics` | `admin:read`, where the node does not let in anonymous clients |
| `/.well-known/oauth-protected-resource...` | nothing: it says how to get a token |
| `/admin/...` | what the route says (`henslowe.transport.admin.routes`), asked there |
| any other | somebody who is known, where the node does not let in anonymous clients |

Host and Origin were checked before (`henslowe.transport.http_guard`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from henslowe.actors.access.principal import ANONYMOUS, Principal
from henslowe.actors.access.scopes import ADMIN_READ, MCP, any_service, of_service
from henslowe.transport.access.authenticator import HINT, Authenticator
from henslowe.transport.access.denied import Denied
from henslowe.transport.access.resources import WELL_KNOWN, Resources
from henslowe.transport.rate_limit import RateLimiter


@dataclass(slots=True)
class Door:
    """Lets requests in. Runs in: the node's loop.

    Args:
        authenticator: Finds out who asks.
        resources: What a refusal tells an OAuth client.
        open_mcp: Whether MCP clients need no token.
        open_rest: Whether the other paths need none, the admin API excepted.
        limiter: Requests per principal, or per address of those who show nothing; None for no limit. The admin API
            has its own.
    """

    authenticator: Authenticator
    resources: Resources
    open_mcp: bool
    open_rest: bool
    limiter: RateLimiter | None = None

    async def admit(self, host: str, path: str, header: str | None, peer: str) -> Principal | Denied:
        """Who is let in, or why not."""
        found = await self.authenticator.who(header, peer)
        if isinstance(found, Denied):
            return self._challenged(found, host, path, "invalid_token") if found.status == 401 else found
        return self.judge(found, host, path, peer)

    def judge(self, found: Principal | None, host: str, path: str, peer: str) -> Principal | Denied:
        """Whether somebody whose token was found good, or who showed none, is let in."""
        if path.startswith("/admin/"):
            return found or ANONYMOUS  # its routes ask for a scope, which nobody lacks as much as nobody
        if self.limiter is not None and (wait_s := self.limiter.take(_client(found, peer))) > 0:
            retry = (("Retry-After", str(max(1, math.ceil(wait_s)))),)
            return Denied(429, "rate_limited", "too many requests from this client", "wait as Retry-After says", retry)
        return self._anonymous(host, path) if found is None else self._judged(found, host, path)

    def foresee(self, host: str, path: str, header: str | None, peer: str) -> Principal | None:
        """Who would be let in to an MCP endpoint without anybody being asked; None for any other. Changes nothing."""
        found = None
        if header is not None:
            found = self.authenticator.known(header)
            if found is None:
                return None
        if self.limiter is not None and self.limiter.wait_s(_client(found, peer)) > 0:
            return None
        judged = self._anonymous(host, path) if found is None else self._judged(found, host, path)
        return None if isinstance(judged, Denied) else judged

    def count(self, who: Principal, peer: str) -> None:
        """A request that was foreseen came in."""
        if self.limiter is not None:
            self.limiter.take(_client(None if who is ANONYMOUS else who, peer))

    def _anonymous(self, host: str, path: str) -> Principal | Denied:
        if self.open_mcp if is_mcp(path) else (self.open_rest or path.startswith(WELL_KNOWN)):
            return ANONYMOUS
        denied = Denied(401, "unauthorised", "expected a bearer token", HINT)
        return self._challenged(denied, host, path)

    def _judged(self, principal: Principal, host: str, path: str) -> Principal | Denied:
        if is_mcp(path):
            if not self.resources.is_for(principal, host, path):
                denied = Denied(
                    401, "unauthorised", "the token is for another resource", "ask for one for this address"
                )
                return self._challenged(denied, host, path, "invalid_token")
            scope = scope_of(path)
            enough = any_service(principal.scopes) if scope == MCP else principal.may(scope)
        else:
            scope = ADMIN_READ
            enough = path != "/metrics" or self.open_rest or principal.may(scope)
        if enough:
            return principal
        denied = Denied(403, "forbidden", f"the token does not have scope {scope}", "use a token that has it")
        return self._challenged(denied, host, path, "insufficient_scope")

    def _challenged(self, denied: Denied, host: str, path: str, error: str = "") -> Denied:
        """The refusal with what an OAuth client needs to do better."""
        if not is_mcp(path):
            words = 'Bearer realm="henslowe"' + (f', error="{error}"' if error else "")
            header = ("WWW-Authenticate", words)
        else:
            header = self.resources.challenge(host, path, error=error, scopes=(scope_of(path),))
        return Denied(denied.status, denied.code, denied.message, denied.hint, (*denied.headers, header))


def _client(found: Principal | None, peer: str) -> str:
    """Whose requests are counted together."""
    return found.name if found else f"peer:{peer}"


def is_mcp(path: str) -> bool:
    """Whether a path is an MCP endpoint's."""
    return path == "/mcp" or path.startswith("/mcp/")


def scope_of(path: str) -> str:
    """The scope that an MCP endpoint asks for; a version range is part of no scope."""
    return of_service(path[len("/mcp/") :].partition("@")[0]) if path != "/mcp" else MCP
