"""`henslowe up`: start a node for a workspace and stay until it ends."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from henslowe import __version__
from henslowe.cli.console import Console, json_option

if TYPE_CHECKING:
    from henslowe.config.provenance import Loaded
    from henslowe.node import Node


@click.command("up")
@click.argument("workspace", type=click.Path(path_type=Path), required=False)
@click.option("--listen", metavar="HOST:PORT", help="The one address; port 0 takes a free one.")
@click.option("--data", metavar="DIR", help="Data directory; default: WORKSPACE/.henslowe.")
@click.option("--token-file", metavar="FILE", help="Bearer token (made when missing); permits a remote --listen.")
@click.option(
    "--access",
    type=click.Choice(["none", "token", "oauth"]),
    help="What MCP clients must show, and that a remote --listen is meant; none: nothing at all.",
)
@click.option("--tls-cert", metavar="FILE", help="Certificate of the listener, PEM with its chain.")
@click.option("--tls-key", metavar="FILE", help="Its key.")
@click.option("--name", help="The node's name in events.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting: delivery.strategy=canary.")
@json_option
def up_command(
    *,
    workspace: Path | None,
    listen: str | None,
    data: str | None,
    token_file: str | None,
    access: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    name: str | None,
    assignments: tuple[str, ...],
    console: Console,
) -> None:
    """Start a node for a workspace; makes a first service when it is empty.

    Stays in the foreground; Ctrl-C drains and stops it. With --json one object says when it is ready, and the node's
    own log on standard error is JSON lines.
    """
    from henslowe.config.node_file import DATA_FOLDER
    from henslowe.early_check import EarlyCheck
    from henslowe.node_garbage import put_off

    put_off()  # before the imports: they make nothing that is dropped

    def ready(node: Node) -> None:
        console.item(facts_of(node), "\n".join(banner(node)))

    # Where the data most likely is: the settings, which may say otherwise, take their time too.
    with EarlyCheck(Path(data) if data is not None else (workspace or Path()) / DATA_FOLDER) as check:
        from henslowe.log import setup_logging

        loaded = prepare(
            workspace,
            listen=listen,
            data=data,
            token_file=token_file,
            access=access,
            tls_cert=tls_cert,
            tls_key=tls_key,
            name=name,
            assignments=(*assignments, *(["log.format=json"] if console.as_json else [])),
        )
        setup_logging(loaded.settings.log)
        from henslowe.node_run import run

        raise SystemExit(run(loaded, on_ready=ready, found_sound=check.found_sound))


def facts_of(node: Node) -> dict[str, Any]:
    """What a program wants to know of a node that has just started."""
    return {
        "version": __version__,
        "url": node.url,
        "mcp": f"{node.url}/mcp",
        "workspace": str(node.settings.workspace),
        "data": str(node.settings.data_dir),
        "watched": str(node.settings.workspace / "dev"),
        "made": node.sample_made,
    }


def banner(node: Node) -> list[str]:
    """What a person wants to know of it, and the next two steps."""
    from henslowe.config.listen import open_to_clients

    workspace = node.settings.workspace
    dev = workspace / "dev"
    services = sorted(path.name for path in dev.iterdir() if path.is_dir()) if dev.is_dir() else []
    declared = sorted(node.settings.services)
    edit = dev / (services[0] if services else "NAME")
    file = next((edit / name for name in ("server.py", "package.json") if (edit / name).exists()), edit / "server.py")
    place = f"--workspace {shlex.quote(str(workspace))}"
    if open_to_clients(node.settings.access.mode, node.address):
        connect = [
            "  2. paste into an MCP client's configuration:",
            f'     {{"mcpServers": {{"henslowe": {{"type": "http", "url": "{node.url}/mcp"}}}}}}',
        ]
    else:
        connect = [
            "  2. make a token for an MCP client, and the entry to paste into its configuration:",
            f"     henslowe client snippet --token my-client {place}",
        ]
    return [
        f"henslowe {__version__}",
        f"  workspace  {workspace}" + ("  (was empty: dev/hello is a first service)" if node.sample_made else ""),
        f"  data       {node.settings.data_dir}",
        f"  watching   {dev}: {', '.join(services) or 'no service yet'}",
        *([f"  declared   {', '.join(declared)}"] if declared else []),
        f"  clients    {node.url}/mcp              every service",
        f"             {node.url}/mcp/SERVICE      one of them",
        f"  admin      {node.url}/admin/v1/status  (the henslowe command needs no token)",
        f"  metrics    {node.url}/metrics",
        "",
        "next",
        f"  1. {'edit' if file.exists() else 'write'} {file}",
        *connect,
        "",
        f"henslowe status {place}   shows how it goes; Ctrl-C stops the node",
    ]


def prepare(
    workspace: Path | None,
    *,
    listen: str | None = None,
    data: str | None = None,
    token_file: str | None = None,
    access: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    name: str | None = None,
    assignments: tuple[str, ...] = (),
) -> Loaded:
    """The settings of a node that these flags ask for.

    Who names a token file on the command line, or says what clients must show, wants remote clients: `--token-file` and
    `--access` permit a remote listener.

    Raises:
        ConfigError: A flag, a variable or the file is not what was expected; see `henslowe.config.loading.load`.
    """
    from henslowe.actors.ids import service_name
    from henslowe.config.loading import Override, load

    overrides = [Override.parse(each) for each in assignments]
    flags = {
        "listen": (listen, "--listen"),
        "data": (data, "--data"),
        "admin.token_file": (token_file, "--token-file"),
        "access.mode": (access, "--access"),
        "tls.cert_file": (tls_cert, "--tls-cert"),
        "tls.key_file": (tls_key, "--tls-key"),
        "name": (name, "--name"),
    }
    overrides += [Override(key, text, flag) for key, (text, flag) in flags.items() if text is not None]
    permitting = "--token-file" if token_file is not None else "--access" if access is not None else ""
    if permitting and not any(each.key == "allow_remote" for each in overrides):
        overrides.append(Override("allow_remote", "true", permitting))
    loaded = load(workspace, overrides=overrides)
    for service in loaded.settings.services:
        service_name(service)
    return loaded
