"""What one MCP endpoint of the gateway shows: a single service with its names untouched, or all of them, namespaced.

Both answer the same questions (what are you, what does this client see, call this), so `legacy` and `modern` do not
know which one they serve. Here is the single service, whose lists are the server's own answers; see `aggregate` for
all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import Any, Final, Protocol

import orjson

from henslowe.actors.endpoints import Contract, Endpoint, Era, JsonObject, ServerFacts
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.routes import Route
from henslowe.transport.gateway.calls import Caller
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.results import Results
from henslowe.transport.gateway.selection import Selection, Target, service_of
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.streams import View

CANARY_TTL_MS: Final = 1_000
"""How long a list may be cached while a rollout is under way: a client's arm may change at the next epoch."""
SCHEMAS_MAX: Final = 1_000
"""Versions whose header schemas are remembered; a node runs far fewer at a time."""


class Scope(Protocol):
    """One endpoint as seen by one client at a time, which is its unit."""

    @property
    def name(self) -> str:
        """The service, or "" for the aggregate."""
        ...

    async def facts(self, unit: Unit) -> ServerFacts:
        """What it says of itself.

        Raises:
            NotFound: No such service.
            Unavailable: No instance came up in time.
        """
        ...

    def view(self, unit: Unit) -> View:
        """What the client sees now."""
        ...

    def routed(self) -> Collection[ServiceName]:
        """The services in it, up or not."""
        ...

    def input_schema(self, unit: Unit, tool: str) -> Any:
        """The tool's input schema if any of its properties travels in a header, else None."""
        ...

    def unsettled(self) -> bool:
        """Whether a rollout is under way, so that clients see different versions."""
        ...

    def declares_ttl(self, unit: Unit) -> bool:
        """Whether the server itself says how long its lists may be cached; else the node does."""
        ...

    def client_uri(self, service: ServiceName, uri: str) -> str:
        """A service's resource as this endpoint's clients know it."""
        ...

    def readable(self, uri: str) -> bool:
        """Whether its client may hear of a resource, as it knows it."""
        ...

    def call(self, ask: Ask) -> Awaitable[JsonObject]:
        """The answer to a request, in the client's era and names.

        Raises:
            NotFound: No such service.
        """
        ...


class HeaderSchemas:
    """Input schemas with `x-mcp-header`, per endpoint. Most contracts have none, and finding that out costs little."""

    def __init__(self) -> None:
        self._of: dict[VersionKey, tuple[Contract, dict[str, Any]]] = {}

    def find(self, endpoint: Endpoint, tool: str) -> Any:
        """The tool's schema, or None when no header repeats any of its arguments."""
        contract = endpoint.contract
        known = self._of.get(endpoint.version)
        if known is None or known[0] is not contract:
            if len(self._of) >= SCHEMAS_MAX:
                self._of.clear()
            schemas = {t["name"]: t.get("inputSchema") for t in contract.tools if b"x-mcp-header" in orjson.dumps(t)}
            known = self._of[endpoint.version] = (contract, schemas)
        return known[1].get(tool)


class ServiceScope:
    """`/mcp/<service>` and `/mcp/<service>@<range>`: one service as it is."""

    def __init__(
        self, target: Target, selection: Selection, caller: Caller, results: Results, schemas: HeaderSchemas
    ) -> None:
        self._target = target
        self._service = service_of(target)
        self._selection = selection
        self._caller = caller
        self._results = results
        self._schemas = schemas

    @property
    def name(self) -> str:
        """The service, with its range."""
        return self._target

    async def facts(self, unit: Unit) -> ServerFacts:
        """What the version of this unit says of itself."""
        return (await self._caller.endpoint(self._target, unit)).facts

    def view(self, unit: Unit) -> View:
        """The contract of this unit's version."""
        endpoint = self._caller.peek(self._target, unit)
        return {} if endpoint is None else {self._service: endpoint.contract}

    def routed(self) -> Collection[ServiceName]:
        """The service while it has a route."""
        return () if self._selection.route(self._target) is None else (self._service,)

    def input_schema(self, unit: Unit, tool: str) -> Any:
        """The tool's input schema if it matters to header validation."""
        endpoint = self._caller.peek(self._target, unit)
        return None if endpoint is None else self._schemas.find(endpoint, tool)

    def unsettled(self) -> bool:
        """Whether the service's route has two arms."""
        route = self._selection.route(self._target)
        return route is not None and is_unsettled(route)

    def declares_ttl(self, unit: Unit) -> bool:
        """Servers of the modern era do."""
        endpoint = self._caller.peek(self._target, unit)
        return endpoint is not None and endpoint.facts.era is Era.MODERN

    def client_uri(self, service: ServiceName, uri: str) -> str:  # noqa: ARG002 (a Protocol's signature)
        """The same URI."""
        return uri

    def readable(self, uri: str) -> bool:  # noqa: ARG002 (a Protocol's signature)
        """Every resource."""
        return True

    def call(self, ask: Ask) -> Awaitable[JsonObject]:
        """The server's answer."""
        return self._results.call(self._target, ask)


def is_unsettled(route: Route) -> bool:
    """Whether a route has two arms that clients may be in."""
    return route.canary is not None and route.canary_weight > 0


def cache_policy(result: JsonObject, *, unsettled: bool, declared: bool, ttl_ms_max: int) -> JsonObject:
    """A modern result that may be cached no longer than the node can promise, and by the client alone in a rollout.

    With `declared` the server's own `ttlMs` counts, as far as it is shorter.
    """
    ttl_ms = result.get("ttlMs") if declared else None
    limit_ms = min(CANARY_TTL_MS, ttl_ms_max) if unsettled else ttl_ms_max
    ttl_ms = min(ttl_ms, limit_ms) if type(ttl_ms) is int and ttl_ms >= 0 else limit_ms
    scope = "private" if unsettled or result.get("cacheScope") != "public" else "public"
    return {**result, "ttlMs": ttl_ms, "cacheScope": scope}
