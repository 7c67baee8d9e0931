"""What the gateway knows of its clients: `henslowe sessions`, `tools`, `tasks` and `results`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, description, duration, node_options, table
from henslowe.config.node_file import NodeFile
from henslowe.words import counted


def _listing(
    name: str, text: str, lines: Callable[[dict[str, Any]], Iterator[str]], nothing: str, following: str
) -> click.Command:
    """A command that shows part of a table, of one service or of all."""

    @click.command(name, help=text)
    @click.argument("service", required=False, default="")
    @click.option("--limit", type=click.IntRange(1, 1_000), default=200, show_default=True, help="Most rows.")
    @node_options
    def run(service: str, limit: int, console: Console, node: NodeFile) -> None:
        found = NodeClient(node).get(f"/{name}", service=service, limit=limit)
        shown = list(lines(found)) or [nothing]
        console.show(found, shown, following)

    return run


def _sessions(found: dict[str, Any]) -> Iterator[str]:
    for each in found["sessions"]:
        kept = f", {counted(each['kept_events'], 'event')} kept" if each["kept_events"] else ""
        yield (
            f"{each['session']}  {each['endpoint']}  {clean(each['client'])}  {each['protocol_version']}"
            f"  used {duration(max(0.0, time.time() - each['last_seen_s']))} ago{kept}"
        )


def _tools(found: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            each["service"],
            clean(each["name"]),
            "read-only" if each["read_only"] else "idempotent" if each["idempotent"] else "",
            description(each["description"]),
        )
        for each in found["tools"]
    ]
    yield from table(rows, ("service", "tool", "marks", "what it does"))


def _tasks(found: dict[str, Any]) -> Iterator[str]:
    for each in found["tasks"]:
        age = duration(max(0.0, time.time() - each["created_s"]))
        yield f"{each['task']}  {each['service']}@{each['version']}  {each['status']}  {age} old"


def _results(found: dict[str, Any]) -> Iterator[str]:
    for each in found["results"]:
        left = duration(max(0.0, each["expires_s"] - time.time()))
        whose = "everybody's" if each["shared"] else "one client's"
        yield f"{each['service']}@{each['version']}  {clean(each['name'])}  {each['bytes']} bytes, {whose}, {left} left"
    if found["results"]:
        results, calls = counted(found["total"], "result"), counted(found["hits"], "call")
        yield f"{results}, {found['bytes']} bytes, {calls} answered from them"


sessions_command = _listing(
    "sessions", "Open sessions of clients.", _sessions, "no client has a session", "henslowe client snippet"
)
tools_command = _listing(
    "tools",
    "The tools that clients may call now.",
    _tools,
    "no service offers a tool",
    "henslowe call SERVICE TOOL '{}'",
)
tasks_command = _listing(
    "tasks", "Tasks that clients may ask for.", _tasks, "no client has a task", "henslowe sessions"
)
_show_results = _listing("results", "Show them.", _results, "nothing is kept", "henslowe results purge")


@click.group("results", invoke_without_command=False)
def results_command() -> None:
    """Results that are answered without their server."""


results_command.add_command(_show_results, "show")


@results_command.command("purge")
@click.argument("service", required=False, default="")
@click.option("--name", default="", help="Of this tool, or resource's URI, only.")
@node_options
def purge_command(service: str, name: str, console: Console, node: NodeFile) -> None:
    """Forget the results of SERVICE, or all: the next calls ask the servers."""
    done = NodeClient(node).post("/results/purge", {"service": service, "name": name})
    console.show(done, [f"{counted(done['purged'], 'result')} forgotten"], "henslowe results show")
