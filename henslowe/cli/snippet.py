"""`henslowe client`: this node in the configuration of MCP clients, written by the command or pasted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, clean, json_option, node_options
from henslowe.config.listen import open_to_clients, parse_listen
from henslowe.config.node_file import NodeFile
from henslowe.errors import HensloweError, NotFound

TOKEN_S: Final = 90 * 86_400.0
"""How long a client's token is good, as `henslowe token create` has it."""


@click.group("client")
def client_command() -> None:
    """Connect MCP clients to this node."""


@client_command.command("snippet")
@click.argument("service", required=False)
@click.option(
    "--token",
    "token_name",
    metavar="NAME",
    help="Make a token of this name for the client, good for 90 days, and put it in.",
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
        entry["headers"] = _with_new_token(client, token_name, service)
    snippet = {"mcpServers": {name: entry}}
    following = f"henslowe call {service or 'SERVICE'} TOOL '{{}}'"
    if token_name is None and _asks_for_token(client):
        following = "add --token NAME: this node asks every client for one"
    console.show(snippet, json.dumps(snippet, indent=2).splitlines(), following)


def _with_new_token(client: NodeClient, name: str, service: str | None) -> dict[str, str]:
    """Headers with a token that was made for this."""
    wanted = {"name": name, "scopes": ["mcp" if service is None else f"mcp:{service}"], "expires_in_s": TOKEN_S}
    return {"Authorization": f"Bearer {client.post('/tokens', wanted)['token']}"}


def _asks_for_token(client: NodeClient) -> bool:
    """Whether the node lets in no client without one."""
    settings = {each["key"]: each["value"] for each in client.get("/config")["settings"]}
    return not open_to_clients(settings["access.mode"], parse_listen(settings["listen"]))


@client_command.command("add")
@click.argument("client")
@click.argument("service", required=False)
@click.option("--name", default="", help="Of the entry; default: the service, or henslowe.")
@click.option("--token", "token_name", metavar="NAME", help="Make a token of this name for it, good for 90 days.")
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="Another file than the client's.")
@click.option("--print", "only_print", is_flag=True, help="Write nothing; print what the file would be.")
@node_options
def add_command(  # noqa: PLR0917 - the options of a command line
    client: str,
    service: str | None,
    name: str,
    token_name: str | None,
    path: Path | None,
    only_print: bool,
    console: Console,
    node: NodeFile,
) -> None:
    """Write one entry into CLIENT's own configuration: all services, or one SERVICE.

    The file is replaced at once, a backup is kept beside it, and everything else in it stays as it is.
    """
    from henslowe.cli.clients import Edit, change_file, client_of, edited
    from henslowe.cli.clients.files import read_text

    known = client_of(client)
    file = path or known.path()
    asked = NodeClient(node)
    endpoint = "/mcp" if service is None else asked.get(service_path(service))["path"]
    headers = {} if token_name is None or only_print else _with_new_token(asked, token_name, service)
    name = name or service or "henslowe"
    edit = Edit(name, known.entry(name, node.url + endpoint, headers))
    shown = {"client": known.id, "file": str(file), "name": name, "entry": edit.value}
    if only_print:
        text = edited(known, read_text(file) or "", edit)
        console.show({**shown, "text": text}, text.splitlines())
        return
    following = known.after
    if token_name is None and _asks_for_token(asked):
        following = "add --token NAME: this node asks every client for one"
    backup = change_file(file, lambda text: edited(known, text, edit))
    lines = [f"{known.title}: {name} is in {file}"]
    lines += [f"before: {backup}"] if backup is not None else []
    console.show({**shown, "backup": str(backup or "")}, lines, following)


@client_command.command("remove")
@click.argument("client")
@click.argument("name", required=False, default="henslowe")
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="Another file than the client's.")
@json_option
def remove_command(client: str, name: str, path: Path | None, console: Console) -> None:
    """Take the entry NAME out of CLIENT's own configuration."""
    from henslowe.cli.clients import Edit, change_file, client_of, edited, entries
    from henslowe.cli.clients.files import read_text

    known = client_of(client)
    file = path or known.path()
    if name not in entries(known, read_text(file) or ""):
        raise NotFound(f"cannot remove {name} from {file}: there is no such entry", hint="henslowe client list")
    backup = change_file(file, lambda text: edited(known, text, Edit(name, None)))
    shown = {"client": known.id, "file": str(file), "name": name, "backup": str(backup or "")}
    lines = [f"{known.title}: {name} is no longer in {file}", f"before: {backup}"]
    console.show(shown, lines, f"restart {known.title} if it still has it")


@client_command.command("list")
@json_option
def list_command(console: Console) -> None:
    """The clients that are known, where their configurations are, and which servers those name."""
    from henslowe.cli.clients import CLIENTS, entries
    from henslowe.cli.clients.files import read_text

    found: list[dict[str, Any]] = []
    lines = []
    for client in CLIENTS:
        file, text, names, problem = client.path(), None, list[str](), ""
        try:
            text = read_text(file)
            names = sorted(entries(client, text or ""))
        except HensloweError as error:
            problem = error.message
        there = text is not None
        found.append({"client": client.id, "file": str(file), "there": there, "servers": names, "problem": problem})
        lines.append(f"{client.id:<16}{problem or ', '.join(names) or ('no servers' if there else '-')}   {file}")
    console.show({"clients": found}, map(clean, lines), "henslowe client add CLIENT")
