"""The guard of the node's HTTP listener: who may talk to it at all, decided before any route sees the request.

One middleware for every route, the MCP endpoints, the admin API and the metrics alike: the Host must be a name of this
listener and the Origin, when there is one, a page of this listener (a page of another site must not reach a node on
the same machine by DNS rebinding). Then the door decides who asks and whether he may (`henslowe.transport.access`), and
an admitted request ends with its token. Pages whose Origin is allowed get what their browser asks for (CORS),
preflights included. What a request means is not judged here: see `henslowe.transport.gateway` and
`henslowe.transport.admin`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from henslowe.actors.access.principal import ANONYMOUS, Principal
from henslowe.transport.access.asker import WHO
from henslowe.transport.access.denied import Denied, response_of
from henslowe.transport.access.door import Door
from henslowe.transport.access.live import LiveRequests
from henslowe.transport.access.local import local_user

HEALTH_PATHS: Final = frozenset({"/livez", "/readyz"})
"""Answered without a token, without a Host that is known and without a limit: probes come from anywhere."""

ALLOWED_ORIGIN: Final = web.RequestKey("henslowe_allowed_origin", str)
"""Set on requests of a page that is allowed; event streams, which have no middleware behind them, read it."""
_EXPOSED: Final = "Mcp-Session-Id, Retry-After, WWW-Authenticate"
_PREFLIGHT_S: Final = "600"

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """Decides from a request's Host and Origin whether it is meant for this listener.

    Args:
        host: The address listened on, without brackets.
        port: The port listened on, as bound.
        hosts: More Host names accepted, each `name` (any port) or `name:port`.
        origins: More Origins accepted, as browsers send them: `https://example.org`.
        free_paths: Paths that are never turned away.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        free_paths: frozenset[str] = HEALTH_PATHS,
    ) -> None:
        self._loopback = _is_loopback(host)
        self._port = port
        self._hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES}
        if port in (80, 443):
            self._hosts.update(LOOPBACK_NAMES)
        self._any_port = {name.lower() for name in hosts if not _has_port(name)}
        self._hosts.update(name.lower() for name in hosts if _has_port(name))
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self.free_paths = free_paths

    def judge(self, path: str, host: str | None, origin: str | None) -> Denied | None:
        """None when the request is meant for this listener; else why not."""
        if path in self.free_paths:
            return None
        if host is None or not self._host_allowed(host.lower()):
            return Denied(
                403,
                "host_refused",
                f"expected a Host of this node, got: {host!r:.200}",
                "add the name to gateway.hosts",
            )
        if origin is not None and not self._origin_allowed(origin.lower()):
            return Denied(
                403,
                "origin_refused",
                f"expected an Origin of this node, got: {origin!r:.200}",
                "add it to gateway.origins",
            )
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


def guard_middleware(
    guard: Guard, door: Door, live: LiveRequests, *, on_denied: Callable[[Denied], None] = lambda _denied: None
) -> Middleware:
    """The guard and the door as a middleware for `web.Application(middlewares=[...])`; it should be the first.

    `on_denied` hears of each refusal, for metrics.

    Requests over a Unix socket pass, as their user's: whoever can open it is the node's owner.
    """

    async def admitted(request: web.Request, handler: Handler, *, preflight: bool) -> web.StreamResponse:
        """The response of the route, or of the door. A browser's `preflight` carries no token and does nothing."""
        if preflight:
            return _preflight(request)
        headers = request.headers
        header = headers.get(hdrs.AUTHORIZATION)
        host, path, peer = headers[hdrs.HOST].lower(), request.path, request.remote or "?"
        if header is None:
            who = door.judge(None, host, path, peer)
        else:
            # Two readers of two tokens might see two clients.
            who = await door.admit(host, path, header if len(headers.getall(hdrs.AUTHORIZATION)) == 1 else "", peer)
        if isinstance(who, Denied):
            on_denied(who)
            return response_of(path, who)
        request[WHO] = who
        if not ends(who):
            return await handler(request)
        with live.hold(request, who):
            return await handler(request)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in guard.free_paths:
            return await handler(request)
        if request.remote == "" and (user := local_user(request)) is not None:
            request[WHO] = user
            return await handler(request)
        headers = request.headers
        origin = headers.get(hdrs.ORIGIN)
        denied = guard.judge(request.path, headers.get(hdrs.HOST), origin)
        if denied is not None:
            on_denied(denied)
            return response_of(request.path, denied)
        if origin is None:
            return await admitted(request, handler, preflight=False)
        request[ALLOWED_ORIGIN] = origin
        preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers
        response = await admitted(request, handler, preflight=preflight)
        if not response.prepared:
            response.headers.update(cors_headers(request))
        return response

    return middleware


def ends(who: Principal) -> bool:
    """Whether the token that was shown can end before the request does."""
    return who is not ANONYMOUS and bool(who.digest)


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
