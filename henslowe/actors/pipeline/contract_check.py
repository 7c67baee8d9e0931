"""Whether what a server lists can be used: names that are there once, schemas that are schemas.

Pure. A remote `$ref` is refused: a client would have to fetch it from wherever a server says, at each call.
Not here: starting the server (`mcp_check`), comparing with the active version's contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs

from henslowe.actors.endpoints import Contract, JsonObject

FINDINGS_MAX: Final = 20
_FINDING_CHARS: Final = 300


def findings(contract: Contract) -> list[str]:
    """What is wrong with a contract, in words, at most 20; empty when nothing is."""
    found: list[str] = []
    for finding in _all(contract):
        found.append(finding if len(finding) <= _FINDING_CHARS else finding[:_FINDING_CHARS] + "…")
        if len(found) == FINDINGS_MAX:
            break
    return found


def _all(contract: Contract) -> Iterator[str]:
    yield from _names("tool", contract.tools, "name")
    yield from _names("prompt", contract.prompts, "name")
    yield from _names("resource", contract.resources, "uri")
    yield from _names("resource template", contract.resource_templates, "uriTemplate")
    for tool in contract.tools:
        yield from _schemas(tool)


def _names(kind: str, items: tuple[JsonObject, ...], key: str) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        name = item.get(key)
        if not isinstance(name, str) or not name.strip():
            yield f"{kind}: expected a {key}, got {name!r}"
        elif name in seen:
            yield f"{kind} {name!r}: expected each {key} once, got it again"
        else:
            seen.add(name)


def _schemas(tool: JsonObject) -> Iterator[str]:
    name = tool.get("name")
    if "inputSchema" not in tool:
        yield f"tool {name!r}: expected an inputSchema, got none"
    for key in ("inputSchema", "outputSchema"):
        if key in tool and (problem := schema_problem(tool[key])):
            yield f"tool {name!r}: {key}: {problem}"


def schema_problem(schema: Any) -> str:
    """What is wrong with a tool's schema as JSON Schema 2020-12; "" when nothing is."""
    if not isinstance(schema, dict):
        return f"expected an object, got {type(schema).__name__}"
    if schema.get("type") != "object":
        return f'expected "type": "object" at its root, got {schema.get("type")!r}'
    try:
        jsonschema_rs.Draft202012Validator(schema, offline=True)
    except jsonschema_rs.ValidationError as error:
        return _words(error)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return str(error).partition("\n")[0]
    return ""


def _words(error: jsonschema_rs.ValidationError) -> str:
    where = "/".join(str(part) for part in error.instance_path)
    message = error.message.partition("\n")[0]
    if "Retrieval is disabled" in message:
        message = f"expected references within the schema, got a remote one: {message.split(chr(39))[1]}"
    return f"{message} (at {where})" if where else message
