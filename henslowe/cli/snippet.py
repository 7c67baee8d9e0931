"""`henslowe client snippet`: what to paste into an MCP client's configuration."""

from __future__ import annotations

import json
from typing import Any

import click

from henslowe.cli.client import NodeClient, read_token_of, service_path
from henslowe.cli.console import Console, node_options
from henslowe.config.listen import parse_listen
from henslowe.config.node_file import NodeFile


@click.group("client")
def client_command() -> None:
    """Connect MCP clients to this node."""


@client_command.command("snippet")
@click.argument("service", required=False)
@click.option("--with-token", is_flag=True, help="Put the token in, as a node beyond loopback asks for it.")
@node_options
def snippet_command(*, service: str | None, with_token: bool, console: Console, node: NodeFile) -> None:
    """Print the entry for an MCP client: all services at one endpoint, or one SERVICE."""
    client = NodeClient(node)
    path, name = "/mcp", "henslowe"
    if service is not None:
        path, name = client.get(service_path(service))["path"], service
    entry: dict[str, Any] = {"type": "http", "url": node.url + path}
    if with_token:
        entry["headers"] = {"Authorization": f"Bearer {read_token_of(node)}"}
    snippet = {"mcpServers": {name: entry}}
    following = f"henslowe call {service or 'SERVICE'} TOOL '{{}}'"
    if not with_token and _asks_for_token(client):
        following = "add --with-token: this node asks every client for it"
    console.show(snippet, json.dumps(snippet, indent=2).splitlines(), following)


def _asks_for_token(client: NodeClient) -> bool:
    """Whether the node listens beyond loopback."""
    settings = {each["key"]: each["value"] for each in client.get("/config")["settings"]}
    return not parse_listen(settings["listen"]).loopback
