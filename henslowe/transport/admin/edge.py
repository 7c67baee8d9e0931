"""Where HTTP ends: who asks and how often; a handler gets a `Call` with checked input and returns a reply model.

Input is `inputs`, output `answers`; what is asked and answered is in `routes` and `handlers`.
"""

from __future__ import annotations

import logging
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pykka
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Gauge

from henslowe.errors import HensloweError, RateLimited, Unauthorised
from henslowe.transport.admin.answers import error_response, json_response
from henslowe.transport.admin.inputs import parse_body, parse_query
from henslowe.transport.admin.models import Reply, Request
from henslowe.transport.admin.ports import EventSource, NodeView
from henslowe.transport.rate_limit import RateLimiter
from henslowe.transport.tokens import authorised

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Admin:
    """What the admin routes work with; made once per node."""

    view: NodeView
    events: EventSource
    registry: CollectorRegistry
    token: str
    """Asked for on TCP; the Unix socket is guarded by its mode."""
    limiter: RateLimiter
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
    by: str
    """`local:<user>` over the socket, `token:<address>` over TCP."""

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
    media: str = "application/json"
    status: int = 200
    open: bool = False
    """Answered to anyone, without a token or a limit."""


def guarded(admin: Admin, route: Route) -> RawHandler:
    """The route's handler with everything around it: token, limit, input, output, errors."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await answered(request)
        admin.requests.labels(route.path, response.status).inc()
        return response

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            by = "anyone" if route.open else _admit(admin, request)
            query = None if route.query is None else parse_query(request, route.query)
            body = None if route.body is None else await parse_body(request, route.body)
            answer = await route.handler(Call(admin, request, query, body, by))
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


def _admit(admin: Admin, request: web.Request) -> str:
    """Who asks.

    Raises:
        Unauthorised: Over TCP without the token.
        RateLimited: This client asks too often.
    """
    user = _local_user(request)
    by = f"local:{user}" if user is not None else f"token:{request.remote or '?'}"
    # Limited before the token is looked at: guessing is asking, too.
    wait_s = admin.limiter.take(by)
    if wait_s > 0:
        raise RateLimited(
            f"cannot take more requests of {by} now: more than {admin.limiter.rate_per_s:g} per second",
            hint="wait as Retry-After says, or raise admin.rate_per_s",
            retry_after_s=wait_s,
        )
    if user is None and not authorised(request.headers.get(hdrs.AUTHORIZATION), admin.token):
        raise Unauthorised(
            "expected the admin token, got: none that is valid",
            hint="send Authorization: Bearer with the content of <data>/admin.token, or use the Unix socket",
        )
    return by


def _local_user(request: web.Request) -> str | None:
    """The user at the other end of a Unix socket; None for any other connection."""
    sock = request.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    # A real socket of the same descriptor: what uvloop shows instead of one has no getsockopt.
    with socket.socket(fileno=os.dup(sock.fileno())) as own:
        credentials = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return _user_name(struct.unpack("3i", credentials)[1])


@lru_cache(maxsize=256)
def _user_name(uid: int) -> str:
    """The user's name; remembered, since a directory service may take its time."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
