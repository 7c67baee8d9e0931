"""`henslowe events` and `henslowe logs`: what happened, what was printed, and both as they come, or as a file.

Following survives a restart of the node: it goes on after the last event it saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import (
    Console,
    data_options,
    json_option,
    node_options,
    place_options,
    size,
    until_interrupted,
)
from henslowe.cli.files import write_whole
from henslowe.cli.locate import find_node
from henslowe.config.node_file import NodeFile
from henslowe.errors import NodeUnreachable

RECONNECT_S = 10.0
"""How long a follower tries to reach a node that went away."""
RECONNECT_PAUSE_S = 0.25
STREAMS = ("lifecycle", "activity", "output")


@click.group("events", invoke_without_command=True)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--service", "-s", multiple=True, help="Only this service (may be repeated).")
@click.option("--type", "-t", "types", multiple=True, help="Only these types: CANARY_* (may be repeated).")
@click.option("--stream", type=click.Choice(STREAMS), multiple=True, help="Default: lifecycle and activity.")
@click.option("--since", type=click.IntRange(min=0), help="Start after this sequence number.")
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=50, show_default=True, help="Most past events.")
@place_options
@json_option
@click.pass_context
def events_command(
    ctx: click.Context,
    *,
    follow: bool,
    service: tuple[str, ...],
    types: tuple[str, ...],
    stream: tuple[str, ...],
    since: int | None,
    limit: int,
    console: Console,
    workspace: Path | None,
    data: Path | None,
) -> None:
    """What happened, or with --follow what happens. With --json and --follow: one JSON object a line."""
    if ctx.invoked_subcommand is not None:
        return
    node = find_node(workspace, data)
    from henslowe.cli.render import event_line
    from henslowe.transport.admin.models.events import EventReply

    client = NodeClient(node)
    filters: dict[str, Any] = {"service": service, "type": tuple(map(str.upper, types)), "stream": stream}
    page = client.get("/events", since=since, limit=limit, **filters)
    if not follow:
        following = "henslowe events --follow"
        if page["more"]:
            following = f"henslowe events --since {page['next_since']}"
        lines = [event_line(EventReply.model_validate(each)) for each in page["events"]]
        none = "no event is of this kind" if any(filters.values()) else "no events yet"
        console.show(page, lines or [none], following)
        return
    with until_interrupted():
        for each in chain(page["events"], _follow(client, page["next_since"], filters)):
            console.item(each, event_line(EventReply.model_validate(each)))


@events_command.command("export")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--since", default="", metavar="WHEN", help="After this number, or from this time: 4711, 2026-11-20, 2h.")
@click.option("--until", default="", metavar="WHEN", help="With this number, or before this time.")
@click.option("--service", "-s", multiple=True, help="Only this service (may be repeated).")
@click.option("--type", "-t", "types", multiple=True, help="Only these types: CANARY_* (may be repeated).")
@click.option("--stream", type=click.Choice(STREAMS), multiple=True, help="Default: all.")
@click.option("--bom", is_flag=True, help="Begin CSV with a byte order mark, for spreadsheets that want one.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@data_options
def export_command(
    *,
    form: str,
    since: str,
    until: str,
    service: tuple[str, ...],
    types: tuple[str, ...],
    stream: tuple[str, ...],
    bom: bool,
    output: Path | None,
    console: Console,
    data_dir: Path,
) -> None:
    """Write events as JSON Lines or CSV, from the files: beside a running node, or without one."""
    from henslowe.storage import open_readonly
    from henslowe.storage.export import Form, Wanted, exported, window

    with open_readonly(data_dir) as store, until_interrupted():
        after_seq, before_seq = window(store.events, since, until)
        wanted = Wanted(after_seq, before_seq, stream or STREAMS, tuple(map(str.upper, types)), service)
        chunks = exported(store.events, Form(form), wanted, bom=bom)
        if output is None:
            for chunk in chunks:
                click.echo(chunk.encode(), nl=False)
            return
        size_bytes = write_whole(output.expanduser(), (chunk.encode() for chunk in chunks))
    value = {"path": str(output), "format": form, "size_bytes": size_bytes}
    console.show(value, [f"{output}: {size(size_bytes)}"], "henslowe events --follow")


@click.command("logs")
@click.argument("service")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is printed, until Ctrl-C.")
@click.option("--version", "-v", type=click.IntRange(min=1), help="Only this version.")
@click.option("--stage", help="Only this stage, or this instance.")
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=200, show_default=True, help="Most past lines.")
@node_options
def logs_command(
    *,
    service: str,
    follow: bool,
    version: int | None,
    stage: str | None,
    limit: int,
    console: Console,
    node: NodeFile,
) -> None:
    """What the stages and instances of a service printed."""
    from henslowe.cli.render import line_line
    from henslowe.transport.admin.models.events import LineReply

    client = NodeClient(node)
    page = client.get(f"{service_path(service)}/logs", version=version, stage=stage, limit=limit)
    if not follow:
        lines = [line_line(LineReply.model_validate(each)) for each in page["lines"]]
        way_on = f"henslowe logs {service} --follow" if lines else f"henslowe events --service {service}"
        console.show(page, lines or ["nothing printed yet"], way_on)
        return
    filters = {"stream": "output", "service": service, "version": version, "source": stage}
    with until_interrupted():
        for each in chain(page["lines"], map(_line, _follow(client, page["next_since"], filters))):
            console.item(each, line_line(LineReply.model_validate(each)))


def _line(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the output stream in the shape of a line."""
    head = {key: event[key] for key in ("seq", "time_s", "version")}
    return head | {key: str(event["data"].get(key, "")) for key in ("source", "channel", "line")}


def _follow(client: NodeClient, since: int, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events after `since`, across restarts of the node.

    Raises:
        NodeUnreachable: The node did not come back within 10 s.
    """
    last_id = str(since)
    deadline = time.monotonic() + RECONNECT_S
    while True:
        try:
            for message in client.stream("/events/stream", last_id, **filters):
                last_id = message.id or last_id
                deadline = time.monotonic() + RECONNECT_S
                if message.data:
                    yield json.loads(message.data)
        except NodeUnreachable:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RECONNECT_PAUSE_S)
