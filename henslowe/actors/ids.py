"""Identities that travel between actors: services, versions and instances.

Plain values, hashable and ordered, safe as dictionary keys, table keys and label values.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NewType

from henslowe.errors import ConfigError

ServiceName = NewType("ServiceName", str)
"""Name of one MCP server that Henslowe develops or runs: `[a-z0-9][a-z0-9_-]{0,62}`."""

InstanceId = NewType("InstanceId", str)
"""Name of one running process (or remote endpoint) of a version: `hello@3#1`, unique within a node's life."""

BuildId = NewType("BuildId", str)
"""SHA-256 of an archive manifest, in hexadecimal: the content, not the occasion."""

_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class VersionKey(NamedTuple):
    """One version of one service; `number` counts up from 1 and is never reused."""

    service: ServiceName
    number: int

    def __str__(self) -> str:
        return f"{self.service}@{self.number}"


def service_name(text: str) -> ServiceName:
    """The text as a service name.

    Raises:
        ConfigError: It is not `[a-z0-9][a-z0-9_-]{0,62}`.
    """
    if _SERVICE_NAME.fullmatch(text) is None:
        raise ConfigError(
            f"expected a service name of lower-case letters, digits, '-' and '_' (at most 63), got: {text!r}",
            hint="rename the folder under dev/ or the key under [services]",
        )
    return ServiceName(text)
