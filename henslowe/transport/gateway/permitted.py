"""An endpoint as one principal may see it: what policy or scopes refuse is not listed, and calls of it are answered.

Wraps the scope of a single service or the aggregate; where nothing is ever refused, nothing is wrapped and nothing
costs. What is refused is decided by `henslowe.actors.access.policy`; here requests and lists are taken apart, and a
refusal becomes an answer: an error that names the policy, or where more scopes would help, a 403 that asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from henslowe.actors.access.policy import Kind, Permit, Refusal
from henslowe.actors.endpoints import JsonObject, ServerFacts
from henslowe.actors.ids import ServiceName
from henslowe.transport.gateway import naming
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.protocol import NODE_ERROR, Refused
from henslowe.transport.gateway.scopes import Scope
from henslowe.transport.gateway.selection import service_of
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.streams import View
from henslowe.transport.mcp import jsonrpc

_LISTS: Final[Mapping[str, tuple[Kind, str, str]]] = {
    "tools/list": (Kind.TOOL, "tools", "name"),
    "prompts/list": (Kind.PROMPT, "prompts", "name"),
    "resources/list": (Kind.RESOURCE, "resources", "uri"),
    "resources/templates/list": (Kind.RESOURCE, "resourceTemplates", "uriTemplate"),
}
_NAMED: Final[Mapping[str, tuple[Kind, str]]] = {
    "tools/call": (Kind.TOOL, "name"),
    "prompts/get": (Kind.PROMPT, "name"),
    "resources/read": (Kind.RESOURCE, "uri"),
    "resources/subscribe": (Kind.RESOURCE, "uri"),
}
"""Unsubscribing is always allowed."""
_REFERENCES: Final[Mapping[str, tuple[Kind, str]]] = {
    "ref/prompt": (Kind.PROMPT, "name"),
    "ref/resource": (Kind.RESOURCE, "uri"),
}

Challenge = Callable[[Iterable[str], bool], str]
"""The `WWW-Authenticate` header that asks for scopes: ours (True), or a policy's, in the issuer's words."""


class PermittedScope:
    """A scope as one principal may use it.

    Args:
        scope: The endpoint.
        permit: What the principal may use.
        who: The principal's name, for the answer.
        challenge: How more scopes are asked for.
    """

    def __init__(self, scope: Scope, permit: Permit, who: str, challenge: Challenge) -> None:
        self._scope = scope
        self._permit = permit
        self._who = who or "an anonymous client"
        self._challenge = challenge

    @property
    def name(self) -> str:
        """As the endpoint's."""
        return self._scope.name

    async def facts(self, unit: Unit) -> ServerFacts:
        """As the endpoint's."""
        return await self._scope.facts(unit)

    def view(self, unit: Unit) -> View:
        """As the endpoint's: that something changed is no secret, and what changed is listed again."""
        return self._scope.view(unit)

    def routed(self) -> Collection[ServiceName]:
        """As the endpoint's."""
        return self._scope.routed()

    def input_schema(self, unit: Unit, tool: str) -> Any:
        """As the endpoint's, for a tool that may be used."""
        return self._scope.input_schema(unit, tool) if self._refusal(Kind.TOOL, tool) is None else None

    def unsettled(self) -> bool:
        """As the endpoint's."""
        return self._scope.unsettled()

    def declares_ttl(self, unit: Unit) -> bool:
        """As the endpoint's."""
        return self._scope.declares_ttl(unit)

    def client_uri(self, service: ServiceName, uri: str) -> str:
        """As the endpoint's."""
        return self._scope.client_uri(service, uri)

    def readable(self, uri: str) -> bool:
        """Whether the principal may read the resource."""
        return self._refusal(Kind.RESOURCE, uri) is None

    async def call(self, ask: Ask) -> JsonObject:
        """The answer, unless the principal may not have it; of a list, what he may use.

        Raises:
            Refused: With 403, where more scopes would help.
            NotFound: No such service.
        """
        asked = _asked(ask)
        if asked is not None and (refusal := self._refusal(*asked)) is not None:
            return self._refused(*asked, refusal)
        answer = await self._scope.call(ask)
        listing = _LISTS.get(ask.method)
        result = answer.get("result")
        if listing is None or not isinstance(result, dict):
            return answer
        kind, key, name = listing
        items = result.get(key)
        shown = [each for each in items if self._shows(kind, each, name)] if isinstance(items, list) else items
        private = {"cacheScope": "private"} if "cacheScope" in result else {}
        return {"result": {**result, key: shown, **private}}

    def _shows(self, kind: Kind, item: Any, key: str) -> bool:
        name = item.get(key) if isinstance(item, dict) else None
        return isinstance(name, str) and self._permit.lists(self._refusal(kind, name))

    def _refusal(self, kind: Kind, name: str) -> Refusal | None:
        """Why a name as the client knows it may not be used; None for what does not exist, which is said elsewhere."""
        if self._scope.name:
            return self._permit.refusal(service_of(self._scope.name), kind, name)
        owner = naming.split_uri(name) if kind is Kind.RESOURCE else naming.split(name)
        return None if owner is None else self._permit.refusal(owner[0], kind, owner[1])

    def _refused(self, kind: Kind, name: str, refusal: Refusal) -> JsonObject:
        why = f"policy {refusal.policy!r}" if refusal.policy else "the scopes of its token"
        message = f"cannot let {self._who} use {kind} {name!r:.200}: {why} does not allow it"
        data: JsonObject = {"code": "forbidden", "policy": refusal.policy}
        if not refusal.scopes:
            hint = f"see access.policy.{refusal.policy} in henslowe.toml"
            return jsonrpc.error(NODE_ERROR, message, {**data, "hint": hint})
        data |= {"code": "insufficient_scope", "scopes": list(refusal.scopes), "hint": "use a token with these scopes"}
        raise Refused(
            403, NODE_ERROR, message, data, WWW_Authenticate=self._challenge(refusal.scopes, not refusal.policy)
        )


def _asked(ask: Ask) -> tuple[Kind, str] | None:
    """What a request asks for by name; None for one that names nothing."""
    params = ask.params or {}
    if ask.method == "completion/complete":
        holder = params.get("ref")
        found = _REFERENCES.get(str(holder.get("type"))) if isinstance(holder, dict) else None
    else:
        holder, found = params, _NAMED.get(ask.method)
    if found is None or not isinstance(holder, dict):
        return None
    name = holder.get(found[1])
    return (found[0], name) if isinstance(name, str) else None
