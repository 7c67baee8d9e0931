"""The root command: what there is, each imported only when called, and how an error ends the process."""

from __future__ import annotations

import difflib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
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


USAGE: Final = 2
COMMANDS: Final[dict[str, tuple[Entry, ...]]] = {
    "Run": (
        Entry("up", "up", "Start a node for a workspace; makes a first service when it is empty."),
        Entry("new", "new", "Make a service from a template."),
        Entry("service", "service", "Add, change and remove services."),
        Entry("run", "run", "Run a service's stages now and show them; makes no version."),
        Entry("stop", "control", "Drain and stop the node."),
        Entry("doctor", "doctor", "Check what a node needs on this machine."),
    ),
    "Look": (
        Entry("status", "status", "What every service is doing, and why."),
        Entry("why", "why", "Why a version was taken back, with the calls that failed."),
        Entry("health", "status", "Success, response times and memory of the last minutes."),
        Entry("versions", "versions", "The versions of a service and their fate, or one whole."),
        Entry("artifacts", "versions", "What the stages of a version left: test reports, coverage."),
        Entry("diff", "diff", "What changed between two versions."),
        Entry("events", "events", "What happened, or with --follow what happens."),
        Entry("logs", "events", "What the stages and instances of a service printed."),
        Entry("captures", "captures", "Recorded calls, without their secrets."),
        Entry("hooks", "hooks", "What hooks were asked and told, and what they said."),
        Entry("modules", "modules", "The extensions of the node, and how they do."),
        Entry("tree", "status", "The supervision tree."),
        Entry("sessions", "traffic", "Open sessions of clients."),
        Entry("tools", "traffic", "The tools that clients may call now."),
        Entry("tasks", "traffic", "Tasks that clients may ask for."),
        Entry("results", "traffic", "Results that are answered without their server."),
    ),
    "Decide": (
        Entry("build", "control", "Run a service's pipeline again."),
        Entry("promote", "control", "Take a rollout one step further, or --full."),
        Entry("rollback", "control", "Go back to the previous version, or to --to N."),
        Entry("undo", "control", "The same as rollback."),
        Entry("hold", "control", "Keep a rollout as it is until resumed."),
        Entry("resume", "control", "Let a held rollout go on."),
        Entry("freeze", "freezing", "Let nothing new be deployed for a time."),
        Entry("unfreeze", "freezing", "End a freeze."),
        Entry("stop-the-line", "freezing", "Let nothing new be deployed, of any service."),
        Entry("start-the-line", "freezing", "Let all services go on."),
        Entry("abort", "control", "End a rollout: what serves goes on serving."),
        Entry("retry", "control", "Roll a build out again that failed or was taken back."),
        Entry("restart", "control", "Start a service's active build anew."),
        Entry("pin", "control", "Keep a version, however many newer ones come."),
        Entry("unpin", "control", "Let a pinned version go when its time comes."),
        Entry("remove", "control", "End a service whose folder is gone."),
    ),
    "Use": (
        Entry("call", "call", "Call a tool of a service."),
        Entry("token", "token", "Make, list, rotate and revoke tokens."),
        Entry("secrets", "secrets", "Keep what services need and nobody may see."),
        Entry("client", "snippet", "Put this node into the configuration of an MCP client."),
        Entry("config", "config", "Show or check the configuration."),
    ),
    "Keep": (Entry("storage", "storage", "Look at what is stored, check it, back it up."),),
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
                    name = f"{entry.name.replace('-', '_')}_command"
                    command = getattr(importlib.import_module(f"henslowe.cli.{entry.module}"), name)
                    assert isinstance(command, click.Command)
                    return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The help's list, from the table alone."""
        for title, entries in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.help) for entry in entries])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's own; remembers whether JSON was asked for, and reports a misuse like every other error."""
        extra["obj"] = Asked(as_json="--json" in args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            report(_usage(error, self.list_commands(click.Context(self)), "henslowe"), as_json=extra["obj"].as_json)
            raise click.exceptions.Exit(USAGE) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an operating error becomes two lines and its exit code, never a traceback."""
        try:
            return super().invoke(ctx)
        except HensloweError as error:
            report(error.as_dict(), as_json=ctx.obj.as_json)
            ctx.exit(error.exit_code)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            report(
                _usage(error, self.list_commands(ctx), f"{ctx.command_path} {ctx.invoked_subcommand or ''}".strip()),
                as_json=ctx.obj.as_json,
            )
            ctx.exit(USAGE)


@dataclass(slots=True, frozen=True)
class Asked:
    """What the whole command line says about the output."""

    as_json: bool


def report(error: Mapping[str, Any], *, as_json: bool) -> None:
    """Say on standard error what went wrong and what to do about it."""
    if as_json:
        click.echo(json.dumps({"error": error}, default=str), err=True)
        return
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error['message']}", err=True)
    if error["hint"]:
        click.echo(f"{click.style('fix:', bold=True)}   {error['hint']}", err=True)


def _usage(error: click.UsageError, commands: Sequence[str], path: str) -> dict[str, Any]:
    """A misuse of the command line in the form of all errors, with the word that a typo probably meant."""
    if error.ctx is not None:
        path = error.ctx.command_path
        if isinstance(error.ctx.command, click.Group):
            commands = error.ctx.command.list_commands(error.ctx)
    hint = f"{path} --help"
    unknown = re.match(r"No such command '(.*)'\.$", error.message)
    if unknown is not None:
        near = difflib.get_close_matches(unknown[1], commands, n=1)
        hint = f"did you mean {path} {near[0]}?" if near else hint
    return {"code": "usage", "message": error.format_message(), "hint": hint, "details": {}}


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: henslowe up my-workspace",
)
@click.version_option(__version__, prog_name="henslowe")
def cli() -> None:
    """Develop, ship, route and supervise MCP servers behind one stable endpoint."""
