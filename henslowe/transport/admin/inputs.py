"""What clients send, as checked models: query and JSON body. A mistake names the field and what was expected."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar, get_origin

import orjson
from aiohttp import web
from pydantic import ValidationError

from henslowe.config.problems import expected_of, shown
from henslowe.errors import BadRequest, TooLarge
from henslowe.transport.admin.models.base import Request

BODY_BYTES_MAX: Final = 64 * 1024
BODY_S: Final = 30.0
"""How long a client may take to send it."""

HIDDEN: Final = "***"

R = TypeVar("R", bound=Request)


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


async def parse_body(request: web.Request, model: type[R]) -> R:
    """The JSON body as its model; no body is an empty object.

    Raises:
        BadRequest: It is not JSON, or a field is unknown or not what was expected.
            It does not come within `BODY_S`.
        TooLarge: It is longer than 64 KiB.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_chunked(16 * 1024):
                content += chunk
                if len(content) > BODY_BYTES_MAX:
                    raise TooLarge(f"expected a body of at most {BODY_BYTES_MAX} bytes, got: more")
    except TimeoutError as error:
        raise BadRequest(f"body: expected all of it within {BODY_S:g} s, got: less", field="") from error
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
        # A request with a secret in it: whatever is wrong with it is not repeated.
        hidden = model.model_config.get("hide_input_in_errors", False)
        problems = [
            {
                "field": ".".join(map(str, detail["loc"])),
                "expected": _expectation(model, detail),
                "got": HIDDEN if hidden else detail["input"],
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
