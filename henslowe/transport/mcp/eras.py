"""What the two families of protocol revisions call things: versions, `_meta` keys, method sets.

Constants and lookups only. `mcp_types` has the same words behind a slow import; the tests hold ours against its.
How messages are turned from one era into the other is `bridge`'s business.
"""

from __future__ import annotations

from typing import Any, Final

from henslowe.actors.endpoints import JsonObject

LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS: Final = ("2026-07-28",)
LATEST_LEGACY: Final = LEGACY_VERSIONS[-1]
LATEST_MODERN: Final = MODERN_VERSIONS[-1]

PROTOCOL_VERSION_META: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO_META: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES_META: Final = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_META: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO_META: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID_META: Final = "io.modelcontextprotocol/subscriptionId"

REQUEST_META: Final = frozenset({PROTOCOL_VERSION_META, CLIENT_INFO_META, CLIENT_CAPABILITIES_META, LOG_LEVEL_META})
"""Keys of a modern request's `_meta` that mean nothing to a legacy server."""

CACHEABLE: Final = frozenset(
    {"prompts/list", "resources/list", "resources/read", "resources/templates/list", "server/discover", "tools/list"}
)
"""Methods whose modern results carry `ttlMs` and `cacheScope`."""

ASKED_OF_CLIENTS: Final = {
    "elicitation/create": "elicitation",
    "roots/list": "roots",
    "sampling/createMessage": "sampling",
}
"""Requests that a server may make of its client, and the capability that the client declares for each."""

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"

NAME_PARAM: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""The parameter that a modern HTTP request repeats in its `Mcp-Name` header."""

NOTIFICATION_CHANGES: Final = {
    "notifications/tools/list_changed": ("tools",),
    "notifications/prompts/list_changed": ("prompts",),
    "notifications/resources/list_changed": ("resources", "resource_templates"),
}
"""Which lists of the contract a change notification is about."""


def name_in(method: str, params: JsonObject | None) -> Any:
    """What a request repeats in its `Mcp-Name` header, by its method; None for one that names nothing."""
    key = NAME_PARAM.get(method)
    return None if key is None or params is None else params.get(key)


def askable(capabilities: Any) -> JsonObject:
    """Of a client's capabilities those that let a server ask it something."""
    if not capabilities or not isinstance(capabilities, dict):
        return {}
    return {name: capabilities[name] for name in ASKED_OF_CLIENTS.values() if isinstance(capabilities.get(name), dict)}


def envelope(protocol_version: str, client_info: JsonObject) -> JsonObject:
    """The `_meta` of a modern request that the node makes on behalf of someone without capabilities of their own."""
    return {
        PROTOCOL_VERSION_META: protocol_version,
        CLIENT_CAPABILITIES_META: {},
        CLIENT_INFO_META: client_info,
    }
