"""The root command: what there is, each imported only when called, and how an error ends the process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from henslowe import __version__
from henslowe.errors import HensloweError


@dataclass(slots=True, frozen=True)
class Entry:
    """One command: where its code is, and the line that `--help` shows without importing it."""

    name: str
    module: str
    help: str


COMMANDS: Final[dict[str, tuple[Entry, ...]]] = {
    "Run": (
        Entry("up", "up", "Start a node for a workspace; makes a first service when it is empty."),
        Entry("stop", "control", "Drain and stop the node."),
        Entry("doctor", "doctor", "Check what a node needs on this machine."),
    ),
    "Look": (
        Entry("status", "status", "What every service is doing, and why."),
        Entry("versions", "versions", "The versions of a service and their fate."),
        Entry("events", "events", "What happened, or with --follow what happens."),
        Entry("logs", "events", "What the stages and instances of a service printed."),
        Entry("tree", "status", "The supervision tree."),
    ),
    "Decide": (
        Entry("build", "control", "Run a service's pipeline again."),
        Entry("promote", "control", "Give a canary all traffic now."),
        Entry("rollback", "control", "Go back to the previous version, or to --to N."),
        Entry("hold", "control", "Keep a rollout as it is until resumed."),
        Entry("resume", "control", "Let a held rollout go on."),
        Entry("restart", "control", "Restart a service's instances one by one."),
    ),
    "Use": (
        Entry("call", "call", "Call a tool of a service."),
        Entry("client", "snippet", "Print the configuration for an MCP client."),
        Entry("config", "config", "Show or check the configuration."),
    ),
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """All names, in the order of the help."""
        return [entry.name for entries in COMMANDS.values() for entry in entries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now; None when there is none of that name."""
        for entries in COMMANDS.values():
            for entry in entries:
                if entry.name == cmd_name:
                    command = getattr(importlib.import_module(f"henslowe.cli.{entry.module}"), f"{entry.name}_command")
                    assert isinstance(command, click.Command)
                    return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The help's list, from the table alone."""
        for title, entries in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.help) for entry in entries])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an operating error becomes two lines and its exit code, never a traceback."""
        try:
            return super().invoke(ctx)
        except HensloweError as error:
            report(error, as_json=_wants_json(ctx))
            ctx.exit(error.exit_code)

    def main(self, args: Sequence[str] | None = None, *others: Any, **named: Any) -> Any:
        """As click's own; remembers the arguments, so that an error knows whether JSON was asked for."""
        import sys

        given = list(sys.argv[1:] if args is None else args)
        named["obj"] = {"args": given}
        return super().main(given, *others, **named)


def report(error: HensloweError, *, as_json: bool) -> None:
    """Say on standard error what went wrong and what to do about it."""
    if as_json:
        click.echo(json.dumps({"error": error.as_dict()}, default=str), err=True)
        return
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.message}", err=True)
    if error.hint:
        click.echo(f"{click.style('fix:', bold=True)}   {error.hint}", err=True)


def _wants_json(ctx: click.Context) -> bool:
    return "--json" in ctx.obj["args"]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: henslowe up my-workspace",
)
@click.version_option(__version__, prog_name="henslowe")
def cli() -> None:
    """Develop, ship, route and supervise MCP servers behind one stable endpoint."""
