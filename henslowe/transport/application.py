"""The application that the node's one listener serves: guard, gateway and admin API in one place.

Built anew for each incarnation of the listener, since aiohttp's applications live once; the gateway and the admin's
state are made once and outlive them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web, web_response

from henslowe.config.listen import Address
from henslowe.config.settings import Settings
from henslowe.transport.admin.api import add_admin
from henslowe.transport.admin.edge import Admin
from henslowe.transport.gateway import Gateway, add_gateway
from henslowe.transport.http_guard import Guard, guard_middleware

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


def application_maker(
    settings: Settings, address: Address, token: str, gateway: Gateway, admin: Admin
) -> Callable[[], web.Application]:
    """A function that builds the application.

    Args:
        settings: Limits, and who may come in.
        address: As bound: the guard knows the listener's own names by it.
        token: Asked for on every route when the address is not loopback.
        gateway: Serves `/mcp`.
        admin: Serves the rest.
    """
    guard = Guard(
        address.host,
        address.port,
        hosts=settings.gateway.hosts,
        origins=settings.gateway.origins,
        token=None if address.loopback else token,
    )

    # aiohttp has no setting for it, and its signals miss the answers to what is not HTTP.
    web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]  # it imports the name

    def make() -> web.Application:
        app = web.Application(middlewares=[guard_middleware(guard)], client_max_size=settings.gateway.request_bytes_max)
        add_gateway(app, gateway)
        add_admin(app, admin)
        app.router.add_get("/", _places)
        return app

    return make


async def _places(_request: web.Request) -> web.Response:
    """For whoever asks the bare address."""
    body = orjson.dumps(PLACES, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, content_type="application/json")
