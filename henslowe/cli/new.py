"""`henslowe new NAME --template TEMPLATE`: something to begin with, that works as it is.

What the templates are is `henslowe.templates`' business.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from henslowe.cli.console import Console, json_option, place_options, table
from henslowe.cli.keeping import running_node
from henslowe.cli.locate import find_data_dir, find_workspace
from henslowe.errors import Conflict


@click.command("new")
@click.argument("name", required=False)
@click.option("--template", "-t", default="python", show_default=True, help="What to make; see --list.")
@click.option("--list", "listing", is_flag=True, help="Show the templates.")
@place_options
@json_option
def new_command(
    *, name: str | None, template: str, listing: bool, console: Console, workspace: Path | None, data: Path | None
) -> None:
    """Make a service, or an extension of the node, from a template. A running node builds a service at once."""
    from henslowe import templates

    if listing:
        found = templates.templates()
        rows = table([(each.name, each.about) for each in found])
        value: dict[str, Any] = {"templates": [{"name": each.name, "about": each.about} for each in found]}
        console.show(value, rows, "henslowe new NAME --template TEMPLATE")
        return
    if name is None:
        raise click.UsageError("Missing argument 'NAME'.")
    made = templates.template(template)
    place = find_workspace(workspace, data)
    _check_name(name, place, is_service=made.is_service)
    folder, files = templates.lay_out(made, name, place)
    steps = [templates.filled(step, name) for step in made.next]
    if made.is_service:
        steps.append(_watching(name, workspace, data))
    value = {"name": name, "template": made.name, "folder": str(folder), "files": files, "next": steps}
    console.show(value, [f"made {folder}: {', '.join(files)}"], "; ".join(steps))


def _check_name(name: str, workspace: Path, *, is_service: bool) -> None:
    """Raise where the name cannot be used.

    Raises:
        ConfigError: It is no name of a service, or the configuration cannot be read.
        Conflict: A service of that name is declared.
    """
    from henslowe.actors.ids import service_name
    from henslowe.config.loading import load

    service_name(name)
    if is_service and name in load(workspace).settings.services:
        raise Conflict(f"cannot make {name}: henslowe.toml declares a service of that name", hint="choose another name")


def _watching(name: str, workspace: Path | None, data: Path | None) -> str:
    """The command that shows how it goes live, or first starts a node for it."""
    if running_node(find_data_dir(workspace, data)) is None:
        return f"henslowe up {shlex.quote(str(workspace))}" if workspace is not None else "henslowe up"
    return f"henslowe status {name}"
