"""`henslowe call SERVICE TOOL JSON`: try a tool through the same endpoint that clients use."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, clean, node_options
from henslowe.config.node_file import NodeFile
from henslowe.errors import BadRequest, HensloweError

FAILED = 1


@click.command("call")
@click.argument("service")
@click.argument("tool")
@click.argument("arguments", default="{}")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=300.0, show_default=True, help="Seconds."
)
@node_options
def call_command(
    *, service: str, tool: str, arguments: str, timeout_s: float, console: Console, node: NodeFile
) -> None:
    """Call TOOL of SERVICE with ARGUMENTS (a JSON object; "-" reads it from standard input).

    Prints the text of the answer; exits with 1 when the tool says it failed.
    """
    from henslowe.cli.mcp_call import call_tool, content_lines

    given = _object(sys.stdin.read() if arguments == "-" else arguments)
    path = NodeClient(node).get(service_path(service))["path"]
    answer, _ = call_tool(node, path, tool, given, timeout_s=timeout_s)
    if "error" in answer:
        error = answer["error"]
        raise HensloweError(
            f"cannot call {tool} of {service}: {clean(str(error.get('message', error)))}",
            hint=f"henslowe versions {service} shows what it offers; henslowe logs {service} what it printed",
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
