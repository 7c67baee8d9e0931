"""`henslowe modules`: the extensions of the node: which were found, which run, which were refused and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, node_options, table
from henslowe.config.node_file import NodeFile
from henslowe.words import counted


@click.command("modules")
@node_options
def modules_command(*, console: Console, node: NodeFile) -> None:
    """The extensions of the node, found by their entry points, and how each does."""
    found = NodeClient(node).get("/modules")
    nothing = "no extension is installed: henslowe new NAME --template persistence makes one"
    console.show(found, list(_lines(found)) or [nothing], "henslowe events --type MODULE_STATE")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    modules: list[dict[str, Any]] = found["modules"]
    rows = table((each["name"], each["kind"], each["state"], _package(each)) for each in modules)
    for each, row in zip(modules, rows, strict=True):
        yield row
        if each["reason"]:
            yield f"    {clean(each['reason'])}"


def _package(module: dict[str, Any]) -> str:
    """Where it comes from, and what it has done."""
    calls = f", {counted(module['calls'], 'call')}, {module['failures']} failed" if module["calls"] else ""
    again = f", started {module['starts']} times" if module["starts"] > 1 else ""
    return f"{module['package']} {module['package_version']}".strip() + calls + again
