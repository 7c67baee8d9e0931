"""`henslowe config show` and `henslowe config validate`: what a node of this workspace would be told, without one."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from henslowe.cli.console import Console, dim, json_option, table
from henslowe.errors import ConfigError


@click.group("config")
def config_command() -> None:
    """Show or check the configuration."""


@config_command.command("show")
@click.argument("workspace", type=click.Path(path_type=Path), required=False)
@click.option("--all", "every", is_flag=True, help="The defaults, too.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As with henslowe up.")
@json_option
def show_command(*, workspace: Path | None, every: bool, assignments: tuple[str, ...], console: Console) -> None:
    """Each value and where it comes from; values that may be secrets are shown as ***."""
    from henslowe.config.loading import Override, load

    loaded = load(workspace, overrides=[Override.parse(each) for each in assignments])
    rows = list(loaded.rows())
    value = {
        "file": str(loaded.file or ""),
        "settings": [
            {"key": r.key, "value": r.public_value, "source": r.origin.source.value, "where": r.origin.where}
            for r in rows
        ],
    }
    shown = [row for row in rows if every or row.origin.where]
    lines = table((row.key, f"{row.public_value}", dim(str(row.origin))) for row in shown)
    hidden = len(rows) - len(shown)
    if hidden:
        lines.append(dim(f"{hidden} more have their default"))
    console.show(value, lines, "henslowe config validate" if every else "henslowe config show --all")


@config_command.command("validate")
@click.argument("workspace", type=click.Path(path_type=Path), required=False)
@json_option
def validate_command(*, workspace: Path | None, console: Console) -> None:
    """Check everything and list every problem; exits with 2 when there is one."""
    from henslowe.config.loading import load

    try:
        loaded = load(workspace)
    except ConfigError as error:
        problems = error.details.get("problems") or [
            {"key": error.details.get("key", ""), "message": error.message, "where": "", "hint": error.hint}
        ]
        lines = []
        for each in problems:
            place = f" ({each['where']})" if each["where"] else ""
            lines.append(f"{click.style('error:', fg='red', bold=True)} {each['message']}{place}")
            lines += [f"{click.style('fix:', bold=True)}   {each['hint']}"] if each["hint"] else []
        console.show({"ok": False, "problems": problems}, lines)
        raise SystemExit(error.exit_code) from error
    file = str(loaded.file or "")
    said = f"{file} is valid" if file else f"no henslowe.toml in {loaded.settings.workspace}: all defaults are valid"
    console.show(
        {"ok": True, "file": file, "problems": []}, [said], f"henslowe up {shlex.quote(str(loaded.settings.workspace))}"
    )
