"""`henslowe up`: start a node for a workspace and stay until it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from henslowe.cli.console import Console, json_option

if TYPE_CHECKING:
    from henslowe.config.provenance import Loaded


@click.command("up")
@click.argument("workspace", type=click.Path(path_type=Path), required=False)
@click.option("--listen", metavar="HOST:PORT", help="The one address; port 0 takes a free one.")
@click.option("--data", metavar="DIR", help="Data directory; default: WORKSPACE/.henslowe.")
@click.option("--token-file", metavar="FILE", help="Bearer token (made when missing); permits a remote --listen.")
@click.option("--name", help="The node's name in events.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting: delivery.strategy=canary.")
@json_option
def up_command(
    *,
    workspace: Path | None,
    listen: str | None,
    data: str | None,
    token_file: str | None,
    name: str | None,
    assignments: tuple[str, ...],
    console: Console,
) -> None:
    """Start a node for a workspace; makes a first service when it is empty.

    Stays in the foreground; Ctrl-C drains and stops it. With --json one object says when it is ready, and the node's
    own log on standard error is JSON lines.
    """
    from henslowe.config.sample import ensure_sample
    from henslowe.log import setup_logging

    loaded = prepare(
        workspace,
        listen=listen,
        data=data,
        token_file=token_file,
        name=name,
        assignments=(*assignments, *(["log.format=json"] if console.as_json else [])),
    )
    settings = loaded.settings
    made = ensure_sample(settings.workspace)
    setup_logging(settings.log)
    from henslowe.node import Node, run

    def ready(node: Node) -> None:
        here = "" if settings.workspace in (Path.cwd(), *Path.cwd().parents) else f" --workspace {settings.workspace}"
        facts = {"url": node.url, "workspace": str(settings.workspace), "data": str(settings.data_dir), "made": made}
        if console.as_json:
            console.item(facts, "")
            return
        console.show(
            facts,
            [
                f"workspace  {settings.workspace}" + ("  (new: dev/hello is yours to edit)" if made else ""),
                f"data       {settings.data_dir}",
                f"clients    {node.url}/mcp",
            ],
            f"in another terminal: henslowe status{here}",
        )

    raise SystemExit(run(loaded, on_ready=ready))


def prepare(
    workspace: Path | None,
    *,
    listen: str | None = None,
    data: str | None = None,
    token_file: str | None = None,
    name: str | None = None,
    assignments: tuple[str, ...] = (),
) -> Loaded:
    """The settings of a node that these flags ask for.

    Who names a token file on the command line wants remote clients to use it: `--token-file` permits a remote listener.

    Raises:
        ConfigError: A flag, a variable or the file is not what was expected; see `henslowe.config.loading.load`.
    """
    from henslowe.actors.ids import service_name
    from henslowe.config.loading import Override, load

    overrides = [Override.parse(each) for each in assignments]
    flags = {"listen": listen, "data": data, "admin.token_file": token_file, "name": name}
    named = {"admin.token_file": "--token-file"}
    overrides += [Override(key, text, named.get(key, f"--{key}")) for key, text in flags.items() if text is not None]
    if token_file is not None and not any(each.key == "allow_remote" for each in overrides):
        overrides.append(Override("allow_remote", "true", "--token-file"))
    loaded = load(workspace, overrides=overrides)
    for service in loaded.settings.services:
        service_name(service)
    return loaded
