"""What a token is good for, in words: `mcp` and `mcp:SERVICE`, `admin` and `admin:read|write|services|tokens`.

Pure. A scope covers itself and what is below it (`mcp` covers `mcp:files`), and who may write may read. Which scope a
route asks for is said beside the route.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from henslowe.errors import ConfigError

MCP: Final = "mcp"
"""Every service; `mcp:SERVICE` is one of them."""
ADMIN: Final = "admin"
ADMIN_READ: Final = "admin:read"
ADMIN_WRITE: Final = "admin:write"
ADMIN_SERVICES: Final = "admin:services"
"""Add, change and remove services: who may, decides what the node runs, as the node's user."""
ADMIN_TOKENS: Final = "admin:tokens"
"""Make, list and revoke tokens. Nobody can give a token more than he has himself."""
EVERYTHING: Final = frozenset({MCP, ADMIN})

_KNOWN: Final = re.compile(r"mcp(:[a-z0-9][a-z0-9_-]{0,62})?|admin(:(read|write|services|tokens))?")


def of_service(service: str) -> str:
    """The scope that is enough for one service."""
    return f"{MCP}:{service}"


def covers(held: Collection[str], needed: str) -> bool:
    """Whether one of the scopes held is enough for the one needed."""
    if needed in held:
        return True
    parent = needed.partition(":")[0]
    return parent in held or (needed == ADMIN_READ and ADMIN_WRITE in held)


def covers_all(held: Collection[str], needed: Iterable[str]) -> bool:
    """Whether the scopes held are enough for each of those needed."""
    return all(covers(held, each) for each in needed)


def any_service(held: Collection[str]) -> bool:
    """Whether the scopes open at least one service, so that the aggregate endpoint has something to show."""
    return any(scope.partition(":")[0] == MCP for scope in held)


def is_scope(text: str) -> bool:
    """Whether the text is a scope of this node."""
    return _KNOWN.fullmatch(text) is not None


def check_scopes(given: Iterable[str]) -> tuple[str, ...]:
    """The scopes without repetition, sorted.

    Raises:
        ConfigError: There is none, or one is not a scope.
    """
    found = sorted(set(given))
    unknown = next((scope for scope in found if not is_scope(scope)), None)
    if unknown is not None or not found:
        raise ConfigError(
            f"expected scopes of mcp, mcp:SERVICE, admin, admin:read|write|services|tokens, got: {unknown!r:.80}",
            hint="for example --scope mcp:hello",
            field="scopes",
        )
    return tuple(found)
