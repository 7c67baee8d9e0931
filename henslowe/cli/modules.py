"""`henslowe modules`: the extensions of the node: which were found, which run, which were refused and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, node_options
from henslowe.config.node_file import NodeFile


@click.command("modules")
@node_options
def modules_command(*, console: Console, node: NodeFile) -> None:
    """The extensions of the node, found by their entry points, and how each does."""
    found = NodeClient(node).get("/modules")
    nothing = "no extension is installed: henslowe new NAME --template persistence makes one"
    console.show(found, list(_lines(found)) or [nothing], "henslowe events --type MODULE_STATE")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for each in found["modules"]:
        calls = f", {each['calls']} calls, {each['failures']} failed" if each["calls"] else ""
        again = f", started {each['starts']} times" if each["starts"] > 1 else ""
        package = f"{each['package']} {each['package_version']}".strip()
        yield f"{each['name']}  {each['kind']}  {each['state']}  {package}{calls}{again}"
        if each["reason"]:
            yield f"    {clean(each['reason'])}"
