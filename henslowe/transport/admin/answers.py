"""How a reply or an error becomes an HTTP response: JSON, one error contract, one status per kind of error."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from henslowe.errors import Forbidden, HensloweError, RateLimited, Unauthorised, Unavailable
from henslowe.transport.admin.models.base import Reply

STATUS: Final[Mapping[str, int]] = {
    "bad_request": 400,
    "config": 400,
    "manifest": 400,
    "workspace": 400,
    "unauthorised": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "stage_failed": 422,
    "limit_reached": 429,
    "rate_limited": 429,
    "data_dir_busy": 503,
    "storage_degraded": 503,
    "unavailable": 503,
}
"""HTTP status of an error's code; any other is 500."""


def json_response(reply: Reply, status: int = 200) -> web.Response:
    """A reply as JSON."""
    return web.Response(body=dump_json(reply), status=status, content_type="application/json")


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
    if isinstance(error, Forbidden) and "scope" in error.details:
        extra[hdrs.WWW_AUTHENTICATE] = f'Bearer error="insufficient_scope", scope="{error.details["scope"]}"'
    if isinstance(error, RateLimited):
        extra[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.details.get("retry_after_s", 1))))
    return web.Response(
        body=orjson.dumps({"error": error.as_dict()}, default=_plain, option=orjson.OPT_NON_STR_KEYS),
        status=status or STATUS.get(error.code, 500),
        content_type="application/json",
        headers=extra,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value)
