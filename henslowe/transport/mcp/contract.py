"""What a server offers: its four lists, walked to the end within limits, and a digest over them.

Listing objects are kept as the server sent them. Whether their schemas are valid is for the pipeline's check to say.
"""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

import orjson

from henslowe.actors.endpoints import Contract, JsonObject, ServerFacts
from henslowe.errors import InstanceFailed
from henslowe.transport.mcp import jsonrpc

PAGES_MAX: Final = 200
ITEMS_MAX: Final = 20_000
"""Limits of one list: a paginator that never ends is a broken server, and a client could not use more tools anyway."""


class Ask(Protocol):
    """Sends one request in the server's own era and returns its answer."""

    async def __call__(self, method: str, params: JsonObject) -> JsonObject:
        """The answer: `{"result": ...}` or `{"error": ...}`."""
        ...


async def list_contract(ask: Ask, facts: ServerFacts) -> Contract:
    """Everything that the server declares in its capabilities, listed and sorted.

    Raises:
        InstanceFailed: A declared list is refused, malformed, or does not end.
    """
    declared = facts.capabilities
    tools = await _list(ask, "tools/list", "tools", "name") if "tools" in declared else ()
    prompts = await _list(ask, "prompts/list", "prompts", "name") if "prompts" in declared else ()
    resources: tuple[JsonObject, ...] = ()
    templates: tuple[JsonObject, ...] = ()
    if "resources" in declared:
        # A server may offer resources in one of the two forms only and not know the method of the other.
        resources = await _list(ask, "resources/list", "resources", "uri", optional=True)
        templates = await _list(ask, "resources/templates/list", "resourceTemplates", "uriTemplate", optional=True)
    return Contract(tools, prompts, resources, templates, digest(tools, prompts, resources, templates))


def digest(*lists: tuple[JsonObject, ...]) -> str:
    """SHA-256 over the canonical JSON (sorted keys) of the lists, in hexadecimal."""
    return hashlib.sha256(orjson.dumps(lists, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def _list(ask: Ask, method: str, field: str, key: str, *, optional: bool = False) -> tuple[JsonObject, ...]:
    found: dict[str, JsonObject] = {}
    seen: set[str] = set()
    params: JsonObject = {}
    for _ in range(PAGES_MAX):
        answer = await ask(method, params)
        if "error" in answer:
            if optional and answer["error"].get("code") == jsonrpc.METHOD_NOT_FOUND:
                return ()
            raise InstanceFailed(f"cannot list {field}: the server answered: {answer['error'].get('message')}")
        page = answer["result"].get(field)
        if not isinstance(page, list):
            raise InstanceFailed(f"expected a list of {field} from {method}, got: {str(page)[:200]}")
        for item in page:
            if not isinstance(item, dict) or not isinstance(item.get(key), str):
                raise InstanceFailed(f"expected objects with a {key} from {method}, got: {str(item)[:200]}")
            found[item[key]] = item
        if len(found) > ITEMS_MAX:
            raise InstanceFailed(f"cannot list {field}: the server lists more than {ITEMS_MAX}")
        cursor = answer["result"].get("nextCursor")
        if not isinstance(cursor, str):
            return tuple(found[name] for name in sorted(found))
        if cursor in seen:
            raise InstanceFailed(f"cannot list {field}: the server repeats the cursor {cursor[:100]!r}")
        seen.add(cursor)
        params = {"cursor": cursor}
    raise InstanceFailed(f"cannot list {field}: the list does not end within {PAGES_MAX} pages")
