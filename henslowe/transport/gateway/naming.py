"""Names on the aggregate endpoint: reversible for every service name and every tool name, and never ambiguous.

Tools and prompts are `service__name`. A service whose own name has `__` in it or ends with `_` would blur the border,
so each such `_` is followed by `.`, which no service name contains: the first `__` is therefore always the border.
Resources, which are URIs, get a scheme in front: `mcp+service+uri`, with `_` of the service written as `.` since a
scheme has no underscores. Templates keep their braces, so what a client expands from them finds its way back.
"""

from __future__ import annotations

import re
from typing import Final

from henslowe.actors.ids import ServiceName

SEPARATOR: Final = "__"
URI_PREFIX: Final = "mcp+"

_BLURRING = re.compile(r"_(?=_|$)")


def joined(service: str, name: str) -> str:
    """The aggregate's name of a service's tool or prompt."""
    return f"{_BLURRING.sub('_.', service)}{SEPARATOR}{name}"


def split(name: str) -> tuple[ServiceName, str] | None:
    """Service and own name; None for what `joined` never makes."""
    service, separator, own = name.partition(SEPARATOR)
    if not separator or not service:
        return None
    return ServiceName(service.replace(".", "")), own


def joined_uri(service: str, uri: str) -> str:
    """The aggregate's URI (or template) of a service's resource."""
    return f"{URI_PREFIX}{service.replace('_', '.')}+{uri}"


def split_uri(uri: str) -> tuple[ServiceName, str] | None:
    """Service and own URI; None for what `joined_uri` never makes."""
    if not uri.startswith(URI_PREFIX):
        return None
    service, separator, own = uri[len(URI_PREFIX) :].partition("+")
    if not separator or not service or not own:
        return None
    return ServiceName(service.replace(".", "_")), own
