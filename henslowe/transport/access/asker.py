"""Who asks, as a request carries it from the guard to its route."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from henslowe.actors.access.principal import ANONYMOUS, Principal

WHO: Final = web.RequestKey("henslowe_who", Principal)
"""Set by the guard on every request that it lets in."""


def asker(request: web.Request) -> Principal:
    """Who asks; nobody in particular where no guard stands in front (tests, embedding)."""
    try:
        return request[WHO]
    except KeyError:
        return ANONYMOUS
