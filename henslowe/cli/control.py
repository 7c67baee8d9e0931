"""The commands that change something: promote, rollback, hold, resume, abort, retry, restart, remove, build and stop.

Each is awaited by the node: exit code 0 means that it happened, not that it was asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, duration, node_options
from henslowe.config.node_file import NodeFile
from henslowe.errors import HensloweError, NotFound, StageFailed

STOP_S = 75.0
"""Longest wait for a node's end: it gives itself 60 s."""
_NEXT = {
    "promote": "henslowe status {service}",
    "promote-full": "henslowe status {service}",
    "approve": "henslowe status {service} --watch",
    "rollback": "henslowe versions {service}",
    "hold": "henslowe resume {service}",
    "resume": "henslowe status {service} --watch",
    "abort": "henslowe versions {service}",
    "retry": "henslowe status {service} --watch",
    "restart": "henslowe status {service}",
    "remove": "henslowe versions {service}",
    "pin": "henslowe versions {service}",
    "unpin": "henslowe versions {service}",
}


def _perform(action: str, service: str, console: Console, node: NodeFile, body: dict[str, Any]) -> None:
    client = NodeClient(node)
    done = client.post(f"{service_path(service)}/actions/{action}", body)
    line = done.get("message") or f"{service}: {action} done, now {done.get('state') or '?'}"
    console.show(done, [line], _NEXT[action].format(service=service))


def _person(command: Callable[..., None]) -> Callable[..., None]:
    """The options that each command has: why, and as of which epoch."""
    for option in (
        click.option("--reason", default="", help="Kept in the log with the command."),
        click.option(
            "--epoch",
            "expected_epoch",
            type=click.IntRange(min=0),
            help="Do it only if nothing changed since this epoch, as `status --json` shows it.",
        ),
    ):
        command = option(command)
    return command


def _command(action: str, text: str) -> click.Command:
    """A command of the simple kind: a service and a reason."""

    @click.command(action, help=text)
    @click.argument("service")
    @_person
    @node_options
    def run(*, service: str, console: Console, node: NodeFile, **person: Any) -> None:
        _perform(action, service, console, node, person)

    return run


hold_command = _command("hold", "Keep a rollout as it is until resumed.")
abort_command = _command("abort", "End a rollout: what is on its way is given up, what serves goes on serving.")
restart_command = _command(
    "restart", "Start a service's active build anew, as a new version that takes over once it is up."
)
remove_command = _command(
    "remove",
    "End a service whose folder under dev/ is gone: its instances are drained, its history stays.",
)


_override = click.option(
    "--override-freeze", metavar="WHY", help="Let the version go through any freeze; kept in the log with the reason."
)


@click.command("resume")
@click.argument("service")
@_override
@_person
@node_options
def resume_command(*, service: str, console: Console, node: NodeFile, **person: Any) -> None:
    """Let a held rollout go on, and a step that lasts until somebody says so."""
    _perform("resume", service, console, node, person)


@click.command("promote")
@click.argument("service")
@click.option("--full", is_flag=True, help="Give it all of the traffic now.")
@click.option("--step", is_flag=True, help="Only approve the gate of its step; the rest of the step goes on.")
@click.option("--skip-hooks", is_flag=True, help="Ask no hooks this time; needs --reason, kept in the log with it.")
@_override
@_person
@node_options
def promote_command(
    *, service: str, full: bool, step: bool, skip_hooks: bool, console: Console, node: NodeFile, **person: Any
) -> None:
    """Take a rollout one step further. Without steps, that is all of the traffic."""
    if full and step:
        raise click.UsageError("expected one of --full and --step, got both")
    if skip_hooks and not person["reason"].strip():
        raise click.UsageError("expected --reason WHY with --skip-hooks, got none")
    if skip_hooks:
        person["skip_hooks"] = person["reason"]
    action = "promote-full" if full else "approve" if step else "promote"
    _perform(action, service, console, node, person)


def _pinning(action: str, text: str) -> click.Command:
    """A command about one version."""

    @click.command(action, help=text)
    @click.argument("service")
    @click.argument("version", type=click.IntRange(min=1))
    @_person
    @node_options
    def run(*, service: str, version: int, console: Console, node: NodeFile, **person: Any) -> None:
        _perform(action, service, console, node, person | {"to_version": version})

    return run


pin_command = _pinning("pin", "Keep a version and its build, however many newer ones come.")
unpin_command = _pinning("unpin", "Let a pinned version go like any other, when there are enough newer ones.")


def _choosing(name: str, action: str, text: str, which: str) -> click.Command:
    """A command about one version, which may be left out."""

    @click.command(name, help=text)
    @click.argument("service")
    @click.option("--to", "to", metavar="N|VERSION", help=which)
    @_person
    @node_options
    def run(*, service: str, to: str | None, console: Console, node: NodeFile, **person: Any) -> None:
        number = None if to is None else _number_of(NodeClient(node), service, to)
        _perform(action, service, console, node, person | {"to_version": number})

    return run


def _number_of(client: NodeClient, service: str, text: str) -> int:
    """The number of a version, given as that or as its semantic version.

    Raises:
        NotFound: No version of the service has it.
    """
    plain = text.removeprefix("v")
    if plain.isdecimal():
        return int(plain)
    for each in client.get(f"{service_path(service)}/versions")["versions"]:
        if each["semver"] == plain:
            return int(each["version"])
    raise NotFound(f"cannot find version {text} of {service}", hint=f"henslowe versions {service}")


_BACK = "Go back to the previous version, or to --to. The old one is ready before any call moves."
_BACK_TO = "Version to go back to, by number or semantic version; default: the previous one."
rollback_command = _choosing("rollback", "rollback", _BACK, _BACK_TO)
undo_command = _choosing("undo", "rollback", _BACK, _BACK_TO)
retry_command = _choosing(
    "retry",
    "retry",
    "Roll a build out again that failed to start, was taken back or aborted. Nothing is built anew.",
    "The version whose build it is, by number or semantic version; default: the newest one.",
)


@click.command("build")
@click.argument("service")
@click.option("--wait", is_flag=True, help="Show the stages and wait for the end; exits with 4 when one fails.")
@node_options
def build_command(*, service: str, wait: bool, console: Console, node: NodeFile) -> None:
    """Run a service's pipeline again, though nothing changed."""
    client = NodeClient(node)
    since = client.get("/events", limit=1)["next_since"]
    done = client.post(f"{service_path(service)}/build")
    if not wait:
        console.show(done, [f"building {service}@{done['version']}"], f"henslowe events --follow --service {service}")
        return
    _await_pipeline(client, service, done["version"], since, console)
    console.show(done, [f"{service}@{done['version']} is built"], f"henslowe status {service}")


@click.command("stop")
@node_options
def stop_command(*, console: Console, node: NodeFile) -> None:
    """Drain and stop the node, and wait for its end. Servers end after their calls in flight."""
    with _process(node) as process:
        done = NodeClient(node).post("/stop")
        stopped = _ends(process)
    console.show(
        done | {"stopped": stopped},
        [f"the node of {node.workspace} {'has stopped' if stopped else 'is stopping'}"],
        f"henslowe up {shlex.quote(node.workspace)}",
    )


@contextlib.contextmanager
def _process(node: NodeFile) -> Iterator[int | None]:
    """A descriptor of the node's process, opened while it surely is the node's; None where it cannot be waited for."""
    fd = None
    if node.pid != os.getpid():  # a node inside this very process ends after this command
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(node.pid)
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _ends(process: int | None) -> bool:
    return process is not None and bool(select.select([process], [], [], STOP_S)[0])


def _await_pipeline(client: NodeClient, service: str, version: int, since: int, console: Console) -> None:
    """Show the stages of one run until it ends.

    Raises:
        StageFailed: A stage failed.
        HensloweError: A newer change cancelled the run, or the node ended.
    """
    for message in client.stream("/events/stream", service=service, version=version, since=since):
        if not message.data:
            continue
        event = json.loads(message.data)
        kind, status, data = event["type"], event["status"], event["data"]
        if kind == "PIPELINE_COMPLETE" and status == "SUCCESS":
            return
        if kind == "PIPELINE_COMPLETE" and status == "FAILED":
            raise StageFailed(
                f"cannot build {service}@{version}: {data['message']}",
                hint=f"henslowe logs {service} --version {version} --stage {data['stage']}",
            )
        if kind in ("PIPELINE_COMPLETE", "VERSION_SUPERSEDED"):
            raise HensloweError(
                f"cannot finish building {service}@{version}: a newer change took its place",
                hint=f"henslowe versions {service}",
            )
        if kind.endswith("_COMPLETE") and not console.as_json:
            took = f" in {duration(data['duration_ms'] / 1000)}" if "duration_ms" in data else ""
            click.echo(f"  {data.get('stage') or kind.removesuffix('_COMPLETE').lower()}: {status.lower()}{took}")
    raise HensloweError(f"cannot finish building {service}@{version}: the node stopped", hint="henslowe up")
