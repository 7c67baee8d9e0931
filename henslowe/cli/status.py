"""`henslowe status`, `henslowe health` and `henslowe tree`: what the node is doing now, and how it does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, node_options, until_interrupted
from henslowe.config.node_file import NodeFile
from henslowe.errors import NotFound

UNHEALTHY = 4
WATCH_S = 1.0


@click.command("status")
@click.argument("service", required=False)
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until Ctrl-C.")
@node_options
def status_command(*, service: str | None, watch: bool, console: Console, node: NodeFile) -> None:
    """What every service is doing, and why. Exits with 4 when the node or a service is unhealthy."""
    client = NodeClient(node)
    if watch:
        _watch(client, console, service)
        return
    raw = client.get("/status")
    raise SystemExit(_show(raw, console, service))


@click.command("tree")
@node_options
def tree_command(*, console: Console, node: NodeFile) -> None:
    """The supervision tree: every actor, what it is, and how often it was restarted."""
    from henslowe.cli.render import tree_lines
    from henslowe.transport.admin.models.node import ActorReply

    raw = NodeClient(node).get("/tree")
    console.show(raw, tree_lines(ActorReply.model_validate(raw)), "henslowe events --type ACTOR_CRASHED")


@click.command("health")
@click.argument("service", required=False)
@node_options
def health_command(*, service: str | None, console: Console, node: NodeFile) -> None:
    """Success, response times and memory of the last minutes, by version and instance."""
    from henslowe.cli.render import health_lines
    from henslowe.transport.admin.models.node import NodeReply

    raw = _only(NodeClient(node).get("/status"), service)
    wanted = ("name", "healthy", "health", "scale", "instances")
    shown = {"services": [{key: each[key] for key in wanted} for each in raw["services"]]}
    console.show(shown, health_lines(NodeReply.model_validate(raw).services), "henslowe status")


def _show(raw: dict[str, Any], console: Console, service: str | None) -> int:
    from henslowe.cli.render import next_step, node_lines
    from henslowe.transport.admin.models.node import NodeReply

    raw = _only(raw, service)
    node = NodeReply.model_validate(raw)
    console.show(raw, node_lines(node), next_step(node))
    healthy = node.health.ok and all(each.healthy for each in node.services)
    return 0 if healthy else UNHEALTHY


def _only(raw: dict[str, Any], service: str | None) -> dict[str, Any]:
    if service is None:
        return raw
    found = [each for each in raw["services"] if each["name"] == service]
    if not found:
        names = ", ".join(each["name"] for each in raw["services"]) or "none"
        raise NotFound(f"cannot find service {service!r}: this node has {names}", hint="henslowe status lists them")
    return raw | {"services": found}


def _watch(client: NodeClient, console: Console, service: str | None) -> None:
    """Redraws on a terminal; elsewhere prints each change after the other."""
    with until_interrupted():
        if sys.stdout.isatty() and not console.as_json:
            _redraw(client, service)
        for raw in _changes(client):
            if console.as_json:
                console.item(_only(raw, service), "")
            else:
                _show(raw, console, service)


def _changes(client: NodeClient) -> Iterator[dict[str, Any]]:
    """The status now, and again each time that more than its clocks changed."""
    before = None
    while True:
        raw = client.get("/status")
        now = _without_clocks(raw)
        if now != before:
            yield raw
            before = now
        time.sleep(WATCH_S)


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clocks(item) for key, item in value.items() if key != "uptime_s"}
    return [_without_clocks(item) for item in value] if isinstance(value, list) else value


def _redraw(client: NodeClient, service: str | None) -> NoReturn:
    from rich.live import Live
    from rich.text import Text

    from henslowe.cli.render import node_lines
    from henslowe.transport.admin.models.node import NodeReply

    with Live(screen=False, auto_refresh=False) as live:
        while True:
            node = NodeReply.model_validate(_only(client.get("/status"), service))
            live.update(Text.from_ansi("\n".join(node_lines(node))), refresh=True)
            time.sleep(WATCH_S)
