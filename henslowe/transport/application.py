"""The application that the node's one listener serves: guard, door, gateway and admin API in one place.

Built anew for each incarnation of the listener, since aiohttp's applications live once; the gateway and the admin's
state are made once and outlive them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web, web_response
from prometheus_client import Counter, Gauge

from henslowe.actors.access.board import AccessBoard
from henslowe.actors.launch import Resolve
from henslowe.config.listen import Address, open_to_clients
from henslowe.config.settings import Settings
from henslowe.transport.access import (
    Authenticator,
    Door,
    LiveRequests,
    Resources,
    add_resource_metadata,
    resources_of,
)
from henslowe.transport.admin.api import add_admin
from henslowe.transport.admin.edge import Admin
from henslowe.transport.connections import DIRECT, INLINE
from henslowe.transport.gateway import Gateway, add_gateway
from henslowe.transport.http_guard import Guard, guard_middleware
from henslowe.transport.inline import InlineDoor
from henslowe.transport.rate_limit import RateLimiter

log = logging.getLogger(__name__)

SERVER: Final = "henslowe"
"""The `Server` header: aiohttp's own tells strangers which versions of itself and of Python to look up."""
PLACES: Final = {
    "name": "henslowe",
    "mcp": "/mcp",
    "mcp_of_a_service": "/mcp/SERVICE",
    "admin": "/admin/v1/openapi.json",
    "metrics": "/metrics",
    "health": ["/livez", "/readyz"],
}
"""What `GET /` answers: where everything is."""
REMOTE_RATE_PER_S: Final = 1_000.0
"""Requests per principal to a listener beyond loopback, where `access.rate_per_s` does not say otherwise."""


def application_maker(
    settings: Settings,
    address: Address,
    *,
    token: str,
    board: AccessBoard,
    gateway: Gateway,
    admin: Admin,
    secrets: Resolve = dict,
) -> Callable[[], web.Application]:
    """A function that builds the application.

    Args:
        settings: Limits, and who may come in.
        address: As bound: the guard knows the listener's own names by it.
        token: The root token.
        board: The tokens of the node.
        gateway: Serves `/mcp`.
        admin: Serves the rest.
        secrets: Resolves secrets that the settings of access refer to.
    """
    resources, door, live = _access(settings, address, token, board, secrets)
    guard = Guard(
        address.host,
        address.port,
        hosts=settings.gateway.hosts,
        origins=settings.gateway.origins,
    )

    refused = Counter(
        "henslowe_access_refused", "Requests that the guard or the door turned away", ["code"], registry=admin.registry
    )
    cut = Gauge("henslowe_access_cut", "Requests ended because their token ended", registry=admin.registry)
    cut.set_function(lambda: live.cut)
    if not address.loopback and settings.tls.cert_file is None:
        log.warning("listening_without_tls", extra={"listen": str(address), "hint": "add --tls-cert and --tls-key"})

    # aiohttp has no setting for it, and its signals miss the answers to what is not HTTP.
    web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]  # it imports the name

    def make() -> web.Application:
        app = web.Application(
            middlewares=[
                guard_middleware(guard, door, live, on_denied=lambda denied: refused.labels(denied.code).inc())
            ],
            client_max_size=settings.gateway.request_bytes_max,
        )
        add_resource_metadata(app, resources)
        add_gateway(app, gateway)
        app[INLINE] = InlineDoor(app[DIRECT], guard, door, live, gateway.inline)
        add_admin(app, admin)
        app.router.add_get("/", _places)
        return app

    return make


def _access(
    settings: Settings, address: Address, token: str, board: AccessBoard, secrets: Resolve
) -> tuple[Resources, Door, LiveRequests]:
    """Who is let in, as the settings say."""
    access = settings.access
    resources = resources_of(settings)
    failures = RateLimiter(access.failures_per_minute / 60, burst=access.failures_per_minute)
    issuer = None
    if resources.oauth is not None:
        from henslowe.transport.access.issuer import Issuer  # and the cryptography under it

        issuer = Issuer(resources.oauth, secrets=secrets)
    authenticator = Authenticator(token, board, issuer=issuer, failures=failures)
    rate_per_s = access.rate_per_s or (0.0 if address.loopback else REMOTE_RATE_PER_S)
    door = Door(
        authenticator,
        resources,
        open_mcp=open_to_clients(access.mode, address),
        open_rest=access.mode in ("auto", "none") and address.loopback,
        limiter=RateLimiter(rate_per_s) if rate_per_s else None,
    )
    live = LiveRequests(authenticator.holds)
    board.on_change(live.review)
    return resources, door, live


async def _places(_request: web.Request) -> web.Response:
    """For whoever asks the bare address."""
    body = orjson.dumps(PLACES, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, content_type="application/json")
