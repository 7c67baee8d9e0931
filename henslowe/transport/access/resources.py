"""This node as an OAuth resource server: which resource each endpoint is, its metadata, and what a challenge says.

Without an issuer there is nothing to discover: challenges then only name the scheme.
Source: RFC 9728 (protected resource metadata), RFC 6750 (challenges), RFC 8707 (resources), MCP authorization.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import hdrs, web

from henslowe.actors.access.principal import Principal
from henslowe.actors.access.scopes import covers
from henslowe.config.settings import OAuthSettings, Settings

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""A scope as RFC 6749 has it: nothing in it can end the quoted string that it stands in."""


@dataclass(slots=True, frozen=True)
class Resources:
    """The resources of one node.

    Args:
        oauth: The issuer and its scopes; None without one.
        public_url: Where clients find the node; "" for where they asked.
        scheme: Of the listener.
    """

    oauth: OAuthSettings | None = None
    public_url: str = ""
    scheme: str = "http"

    def base(self, host: str) -> str:
        """The node's own address; `host` is the request's, which was checked."""
        return self.public_url.rstrip("/") or f"{self.scheme}://{host}"

    def is_for(self, principal: Principal, host: str, path: str) -> bool:
        """Whether a token is for the endpoint at `path`: for it, for what is above it, or for a configured audience."""
        if principal.audiences is None or self.oauth is None:
            return True
        base = self.base(host)
        meant = {*map(_normal, (base, f"{base}/mcp", base + path)), *self.oauth.audiences}
        if self.oauth.resource:
            meant.add(self.oauth.resource)
        return any(audience in meant or _normal(audience) in meant for audience in principal.audiences)

    def metadata(self, host: str, path: str) -> dict[str, Any] | None:
        """The metadata of the endpoint at `path`; None without an issuer."""
        if self.oauth is None:
            return None
        document: dict[str, Any] = {
            "resource": self.oauth.resource or self.base(host) + path,
            "authorization_servers": [self.oauth.issuer],
            "bearer_methods_supported": ["header"],
        }
        if self.oauth.scopes_supported:
            document["scopes_supported"] = list(self.oauth.scopes_supported)
        return document

    def challenge(
        self, host: str, path: str, *, error: str = "", scopes: Iterable[str] = (), ours: bool = True
    ) -> tuple[str, str]:
        """The `WWW-Authenticate` header; `scopes` are ours, which the issuer may call otherwise, or its own words."""
        if self.oauth is None:
            words = ['realm="henslowe"']
        else:
            words = [f'resource_metadata="{self.base(host)}{WELL_KNOWN}{_quotable(path)}"']
            if error != "insufficient_scope":
                wanted = self._initial(scopes)
            else:
                wanted = self.theirs(scopes) if ours else list(scopes)
            wanted = [scope for scope in wanted if _SCOPE.fullmatch(scope)]  # a path's may be anything
            if wanted:
                words.append(f'scope="{" ".join(wanted)}"')
        if error:
            words.insert(0, f'error="{error}"')
        return hdrs.WWW_AUTHENTICATE, "Bearer " + ", ".join(words)

    def theirs(self, scopes: Iterable[str]) -> list[str]:
        """Scopes as clients have to ask the issuer for them."""
        assert self.oauth is not None
        found: dict[str, None] = {}
        for scope in scopes:
            named = [name for name, ours in self.oauth.scope_map.items() if covers(ours, scope)]
            found[named[0] if named else scope] = None
        return list(found)

    def _initial(self, scopes: Iterable[str]) -> list[str]:
        """What a first challenge asks for; nothing when the metadata says it."""
        assert self.oauth is not None
        if self.oauth.challenge_scopes or self.oauth.scopes_supported:
            return list(self.oauth.challenge_scopes)
        return self.theirs(scope for scope in scopes if not covers(self.oauth.scopes_granted, scope))


def resources_of(settings: Settings) -> Resources:
    """The resources that a configuration makes of a node."""
    access = settings.access
    scheme = "http" if settings.tls.cert_file is None else "https"
    return Resources(access.oauth if access.mode == "oauth" else None, access.public_url, scheme)


def add_resource_metadata(app: web.Application, resources: Resources) -> None:
    """Add the metadata routes, where there is an issuer."""
    if resources.oauth is None:
        return

    async def serve(request: web.Request) -> web.Response:
        path = request.path.removeprefix(WELL_KNOWN)
        document = resources.metadata(request.host, path)
        return web.Response(
            body=orjson.dumps(document), content_type="application/json", headers={hdrs.CACHE_CONTROL: "max-age=300"}
        )

    app.router.add_get(WELL_KNOWN, serve)
    app.router.add_get(WELL_KNOWN + "/mcp", serve)
    app.router.add_get(WELL_KNOWN + "/mcp/{service:[a-z0-9][a-z0-9_-]{0,62}(?:@[^/]{1,100})?}", serve)


def _normal(url: str) -> str:
    """A URL that compares equal when it means the same: no trailing slash, no default port, small letters first."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    if not parts.netloc:
        return url
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if port is not None and (parts.scheme.lower(), port) not in (("http", 80), ("https", 443)):
        host = f"{host}:{port}"
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"


def _quotable(path: str) -> str:
    """A path that may stand in a quoted string of a header."""
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in path)
