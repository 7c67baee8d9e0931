"""`/mcp`: all services at one endpoint, their tools, prompts and resources under names that say whose they are.

Lists are put together from the contracts of the versions that the client is routed to, on one page, so that a slow
server does not hold up a list. How names are made is `naming`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from henslowe.actors.endpoints import Endpoint, Era, JsonObject, ServerFacts
from henslowe.actors.ids import ServiceName
from henslowe.actors.routes import RouteTable
from henslowe.errors import NotFound
from henslowe.transport.gateway import naming
from henslowe.transport.gateway.calls import Caller
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.protocol import NODE_ERROR, node_error
from henslowe.transport.gateway.results import Results
from henslowe.transport.gateway.scopes import HeaderSchemas, is_unsettled
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.streams import View
from henslowe.transport.gateway.tasks import METHODS as TASK_METHODS
from henslowe.transport.gateway.tasks import offers
from henslowe.transport.mcp import eras, jsonrpc

INSTRUCTIONS_CHARS_MAX: Final = 16_000
"""Of the aggregate's instructions, which end up in a model's prompt."""

_LISTS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


_ADDRESSED: Final = frozenset(
    {
        "completion/complete",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "tools/call",
    }
)
"""Requests to the aggregate that name what they are about."""


class AggregateScope:
    """`/mcp`: all services, or those that `sees` lets through. `node_info` is what it says of itself."""

    name = ""

    def __init__(
        self,
        routes: RouteTable,
        caller: Caller,
        results: Results,
        schemas: HeaderSchemas,
        node_info: JsonObject,
        *,
        sees: Callable[[str], bool] | None = None,
    ) -> None:
        self._routes = routes
        self._caller = caller
        self._results = results
        self._schemas = schemas
        self._node_info = node_info
        self._sees = sees

    def seen_by(self, sees: Callable[[str], bool]) -> AggregateScope:
        """The same for a client that sees some services only."""
        return AggregateScope(self._routes, self._caller, self._results, self._schemas, self._node_info, sees=sees)

    async def facts(self, unit: Unit) -> ServerFacts:
        """The node's own name, every capability that some service has, and all instructions by service.

        Tools, prompts and resources are always among them: a session outlives the services that were there at its
        start, and the lists are the gateway's own.
        """
        capabilities: JsonObject = {"tools": {}, "prompts": {}, "resources": {}}
        instructions: list[str] = []
        for endpoint in self._endpoints(unit):
            facts = endpoint.facts
            for name in ("tools", "prompts", "resources", "completions", "logging"):
                mine = facts.capabilities.get(name)
                if isinstance(mine, dict):
                    capabilities[name] = {**capabilities.get(name, {}), **mine}
            if facts.era is Era.MODERN and offers(facts.capabilities):
                capabilities["extensions"] = {eras.TASKS_EXTENSION: {}}
            elif isinstance(facts.capabilities.get("tasks"), dict):
                capabilities["tasks"] = facts.capabilities["tasks"]
            if facts.instructions:
                instructions.append(f"# {endpoint.version.service}\n{facts.instructions}")
        text = "\n\n".join(instructions)[:INSTRUCTIONS_CHARS_MAX] or None
        return ServerFacts(Era.MODERN, eras.LATEST_MODERN, self._node_info, capabilities, text)

    def view(self, unit: Unit) -> View:
        """The contracts of all services that are up."""
        return {endpoint.version.service: endpoint.contract for endpoint in self._endpoints(unit)}

    def routed(self) -> Collection[ServiceName]:
        """All services with a route."""
        services = self._routes.current.keys()
        return services if self._sees is None else tuple(filter(self._sees, services))

    def input_schema(self, unit: Unit, tool: str) -> Any:
        """The namespaced tool's input schema if it matters to header validation."""
        target = naming.split(tool)
        endpoint = None if target is None else self._caller.peek(target[0], unit)
        return None if endpoint is None or target is None else self._schemas.find(endpoint, target[1])

    def unsettled(self) -> bool:
        """Whether any route has two arms."""
        return any(is_unsettled(self._routes.current[service]) for service in self.routed())

    def declares_ttl(self, unit: Unit) -> bool:  # noqa: ARG002 (a Protocol's signature)
        """The aggregate's lists are the node's."""
        return False

    def client_uri(self, service: ServiceName, uri: str) -> str:
        """The namespaced URI."""
        return naming.joined_uri(service, uri)

    def readable(self, uri: str) -> bool:  # noqa: ARG002 (a Protocol's signature)
        """Every resource."""
        return True

    async def call(self, ask: Ask) -> JsonObject:
        """A list over all services, or the answer of the service that the name or URI belongs to."""
        method = ask.method
        listing = _LISTS.get(method)
        if listing is not None:
            return self._list(listing, ask)
        if method in TASK_METHODS:
            answer, owner = await self._results.about("", ask)
            return _named_task(owner, answer) if owner else answer
        target = _target(method, ask.params)
        if target is None:
            if method in _ADDRESSED:
                return jsonrpc.error(
                    jsonrpc.INVALID_PARAMS, f"{method}: expected a name or URI as listed, unknown here"
                )
            return jsonrpc.error(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {method}")
        service, own = target
        if service not in self._routes.current:
            unrouted = self._caller.unrouted(service)
            return node_error(unrouted, jsonrpc.INVALID_PARAMS if isinstance(unrouted, NotFound) else NODE_ERROR)
        answer = await self._results.call(service, replace(ask, params=own))
        result = answer.get("result")
        return {"result": _named(service, result)} if isinstance(result, dict) else answer

    def _list(self, kind: str, ask: Ask) -> JsonObject:
        if ask.params is not None and ask.params.get("cursor") is not None:
            return jsonrpc.error(jsonrpc.INVALID_PARAMS, "expected no cursor: the list has one page")
        result: JsonObject = {kind: list(self._listed(kind, ask.unit))}
        if ask.era is Era.MODERN:
            result.update(resultType="complete", _meta={eras.SERVER_INFO_META: self._node_info})
        return {"result": result}

    def _listed(self, kind: str, unit: Unit) -> Iterator[JsonObject]:
        for endpoint in self._endpoints(unit):
            service, contract = endpoint.version.service, endpoint.contract
            if kind == "tools":
                yield from ({**tool, "name": naming.joined(service, tool["name"])} for tool in contract.tools)
            elif kind == "prompts":
                yield from ({**prompt, "name": naming.joined(service, prompt["name"])} for prompt in contract.prompts)
            elif kind == "resources":
                yield from ({**each, "uri": naming.joined_uri(service, each["uri"])} for each in contract.resources)
            else:
                for each in contract.resource_templates:
                    yield {**each, "uriTemplate": naming.joined_uri(service, each["uriTemplate"])}

    def _endpoints(self, unit: Unit) -> Iterator[Endpoint]:
        """One endpoint per service that is up, by name."""
        for service in sorted(self.routed()):
            endpoint = self._caller.peek(service, unit)
            if endpoint is not None:
                yield endpoint


def _target(method: str, params: JsonObject | None) -> tuple[ServiceName, JsonObject] | None:
    """The service that a namespaced request belongs to, and its parameters in the service's own names."""
    if params is None:
        return None
    if method in ("tools/call", "prompts/get"):
        return _renamed(params, "name", naming.split)
    if method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        return _renamed(params, "uri", naming.split_uri)
    ref = params.get("ref")
    if method != "completion/complete" or not isinstance(ref, dict):
        return None
    by_uri = ref.get("type") == "ref/resource"
    own = _renamed(ref, "uri", naming.split_uri) if by_uri else _renamed(ref, "name", naming.split)
    return None if own is None else (own[0], {**params, "ref": own[1]})


def _renamed(
    holder: JsonObject, key: str, split: Callable[[str], tuple[ServiceName, str] | None]
) -> tuple[ServiceName, JsonObject] | None:
    value = holder.get(key)
    found = split(value) if isinstance(value, str) else None
    return None if found is None else (found[0], {**holder, key: found[1]})


def _named(service: ServiceName, result: JsonObject) -> JsonObject:
    """A result whose resources carry the aggregate's URIs, so that the client can read them back."""
    renamed = dict(result)
    for key in ("content", "contents"):
        items = result.get(key)
        if isinstance(items, list):
            renamed[key] = [_named_item(service, item) for item in items]
    messages = result.get("messages")
    if isinstance(messages, list):
        renamed["messages"] = [
            {**m, "content": _named_item(service, m.get("content"))} if isinstance(m, dict) else m for m in messages
        ]
    return renamed


def _named_task(service: ServiceName, answer: JsonObject) -> JsonObject:
    """An answer about a task whose outcome carries the aggregate's URIs, wherever its era puts the outcome."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    outcome = result.get("result")
    named = _named(service, result)
    return {"result": {**named, "result": _named(service, outcome)} if isinstance(outcome, dict) else named}


def _named_item(service: ServiceName, item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    if isinstance(item.get("resource"), dict):
        return {**item, "resource": _named_item(service, item["resource"])}
    if isinstance(item.get("uri"), str):
        return {**item, "uri": naming.joined_uri(service, item["uri"])}
    return item
