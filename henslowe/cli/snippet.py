"""`henslowe client snippet`: what to paste into an MCP client's configuration."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, node_options
from henslowe.config.listen import parse_listen
from henslowe.config.node_file import NodeFile

TOKEN_S: Final = 90 * 86_400.0
"""How long a client's token is good, as `henslowe token create` has it."""


@click.group("client")
def client_command() -> None:
    """Connect MCP clients to this node."""


@client_command.command("snippet")
@click.argument("service", required=False)
@click.option(
    "--token", "token_name", metavar="NAME", help="Make a token of this name for the client, good for 90 days, and put it in."
)
@node_options
def snippet_command(*, service: str | None, token_name: str | None, console: Console, node: NodeFile) -> None:
    """Print the entry for an MCP client: all services at one endpoint, or one SERVICE."""
    client = NodeClient(node)
    path, name = "/mcp", "henslowe"
    if service is not None:
        path, name = client.get(service_path(service))["path"], service
    entry: dict[str, Any] = {"type": "http", "url": node.url + path}
    if token_name is not None:
        scope = "mcp" if service is None else f"mcp:{service}"
        wanted = {"name": token_name, "scopes": [scope], "expires_in_s": TOKEN_S}
        entry["headers"] = {"Authorization": f"Bearer {client.post('/tokens', wanted)['token']}"}
    snippet = {"mcpServers": {name: entry}}
    following = f"henslowe call {service or 'SERVICE'} TOOL '{{}}'"
    if token_name is None and _asks_for_token(client):
        following = "add --token NAME: this node asks every client for one"
    console.show(snippet, json.dumps(snippet, indent=2).splitlines(), following)


def _asks_for_token(client: NodeClient) -> bool:
    """Whether the node lets in no client without one."""
    settings = {each["key"]: each["value"] for each in client.get("/config")["settings"]}
    mode = settings["access.mode"]
    return mode in ("token", "oauth") or (mode == "auto" and not parse_listen(settings["listen"]).loopback)
