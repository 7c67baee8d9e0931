"""`henslowe service add | set | show | remove`: services as data, through the node if one runs, else on the files."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, json_option, place_options
from henslowe.cli.keeping import running_node
from henslowe.cli.locate import find_data_dir, find_workspace
from henslowe.errors import BadRequest, ConfigError


@click.group("service")
def service_command() -> None:
    """Add, change and remove services."""


@service_command.command("add")
@click.argument("name")
@click.option("--command", "command_line", help='What runs it, as one line: "uvx mcp-server-time".')
@click.option("--url", help="A remote server that speaks Streamable HTTP; with --command where that listens ({port}).")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the server; VALUE may be secret:NAME.")
@click.option("--header", multiple=True, metavar="NAME=VALUE", help="Sent with each request to --url; the same.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key: strategy=canary.")
@click.option("--name", "called", help="Its name, where NAME is a path; default: the folder's.")
@place_options
@json_option
def add_command(
    *,
    name: str,
    command_line: str | None,
    url: str | None,
    env: tuple[str, ...],
    header: tuple[str, ...],
    assignments: tuple[str, ...],
    called: str | None,
    console: Console,
    workspace: Path | None,
    data: Path | None,
) -> None:
    """Add a service: NAME with --command or --url, or the PATH of a folder that is developed elsewhere.

    It is built, checked and deployed like any other. Nothing is made if it cannot be used.
    """
    from henslowe.actors.ids import service_name
    from henslowe.config.manifest.editing import assignment, edited

    given: dict[str, Any] = {}
    if command_line is not None:
        given["launch.command"] = shlex.split(command_line)
    if url is not None:
        given |= {"launch.wire": "http", "launch.url": url}
    for pair, table in (*((each, "env") for each in env), *((each, "headers") for each in header)):
        key, equals, value = pair.partition("=")
        if not equals or not key or "." in key:
            raise ConfigError(f"expected NAME=VALUE, got: {pair!r}", hint="for example --env UNITS=metric")
        given[f"launch.{table}.{key}"] = value
    given |= dict(map(assignment, assignments))
    sources = Path(name).expanduser()
    if "/" in name or name in (".", "..") or (command_line is None and url is None and sources.is_dir()):
        if given:
            raise ConfigError(
                "expected a path alone, got it with keys",
                hint="add it first, then: henslowe service set NAME KEY=VALUE",
            )
        service = service_name(called or sources.resolve().name)
        done = _folders(workspace, data).link(service, sources)
        reply: dict[str, Any] = {
            "service": service,
            "path": str(done.folder),
            "sources": str(done.folder.resolve()),
            "created": True,
        }
        said = f"added {service}: dev/{service} is a link to {done.folder.resolve()}"
    else:
        service = service_name(called or name)
        if not given:
            raise ConfigError(
                f"expected how to run {service}, got nothing",
                hint=f'henslowe service add {service} --command "uvx some-server", or henslowe new {service}',
            )
        text = edited("", given)
        reply = _Way(workspace, data).change(
            service,
            lambda client, path: client.put(path, {"text": text}, {"If-None-Match": "*"}),
            lambda folders: folders.add(service, text),
        )
        said = f"added {service}: {reply['path']}/service.toml"
    node = running_node(find_data_dir(workspace, data))
    console.show(reply, [said], f"henslowe status {service}" if node is not None else "henslowe up")


@service_command.command("set")
@click.argument("name")
@click.argument("assignments", nargs=-1, metavar="KEY=VALUE...")
@click.option("--unset", multiple=True, metavar="KEY", help="Put a key back to its default.")
@click.option("--if-match", default="", metavar="ETAG", help="Only if service.toml is still what `show` said.")
@place_options
@json_option
def set_command(
    *,
    name: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    if_match: str,
    console: Console,
    workspace: Path | None,
    data: Path | None,
) -> None:
    """Change keys of a service's service.toml, as a whole or not at all; its comments stay.

    VALUE is TOML (5, true, ["a", "b"]) or plain words. Keys of shipping (strategy, health, hooks, ...) hold at once and
    make no version; the others build one.
    """
    from henslowe.config.manifest.editing import assignment

    given = dict(map(assignment, assignments))
    if not given and not unset:
        raise ConfigError("expected KEY=VALUE or --unset KEY, got neither", hint="for example strategy=canary")
    headers = _match(if_match)
    value = _Way(workspace, data).change(
        name,
        lambda client, path: client.patch(path, {"set": given, "remove": unset}, headers),
        lambda folders: folders.edit(name, given, unset, expected=if_match),
    )
    said = "a version is made of it" if value["builds"] else "it holds without a new version"
    console.show(value, [f"changed {name}: {said}"], f"henslowe service show {name}")


@service_command.command("show")
@click.argument("name")
@place_options
@json_option
def show_command(*, name: str, console: Console, workspace: Path | None, data: Path | None) -> None:
    """The service.toml of a service."""
    value = _Way(workspace, data).change(
        name, lambda client, path: client.get(path), lambda folders: folders.read(name)
    )
    lines = value["text"].splitlines() or ["# there is no service.toml: everything is inferred from the sources"]
    console.show(value, lines, f"henslowe service set {name} KEY=VALUE")


@service_command.command("remove")
@click.argument("name")
@click.option("--if-match", default="", metavar="ETAG", help="Only if service.toml is still what `show` said.")
@place_options
@json_option
def remove_command(*, name: str, if_match: str, console: Console, workspace: Path | None, data: Path | None) -> None:
    """End a service and take its folder out of the workspace. The folder is kept; where, is said."""
    headers = _match(if_match)
    node = running_node(find_data_dir(workspace, data))
    if node is not None:
        value = NodeClient(node).delete(service_path(name), headers)
    else:
        kept = _folders(workspace, data).set_aside(name, expected=if_match)
        value = {"service": name, "kept_at": str(kept), "retired": False}
    ended = "; its instances are being drained" if value["retired"] else ""
    console.show(value, [f"removed {name}: its folder is kept at {value['kept_at']}{ended}"], "henslowe status")


class _Way:
    """Through the node, or on the files."""

    def __init__(self, workspace: Path | None, data: Path | None) -> None:
        self._workspace, self._data = workspace, data
        self._node = running_node(find_data_dir(workspace, data))

    def change(
        self, name: str, ask: Callable[[NodeClient, str], dict[str, Any]], do: Callable[[Any], Any]
    ) -> dict[str, Any]:
        """What became of it, in the shape of the admin API."""
        from henslowe.actors.ids import service_name

        service_name(name)
        if self._node is not None:
            return ask(NodeClient(self._node), f"{service_path(name)}/manifest")
        found = do(_folders(self._workspace, self._data))
        return {
            "service": found.service,
            "path": str(found.folder),
            "text": found.text,
            "etag": found.etag,
            "created": found.created,
            "builds": found.builds,
        }


def _folders(workspace: Path | None, data: Path | None) -> Any:
    from henslowe.actors.pipeline import service_folders
    from henslowe.config.loading import Override, load

    overrides = [Override("data", str(find_data_dir(workspace, data)), "--data")]
    return service_folders(load(find_workspace(workspace, data), overrides=overrides).settings)


def _match(etag: str) -> dict[str, str]:
    if not all(c.isalnum() or c == "*" for c in etag):
        raise BadRequest(f"expected an etag as `service show --json` has it, got: {etag!r}")
    return {"If-Match": etag if etag == "*" else f'"{etag}"'} if etag else {}
