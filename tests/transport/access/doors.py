"""Doors for tests: a root token, a board, and nobody else."""

from __future__ import annotations

from aiohttp.typedefs import Middleware

from henslowe.actors.access import AccessBoard
from henslowe.transport.access import Authenticator, Door, LiveRequests, Resources
from henslowe.transport.http_guard import Guard, guard_middleware
from henslowe.transport.rate_limit import RateLimiter

ROOT_TOKEN = "0123456789abcdef"


def door_of(
    board: AccessBoard | None = None,
    *,
    open_to_all: bool = True,
    limiter: RateLimiter | None = None,
    failures: RateLimiter | None = None,
) -> Door:
    authenticator = Authenticator(ROOT_TOKEN, board or AccessBoard(), failures=failures)
    return Door(authenticator, Resources(), open_mcp=open_to_all, open_rest=open_to_all, limiter=limiter)


def guarded_by(guard: Guard, door: Door | None = None) -> Middleware:
    """The middleware of the guard, the door, and the requests that it keeps."""
    door = door or door_of()
    return guard_middleware(guard, door, LiveRequests(door.authenticator.holds))
