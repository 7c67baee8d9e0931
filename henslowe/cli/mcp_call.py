"""One request as a modern MCP client makes it, to call a tool or to list them: one POST, no session, JSON or a stream.

Just enough for a person at a terminal; a program uses an MCP SDK against the same endpoint.
Source: MCP 2026-07-28, Streamable HTTP.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from typing import Any, Final

from henslowe import __version__
from henslowe.cli.client import SocketConnection, connection_to, parse_stream, read_token_of
from henslowe.cli.locate import unreachable
from henslowe.config.node_file import NodeFile
from henslowe.errors import ConfigError, HensloweError, Unavailable

PROTOCOL: Final = "2026-07-28"
_META: Final = "io.modelcontextprotocol/"


def call_tool(
    node: NodeFile, path: str, tool: str, arguments: dict[str, Any], *, timeout_s: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The JSON-RPC response (`result` or `error`) and the notifications that came before it.

    Raises:
        NodeUnreachable: Nobody answers, or the answer ends too early.
        Unavailable: No answer within `timeout_s`.
        HensloweError: The answer is not MCP.
    """
    return _ask(node, path, "tools/call", {"name": tool, "arguments": arguments}, timeout_s=timeout_s)


def list_tools(node: NodeFile, path: str, *, cursor: str = "", timeout_s: float) -> dict[str, Any]:
    """The JSON-RPC response with one page of tools; raises as `call_tool` does."""
    answer, _ = _ask(node, path, "tools/list", {"cursor": cursor} if cursor else {}, timeout_s=timeout_s)
    return answer


def _ask(
    node: NodeFile, path: str, method: str, params: dict[str, Any], *, timeout_s: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    what = str(params.get("name", method))
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {
            **params,
            "_meta": {
                f"{_META}protocolVersion": PROTOCOL,
                f"{_META}clientInfo": {"name": "henslowe-cli", "version": __version__},
                f"{_META}clientCapabilities": {},
            },
        },
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": PROTOCOL,
        "Mcp-Method": method,
    }
    if "name" in params:
        headers["Mcp-Name"] = header_value(what)
    connection = connection_to(node, timeout_s)
    if not isinstance(connection, SocketConnection):
        with contextlib.suppress(ConfigError):  # a node on loopback needs none, and it may belong to another user
            headers["Authorization"] = f"Bearer {read_token_of(node)}"
    try:
        connection.request("POST", path, json.dumps(message), headers)
        response = connection.getresponse()
        if response.headers.get_content_type() == "text/event-stream":
            messages = [json.loads(event.data) for event in parse_stream(response) if event.data]
        else:
            messages = [_message(response.status, response.read())]
    except TimeoutError as error:
        raise Unavailable(
            f"cannot wait for {what} at {path} any longer: no answer within {timeout_s:g} s",
            hint="give it more time with --timeout; henslowe status says how the service is",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(node, error) from error
    finally:
        connection.close()
    answers = [each for each in messages if "result" in each or "error" in each]
    if not answers:
        raise HensloweError(
            f"expected an answer of {what} at {path}, got: an empty stream", hint="the node's log says why"
        )
    return answers[-1], [each for each in messages if "method" in each]


def header_value(text: str) -> str:
    """The text as an MCP header carries it: as it is where HTTP allows, else wrapped in base64."""
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def content_lines(result: dict[str, Any]) -> list[str]:
    """A tool's result for people: text as it is, everything else named by its kind and size."""
    lines: list[str] = []
    for block in result.get("content", []):
        kind = block.get("type", "?")
        if kind == "text":
            lines += str(block.get("text", "")).splitlines() or [""]
        elif kind in ("image", "audio"):
            lines.append(f"[{kind} {block.get('mimeType', '?')}, {len(block.get('data', '')) * 3 // 4} bytes]")
        else:
            resource = block.get("resource", block)
            lines.append(f"[{kind} {resource.get('uri', '')}]")
    if not lines and "structuredContent" in result:
        lines = json.dumps(result["structuredContent"], indent=2, ensure_ascii=False).splitlines()
    return lines


def _message(status: int, content: bytes) -> dict[str, Any]:
    try:
        message = json.loads(content)
    except ValueError:
        message = None
    if isinstance(message, dict):
        return message
    raise HensloweError(f"expected a JSON-RPC answer, got: status {status}, {content[:80]!r}", hint="henslowe doctor")
