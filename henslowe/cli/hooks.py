"""`henslowe hooks`: who was asked and told of the versions of a service, and what they said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, duration, node_options
from henslowe.config.node_file import NodeFile

OUTPUT_LINES_MAX = 10


@click.command("hooks")
@click.argument("service", required=False, default="")
@click.option("--limit", "-n", type=click.IntRange(1, 1_000), default=50, show_default=True, help="Most of them.")
@node_options
def hooks_command(*, service: str, limit: int, console: Console, node: NodeFile) -> None:
    """What hooks were asked and told, newest first, with what failed and why."""
    found = NodeClient(node).get("/hooks", service=service, limit=limit)
    nothing = "no hook was due yet: say [[hooks]] in a service.toml"
    console.show(found, list(_lines(found)) or [nothing], f"henslowe status {service}".strip())


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for each in found["hooks"]:
        age = duration(max(0.0, time.time() - each["created_s"]))
        tries = f", {each['attempts']} tries" if each["attempts"] > 1 else ""
        yield (
            f"{each['service']}@{each['version']}  {each['on']}  {each['hook']}  {_word(each)}{tries}"
            f"  {each['took_ms']} ms, {age} ago"
        )
        if each["state"] == "failed":
            yield f"    {clean(each['reason'])}"
            yield from (f"    | {clean(line)}" for line in each["output"].splitlines()[-OUTPUT_LINES_MAX:])


def _word(hook: dict[str, Any]) -> str:
    words = {"done": "agreed", "failed": "refused"} if hook["asked"] else {"done": "told", "failed": "not told"}
    state: str = hook["state"]
    return words.get(state, state)
