"""The guard of the node's HTTP listener: who may talk to it at all, decided before any route sees the request.

One middleware for every route, the MCP endpoints, the admin API and the metrics alike: the Host must be a name of this
listener and the Origin, when there is one, a page of this listener (a page of another site must not reach a node on
the same machine by DNS rebinding); beyond loopback a bearer token is asked for; and a client may be limited in rate.
Pages whose Origin is allowed get what their browser asks for (CORS), preflights included. What a request means is not
judged here: see `henslowe.transport.gateway` and `henslowe.transport.admin`.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from henslowe.transport.rate_limit import RateLimiter
from henslowe.transport.tokens import authorised

HEALTH_PATHS: Final = frozenset({"/livez", "/readyz"})
"""Answered without a token, without a Host that is known and without a limit: probes come from anywhere."""

ALLOWED_ORIGIN: Final = web.RequestKey("henslowe_allowed_origin", str)
"""Set on requests of a page that is allowed; event streams, which have no middleware behind them, read it."""
_EXPOSED: Final = "Mcp-Session-Id, Retry-After, WWW-Authenticate"
_PREFLIGHT_S: Final = "600"

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


@dataclass(slots=True, frozen=True)
class Denied:
    """Why a request is turned away: the status, a code for programs, a sentence, and what to change."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Guard:
    """Decides about each request from its Host, Origin and Authorization headers and its peer.

    Args:
        host: The address listened on, without brackets.
        port: The port listened on, as bound.
        hosts: More Host names accepted, each `name` (any port) or `name:port`.
        origins: More Origins accepted, as browsers send them: `https://example.org`.
        token: The bearer token; required when `host` is not loopback.
        limiter: Requests per peer; None for no limit.
        free_paths: Paths that are never turned away.

    Raises:
        ValueError: `host` is not loopback and there is no token; the composition root refuses this before.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        token: str | None = None,
        limiter: RateLimiter | None = None,
        free_paths: frozenset[str] = HEALTH_PATHS,
    ) -> None:
        self._loopback = _is_loopback(host)
        if not self._loopback and not token:
            raise ValueError(f"expected a token for a listener on {host}, got none")
        self._token = None if self._loopback else token
        self._port = port
        self._hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES}
        if port == 80:
            self._hosts.update(LOOPBACK_NAMES)
        self._any_port = {name.lower() for name in hosts if not _has_port(name)}
        self._hosts.update(name.lower() for name in hosts if _has_port(name))
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self._limiter = limiter
        self.free_paths = free_paths

    def judge(
        self, path: str, host: str | None, origin: str | None, bearer: str | None, peer: str, *, preflight: bool = False
    ) -> Denied | None:
        """None when the request may pass; else why not. The checks that cost a stranger least to fail come first.

        A browser's `preflight` carries no token and does nothing: none is asked for.
        """
        if path in self.free_paths:
            return None
        if host is None or not self._host_allowed(host.lower()):
            return Denied(
                403, "host_refused", f"expected a Host of this node, got: {host!r}", "add the name to gateway.hosts"
            )
        if origin is not None and not self._origin_allowed(origin.lower()):
            return Denied(
                403, "origin_refused", f"expected an Origin of this node, got: {origin!r}", "add it to gateway.origins"
            )
        if self._limiter is not None and (wait_s := self._limiter.take(peer)) > 0:
            retry = (("Retry-After", str(max(1, math.ceil(wait_s)))),)
            return Denied(429, "rate_limited", "too many requests from this client", "wait as Retry-After says", retry)
        if self._token is not None and not preflight and not authorised(bearer, self._token):
            challenge = (("WWW-Authenticate", 'Bearer realm="henslowe"'),)
            return Denied(401, "unauthorised", "expected a valid bearer token", "send Authorization: Bearer", challenge)
        return None

    def _host_allowed(self, host: str) -> bool:
        if host in self._hosts:
            return True
        name, port = _split_port(host)
        if name in self._any_port:
            return True
        # Rebinding needs a name; an address in digits can only be our own. Loopback listeners have no need of it.
        return not self._loopback and port in (self._port, None) and _is_address(name)

    def _origin_allowed(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and self._host_allowed(host)


def guard_middleware(guard: Guard) -> Middleware:
    """The guard as a middleware for `web.Application(middlewares=[...])`; it should be the first.

    Requests over a Unix socket pass: whoever can open it is the node's owner.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = request.remote
        if peer == "":  # the node's own Unix socket: its file mode is the guard
            return await handler(request)
        headers = request.headers
        origin = headers.get(hdrs.ORIGIN)
        preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers
        denied = guard.judge(
            request.path,
            headers.get(hdrs.HOST),
            origin,
            headers.get(hdrs.AUTHORIZATION),
            peer or "?",
            preflight=preflight,
        )
        if origin is None or request.path in guard.free_paths:
            return await handler(request) if denied is None else _response(request.path, denied)
        if denied is not None and denied.code in ("host_refused", "origin_refused"):
            return _response(request.path, denied)
        request[ALLOWED_ORIGIN] = origin
        if denied is not None:
            response: web.StreamResponse = _response(request.path, denied)
        else:
            response = _preflight(request) if preflight else await handler(request)
        if not response.prepared:
            response.headers.update(cors_headers(request))
        return response

    return middleware


def cors_headers(request: web.Request) -> dict[str, str]:
    """What lets the page that made the request read the response; nothing for requests that no page made."""
    origin = request.get(ALLOWED_ORIGIN)
    if origin is None:
        return {}
    return {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
        hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _EXPOSED,
        hdrs.VARY: hdrs.ORIGIN,
    }


def _preflight(request: web.Request) -> web.Response:
    """Permission for what the page is about to send: the routes themselves say what they accept."""
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, DELETE",
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ""),
        hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_S,
    }
    return web.Response(status=204, headers=headers)


def _response(path: str, denied: Denied) -> web.Response:
    """The refusal in the words of the route: JSON-RPC for MCP clients, the error contract for everyone else."""
    if path == "/mcp" or path.startswith("/mcp/"):
        error = {"code": -32000, "message": denied.message, "data": {"code": denied.code, "hint": denied.hint}}
        body: dict[str, object] = {"jsonrpc": "2.0", "id": None, "error": error}
    else:
        body = {"error": {"code": denied.code, "message": denied.message, "hint": denied.hint, "details": {}}}
    return web.Response(
        status=denied.status, body=orjson.dumps(body), content_type="application/json", headers=dict(denied.headers)
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _split_port(host: str) -> tuple[str, int | None]:
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        return host, None
    return name, int(port) if port.isdecimal() and len(port) <= 5 else -1


def _has_port(name: str) -> bool:
    return _split_port(name)[1] is not None
