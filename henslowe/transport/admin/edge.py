"""Where HTTP ends: who asks, how often, with which input; and how an error becomes a status and a body.

A handler gets a `Call` with checked, typed input and returns a reply model. What is asked and answered is in `routes`
and `handlers`.
"""

from __future__ import annotations

import logging
import math
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, get_origin

import orjson
import pykka
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import ValidationError

from henslowe.config.problems import expected_of, shown
from henslowe.errors import BadRequest, HensloweError, RateLimited, TooLarge, Unauthorised, Unavailable
from henslowe.transport.admin.models import Reply, Request
from henslowe.transport.admin.ports import EventSource, NodeView
from henslowe.transport.rate_limit import RateLimiter
from henslowe.transport.tokens import authorised

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 64 * 1024
STATUS: Final[Mapping[str, int]] = {
    "bad_request": 400,
    "config": 400,
    "manifest": 400,
    "unauthorised": 401,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "stage_failed": 422,
    "limit_reached": 429,
    "rate_limited": 429,
    "data_dir_busy": 503,
    "storage_degraded": 503,
    "unavailable": 503,
}
"""HTTP status of an error's code; any other is 500."""

R = TypeVar("R", bound=Request)


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
            body = None if route.body is None else await _parse_body(request, route.body)
            answer = await route.handler(Call(admin, request, query, body, by))
        except (HensloweError, pykka.ActorDeadError, pykka.Timeout) as error:
            return error_response(error)
        except (web.HTTPException, ConnectionResetError):
            raise
        except Exception:
            log.exception("admin request failed", extra={"method": request.method, "path": request.path})
            return error_response(
                HensloweError(
                    f"cannot answer {request.method} {request.path}: the handler failed", hint="see the node's log"
                )
            )
        return json_response(answer, route.status) if isinstance(answer, Reply) else answer

    return handle


def json_response(reply: Reply, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A reply as JSON."""
    return web.Response(body=dump_json(reply), status=status, content_type="application/json", headers=headers)


def dump_json(reply: Reply) -> bytes:
    """A reply as one line of JSON; what JSON cannot say becomes text."""
    return orjson.dumps(reply.model_dump(), default=_plain, option=orjson.OPT_NON_STR_KEYS)


def error_response(
    error: Exception, status: int | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The error contract: `{"error": {"code", "message", "hint", "details"}}` with the status of its code."""
    if not isinstance(error, HensloweError):  # an actor that is just being restarted
        error = Unavailable(f"cannot answer now: {error or type(error).__name__}", hint="try again in a second")
    extra = dict(headers or {})
    if isinstance(error, Unauthorised):
        extra[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="henslowe"'
    if isinstance(error, RateLimited):
        extra[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.details.get("retry_after_s", 1))))
    return web.Response(
        body=orjson.dumps({"error": error.as_dict()}, default=_plain, option=orjson.OPT_NON_STR_KEYS),
        status=status or STATUS.get(error.code, 500),
        content_type="application/json",
        headers=extra,
    )


def parse_query(request: web.Request, model: type[R]) -> R:
    """The query as its model; a list may be repeated or comma-separated.

    Raises:
        BadRequest: A parameter is unknown, given twice, or not what was expected.
    """
    values: dict[str, Any] = {}
    for name in request.query:
        given = request.query.getall(name)
        known = model.model_fields.get(name)
        if known is not None and get_origin(known.annotation) is tuple:
            values[name] = [part for text in given for part in text.split(",") if part]
        elif len(given) > 1:
            raise BadRequest(f"{name}: expected the parameter once, got: {len(given)} times", field=name)
        else:
            values[name] = given[0]
    return _checked(model, values)


async def _parse_body(request: web.Request, model: type[R]) -> R:
    """The JSON body as its model; no body is an empty object.

    Raises:
        BadRequest: It is not JSON, or a field is unknown or not what was expected.
        TooLarge: It is longer than 64 KiB.
    """
    content = bytearray()
    async for chunk in request.content.iter_chunked(16 * 1024):
        content += chunk
        if len(content) > BODY_BYTES_MAX:
            raise TooLarge(f"expected a body of at most {BODY_BYTES_MAX} bytes, got: more")
    try:
        value = orjson.loads(content) if content.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"body: expected JSON, got: {error}", hint="send an object", field="") from error
    if not isinstance(value, dict):
        raise BadRequest(f"body: expected an object, got: {shown(value)}", hint="send {}", field="")
    return _checked(model, value)


def _checked(model: type[R], values: dict[str, Any]) -> R:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [
            {
                "field": ".".join(map(str, detail["loc"])),
                "expected": _expectation(model, detail),
                "got": detail["input"],
            }
            for detail in error.errors(include_url=False)
        ]
        first = problems[0]
        raise BadRequest(
            f"{first['field']}: expected {first['expected']}, got: {shown(first['got'])}",
            hint="GET /admin/v1/openapi.json describes every field",
            field=first["field"],
            problems=problems,
        ) from error


def _expectation(model: type[Request], detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return f"one of {', '.join(model.model_fields) or 'no fields'}"
    if detail["type"] == "string_too_long":
        return f"at most {detail['ctx']['max_length']} characters"
    return expected_of(detail)


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
    uid = struct.unpack("3i", credentials)[1]
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value)
