"""A client for the suite's scenarios without authorization, whose requests reach the suite's server through a node.

    conformance client --command "python tests/conformance/client.py" --scenario tools_call

The suite gives the address of a server of its own and watches what arrives there. Here a node stands between: it is
started with that address as a declared service, and the SDK's client does at the node what the scenario asks for. So
what is judged are the requests that the node makes on behalf of its client.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPError

ROOT: Final = Path(__file__).parent.parent.parent
if str(ROOT) not in sys.path:  # when run as a script
    sys.path.insert(0, str(ROOT))

from tests.e2e.harness import Node  # noqa: E402 (needs the path)

MODERN: Final = "2026-07-28"
START_S: Final = 20.0
WORK_S: Final = 30.0
SAMPLES: Final[dict[str, Any]] = {"string": "x", "integer": 3, "number": 5, "boolean": True, "array": [], "object": {}}


def era() -> str:
    """The mode of the client, as the scenario's revision wants it."""
    return MODERN if os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", MODERN) == MODERN else "legacy"


def calls(tools: list[types.Tool]) -> list[tuple[str, dict[str, Any]]]:
    """The calls that the scenario names, else one of each tool with arguments that fit its schema."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    named = context.get("toolCalls")
    if named:
        return [(call["name"], call.get("arguments") or {}) for call in named]
    return [(tool.name, arguments(tool.input_schema)) for tool in tools]


def arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """A value of the right type for each required property."""
    properties = schema.get("properties") or {}
    return {
        name: SAMPLES.get(properties.get(name, {}).get("type"), "x") for name in schema.get("required") or properties
    }


async def accept(_context: Any, params: Any) -> types.ElicitResult:
    """The answer of a person who leaves every field as it is proposed."""
    properties = getattr(params, "requested_schema", {}).get("properties", {})
    content = {name: field.get("default", SAMPLES.get(field.get("type"), "x")) for name, field in properties.items()}
    return types.ElicitResult(action="accept", content=content)


async def work(url: str) -> None:
    """Use all that is offered."""
    async with Client(url, mode=era(), cache=None, elicitation_callback=accept) as client:
        listed = (await client.list_tools()).tools
        offered = client.server_capabilities
        if offered.prompts is not None:
            for prompt in (await client.list_prompts()).prompts:
                given = {argument.name: "x" for argument in prompt.arguments or ()}
                await client.get_prompt(prompt.name, given)
        if offered.resources is not None:
            for resource in (await client.list_resources()).resources:
                await client.read_resource(str(resource.uri))
        for name, given in calls(listed):
            try:
                await client.call_tool(name, given)
            except MCPError as refused:  # the scenario judges what arrived
                print(f"{name}: {refused}", file=sys.stderr)


def main() -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="henslowe-conformance-") as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        (workspace / "henslowe.toml").write_text(f'[services.suite]\nurl = "{sys.argv[-1]}"\n')
        with Node(workspace) as node:
            node.wait_for_active("suite", 1, START_S)
            asyncio.run(asyncio.wait_for(work(node.mcp("suite")), WORK_S))
    return 0


if __name__ == "__main__":
    sys.exit(main())
