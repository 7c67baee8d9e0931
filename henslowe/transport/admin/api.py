"""Adds the admin API to the node's application.

    app = web.Application(middlewares=[guard_middleware(guard, door, live)])
    add_admin(app, Admin(view, store.events, registry, tokens=ManagedTokens(table), limiter=RateLimiter(200)))

The application may be served on the Unix socket and on TCP at once: over the socket its mode 0600 is the guard, over
TCP the guard says who asks, and every route but the health checks asks him for a scope.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Final

import orjson
from aiohttp import hdrs, web

from henslowe.errors import BadRequest, NotFound
from henslowe.transport.admin.answers import error_response
from henslowe.transport.admin.edge import Admin, Call, Route, guarded
from henslowe.transport.admin.openapi import document
from henslowe.transport.admin.routes import ROUTES, V1
from henslowe.transport.admin.stream import STOPPING

__all__ = ["Admin", "add_admin", "all_routes"]

OPENAPI_PATH: Final = f"{V1}/openapi.json"


def add_admin(app: web.Application, admin: Admin) -> None:
    """Add every admin route to the application, and let event streams end when it shuts down."""
    routes = all_routes()
    for route in routes:
        app.router.add_route(route.method, route.path, guarded(admin, route))
    fallback = Route("*", "/admin/{rest:.*}", _nothing_here, "")
    app.router.add_route("*", fallback.path, guarded(admin, fallback))

    app[STOPPING] = asyncio.Event()
    app.on_shutdown.append(_stop_streams)


@cache
def all_routes() -> tuple[Route, ...]:
    """The route table with the route of the document about it."""
    return (*ROUTES, Route("GET", OPENAPI_PATH, _openapi, "This document"))


async def _openapi(_call: Call) -> web.StreamResponse:
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    """Made when it is first asked for: the schemas of all models are a tenth of a node's start."""
    return orjson.dumps(document(all_routes()))


async def _stop_streams(app: web.Application) -> None:
    """Event streams end by themselves when the listener goes, instead of being cut after its patience."""
    app[STOPPING].set()


async def _nothing_here(call: Call) -> web.StreamResponse:
    """404 for an unknown path under /admin, 405 for a known one with another method; both in the error contract."""
    request = call.request
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        match, methods = await resource.resolve(request)
        if match is None:  # with methods: the path is known; our own catch-all matches and is left out
            allowed |= methods
    if not allowed:
        raise NotFound(f"cannot find {request.path}: no such route", hint=f"GET {OPENAPI_PATH} lists them")
    error = BadRequest(
        f"expected method {' or '.join(sorted(allowed))} for {request.path}, got: {request.method}",
        hint="use another method",
    )
    return error_response(error, 405, {hdrs.ALLOW: ", ".join(sorted(allowed))})
