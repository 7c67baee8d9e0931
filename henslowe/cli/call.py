"""`henslowe call SERVICE TOOL JSON`: try a tool through the same endpoint that clients use, or list what there is."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, clean, description, node_options, table
from henslowe.config.node_file import NodeFile
from henslowe.errors import BadRequest, HensloweError

FAILED = 1
PAGES_MAX = 100
"""Most pages of tools that are asked for: a server may page without end."""


@click.command("call")
@click.argument("service")
@click.argument("tool", required=False)
@click.argument("arguments", default="{}")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=300.0, show_default=True, help="Seconds."
)
@node_options
def call_command(
    *, service: str, tool: str | None, arguments: str, timeout_s: float, console: Console, node: NodeFile
) -> None:
    """Call TOOL of SERVICE with ARGUMENTS (a JSON object; "-" reads it from standard input).

    Prints the text of the answer; exits with 1 when the tool says it failed. Without TOOL: lists the tools.
    """
    from henslowe.cli.mcp_call import call_tool, content_lines

    given = _object(sys.stdin.read() if arguments == "-" else arguments)
    path = NodeClient(node).get(service_path(service))["path"]
    if tool is None:
        _show_tools(node, path, service, timeout_s, console)
        return
    answer, _ = call_tool(node, path, tool, given, timeout_s=timeout_s)
    if "error" in answer:
        error = answer["error"]
        raise HensloweError(
            f"cannot call {tool} of {service}: {clean(str(error.get('message', error)))}",
            hint=f"henslowe call {service} lists its tools; henslowe status {service} says how it is",
            error=error,
        )
    result = answer["result"]
    if result.get("resultType") == "input_required":
        raise HensloweError(
            f"cannot finish {tool} of {service}: it asks its user for input",
            hint="call it from an MCP client that can answer (henslowe client snippet)",
        )
    console.show(result, map(clean, content_lines(result)))
    raise SystemExit(FAILED if result.get("isError") else 0)


def _show_tools(node: NodeFile, path: str, service: str, timeout_s: float, console: Console) -> None:
    from henslowe.cli.mcp_call import list_tools

    tools: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(PAGES_MAX):
        answer = list_tools(node, path, cursor=cursor, timeout_s=timeout_s)
        if "error" in answer:
            raise HensloweError(
                f"cannot list the tools of {service}: {clean(str(answer['error'].get('message', answer['error'])))}",
                hint=f"henslowe status {service}",
                error=answer["error"],
            )
        tools += answer["result"].get("tools", [])
        cursor = answer["result"].get("nextCursor") or ""
        if not cursor:
            break
    rows = [(clean(each["name"]), _arguments(each), description(each.get("description", ""))) for each in tools]
    lines = table(rows, ("tool", "arguments", "what it does")) or [f"{service} has no tools"]
    example = clean(tools[0]["name"]) if tools else "TOOL"
    console.show({"tools": tools}, lines, f"henslowe call {service} {example} '{{...}}'")


def _arguments(tool: dict[str, Any]) -> str:
    """The names of a tool's arguments, those that may be left out in brackets."""
    schema = tool.get("inputSchema", {})
    required = schema.get("required", [])
    names = (clean(name) if name in required else f"[{clean(name)}]" for name in schema.get("properties", {}))
    return " ".join(names) or "-"


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadRequest(
            f"expected the arguments as JSON, got: {text[:80]!r} ({error})", hint='for example \'{"name": "Ada"}\''
        ) from error
    if not isinstance(value, dict):
        raise BadRequest(
            f"expected the arguments as a JSON object, got: {text[:80]!r}", hint="for example '{\"n\": 1}'"
        )
    return value
