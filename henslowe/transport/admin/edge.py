"""Where HTTP ends: what who asks may, and how often; a handler gets a `Call` with checked input and returns a reply.

Input is `inputs`, output `answers`; what is asked and answered is in `routes` and `handlers`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pykka
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge

from henslowe.actors.access.principal import Principal
from henslowe.actors.access.scopes import ADMIN_READ, ADMIN_WRITE
from henslowe.errors import Forbidden, HensloweError, RateLimited, Unauthorised
from henslowe.transport.access.asker import asker
from henslowe.transport.access.managed import ManagedTokens
from henslowe.transport.admin.answers import error_response, json_response
from henslowe.transport.admin.inputs import parse_body, parse_query
from henslowe.transport.admin.models.base import Reply, Request
from henslowe.transport.admin.ports import CaptureSource, EventSource, NodeView
from henslowe.transport.admin.workings import Workings
from henslowe.transport.rate_limit import RateLimiter

if TYPE_CHECKING:
    from henslowe.config.manifest import ServiceFolders
    from henslowe.transport.admin.artifacts import KeptVersions
    from henslowe.transport.admin.keeping import Keeping
    from henslowe.transport.admin.traffic import TrafficTables

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Admin:
    """What the admin routes work with; made once per node."""

    view: NodeView
    events: EventSource
    captures: CaptureSource
    registry: CollectorRegistry
    tokens: ManagedTokens
    keeping: Keeping
    traffic: TrafficTables
    kept: KeptVersions
    folders: ServiceFolders
    limiter: RateLimiter
    """Per principal."""
    workings: Workings = field(default_factory=Workings)
    keepalive_s: float = 15.0
    """Longest silence on an event stream."""
    streams_max: int = 64
    streams: int = 0
    """Event streams open now."""
    requests: Counter = field(init=False)

    def __post_init__(self) -> None:
        self.requests = Counter(
            "henslowe_admin_requests", "Requests to the admin API", ["route", "status"], registry=self.registry
        )
        streams = Gauge("henslowe_admin_streams", "Event streams open now", registry=self.registry)
        streams.set_function(lambda: self.streams)


@dataclass(slots=True, frozen=True)
class Call:
    """One request, checked: path arguments, query, body and who asks."""

    admin: Admin
    request: web.Request
    query: Any
    body: Any
    who: Principal
    """`local:<user>` over the socket; over TCP whose token it is."""

    @property
    def by(self) -> str:
        """Its name, as the log has it."""
        return self.who.name

    def path(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]


Handler = Callable[[Call], Awaitable[Reply | web.StreamResponse]]
RawHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, frozen=True)
class Route:
    """One line of the route table: what the application serves and what the OpenAPI document says of it."""

    method: str
    path: str
    handler: Handler
    summary: str
    reply: type[Reply] | None = None
    query: type[Request] | None = None
    body: type[Request] | None = None
    media: tuple[str, ...] = ("application/json",)
    """The types that a reply may have."""
    status: int = 200
    open: bool = False
    """Answered to anyone whom the listener lets in, without a scope or a limit."""
    scope: str = ""
    """What its caller must hold; default: `admin:read` for a GET, `admin:write` for any other."""

    @property
    def needed(self) -> str:
        """The scope."""
        return self.scope or (ADMIN_READ if self.method == "GET" else ADMIN_WRITE)


def guarded(admin: Admin, route: Route) -> RawHandler:
    """The route's handler with everything around it: scope, limit, input, output, errors."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await answered(request)
        admin.requests.labels(route.path, response.status).inc()
        return response

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            who = asker(request) if route.open else _admit(admin, route, request)
            query = None if route.query is None else parse_query(request, route.query)
            body = None if route.body is None else await parse_body(request, route.body)
            answer = await route.handler(Call(admin, request, query, body, who))
        except (HensloweError, pykka.ActorDeadError, pykka.Timeout) as error:
            return error_response(error)
        except (web.HTTPException, ConnectionResetError):
            raise
        except Exception:
            log.exception("admin_request_failed", extra={"method": request.method, "path": request.path})
            return error_response(
                HensloweError(
                    f"cannot answer {request.method} {request.path}: the handler failed", hint="see the node's log"
                )
            )
        return json_response(answer, route.status) if isinstance(answer, Reply) else answer

    return handle


def _admit(admin: Admin, route: Route, request: web.Request) -> Principal:
    """Who asks, and may.

    Raises:
        Unauthorised: Over TCP without a token.
        Forbidden: The token does not have the route's scope.
        RateLimited: This client asks too often.
    """
    who = asker(request)
    # Limited before the scope is looked at: trying is asking, too.
    wait_s = admin.limiter.take(who.name or f"peer:{request.remote or '?'}")
    if wait_s > 0:
        raise RateLimited(
            f"cannot take more requests of {who.name or 'this address'} now: "
            f"more than {admin.limiter.rate_per_s:g} per second",
            hint="wait as Retry-After says, or raise admin.rate_per_s",
            retry_after_s=wait_s,
        )
    if not who.name:
        raise Unauthorised(
            "expected a token, got: none",
            hint="send Authorization: Bearer with the content of <data>/admin.token or a token that "
            "`henslowe token create` made, or use the Unix socket",
        )
    if not who.may(route.needed):
        raise Forbidden(
            f"cannot let {who.name} {request.method} {request.path}: it does not have scope {route.needed}",
            hint=f"henslowe token create NAME --scope {route.needed}",
            scope=route.needed,
        )
    return who
