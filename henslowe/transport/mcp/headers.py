"""Header lines of requests to servers: which of a client's are passed on, and how values are written.

A client's credentials are never passed on: a server is given its own, from its service's settings.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from henslowe.actors.endpoints import Contract, JsonObject
from henslowe.errors import ConfigError
from henslowe.transport.mcp.sdk import pure

TRACING: Final = frozenset({"traceparent", "tracestate", "baggage"})
PARAM_PREFIX: Final = "mcp-param-"

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PLAIN: Final = re.compile(r"(?!=\?base64\?)[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_VALUES_MAX: Final = 4_096
"""Methods, names of tools and the like whose form in a header is remembered."""
_VALUE_CHARS_MAX: Final = 256
"""Longer ones are not remembered: whoever calls may write megabytes there."""

ParamHeaders = Mapping[str, Mapping[tuple[str, ...], str]]
"""By tool: the path of an argument, and the name of the header that repeats it."""


def header_lines(headers: Mapping[str, str]) -> str:
    """The headers as lines.

    Raises:
        ConfigError: A name or a value cannot stand in a header.
    """
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise ConfigError(
                f"expected a header that HTTP can carry, got: {name[:100]!r}", hint="see the service's headers"
            )
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def passed_on(headers: Mapping[str, str]) -> str:
    """Of a client's headers the lines that its request carries on: `Mcp-Param-*`, known or not, and tracing.

    The gateway chooses these already (`inbound.forwarded_headers`). What nobody should have handed over, and what would
    end a line, stops here all the same.
    """
    if not headers:
        return ""
    lines = ""
    for name, value in headers.items():
        low = name.lower()
        if (low in TRACING or low.startswith(PARAM_PREFIX)) and _NAME.fullmatch(name) and _VALUE.fullmatch(value):
            lines += f"{name}: {value}\r\n"
    return lines


def header_value(value: str) -> str:
    """The value as a header can carry it: plain, or in MCP's base64 form."""
    return _remembered(value) if len(value) <= _VALUE_CHARS_MAX else _written(value)


def _written(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else pure.encode_header_value(value)


_remembered: Final = functools.lru_cache(_VALUES_MAX)(_written)


def param_headers_of(contract: Contract) -> ParamHeaders:
    """Which arguments the tools of a contract want repeated in headers (`x-mcp-header` in their input schemas)."""
    annotated = [tool for tool in contract.tools if b"x-mcp-header" in orjson.dumps(tool.get("inputSchema"))]
    if not annotated:
        return {}
    return {
        tool["name"]: pure.x_mcp_header_map(tool["inputSchema"])
        for tool in annotated
        if pure.find_invalid_x_mcp_header(tool["inputSchema"]) is None
    }


def param_headers(wanted: ParamHeaders, params: JsonObject | None) -> dict[str, str]:
    """The `Mcp-Param-*` headers of a call whose client does not know of them."""
    sent: Mapping[str, Any] = params or {}
    paths = wanted.get(str(sent.get("name")))
    arguments = sent.get("arguments")
    if not paths or not isinstance(arguments, dict):
        return {}
    return pure.mcp_param_headers(paths, arguments)
