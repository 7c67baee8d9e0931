"""`henslowe run SERVICE [STAGE]`: does it pass? The stages run now, live, and no version is made.

Through the node where one runs: same cache, environments and isolation. Without one the same code runs here, on the
node's own data directory, which it locks meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import click

from henslowe.cli.app import report
from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, clean, dim, duration, json_option, place_options
from henslowe.cli.keeping import running_node
from henslowe.cli.locate import find_data_dir, find_workspace
from henslowe.errors import HensloweError, NotFound, StageFailed

INTERRUPTED: Final = 130


@click.command("run")
@click.argument("service")
@click.argument("stage", default="")
@click.option("--no-cache", is_flag=True, help="Run stages that have not changed, too.")
@place_options
@json_option
def run_command(
    *, service: str, stage: str, no_cache: bool, console: Console, workspace: Path | None, data: Path | None
) -> None:
    """Run the pipeline of a service now, or one STAGE with what it needs, and show it live. No version is made.

    Exits with the code of the stage that failed; 4 where it has none (a time-out, `mcp-check`). With --json: one JSON
    object per event, each on a line.
    """
    node = running_node(find_data_dir(workspace, data))
    try:
        if node is None:
            place = find_workspace(workspace, data)
            if not console.as_json:
                click.echo(dim(f"no node runs for {place}: running here"), err=True)
            code = _here(place, data, service, stage, console, cache=not no_cache)
        else:
            body = {"stage": stage, "cache": not no_cache}
            code = _show(NodeClient(node).post_lines(f"{service_path(service)}/run", body), console)
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise SystemExit(code)


class _Screen:
    """Shows events as they come, and knows how it ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = 0
        self.code: int | None = None
        """Of this process; None until the run has ended."""

    def show(self, event: dict[str, Any]) -> None:
        """One event."""
        if event["type"] == "PIPELINE_COMPLETE":
            self.code = _exit_code(event)
        if self._console.as_json:
            self._console.item(event, "")
            return
        if event["type"] == "PIPELINE_START":
            self._width = max(map(len, event["data"]["stages"]), default=0)
        for line in _lines(event, self._width):
            click.echo(line)
        if self.code:
            data = event["data"]
            report({"message": data["message"], "hint": data["hint"]}, as_json=False)

    def ended(self) -> int:
        """The exit code.

        Raises:
            HensloweError: There was no end: the node went away.
        """
        if self.code is None:
            raise HensloweError("cannot finish the run: it was ended before its last stage", hint="run it again")
        return self.code


def _show(events: Iterable[dict[str, Any]], console: Console) -> int:
    screen = _Screen(console)
    for event in events:
        screen.show(event)
    return screen.ended()


def _lines(event: dict[str, Any], width: int) -> Iterator[str]:
    """An event as a person sees it."""
    kind, status, data = event["type"], event["status"], event["data"]
    if kind == "STAGE_OUTPUT":
        yield f"{dim(data['source'].ljust(width))} {dim('|')} {clean(data['line'])}"
    elif kind == "PIPELINE_COMPLETE":
        if status == "SUCCESS":
            yield f"{click.style('passed', fg='green')} in {duration(data['duration_ms'] / 1000)}"
    elif kind.endswith("_COMPLETE"):
        word = {"SUCCESS": click.style("passed", fg="green"), "FAILED": click.style("failed", fg="red")}.get(status)
        more = " (not changed: replayed)" if data.get("cached") else ""
        more += " (allowed)" if data.get("allowed") else ""
        took = duration(data.get("duration_ms", 0) / 1000)
        yield f"{data['stage'].ljust(width)} {word or status.lower()} in {took}{dim(more)}"


def _exit_code(event: dict[str, Any]) -> int:
    if event["status"] == "SUCCESS":
        return 0
    code = int(event["data"].get("exit_code", -1))
    if code > 0:
        return min(code, 255)
    return 128 - code if code < -1 else StageFailed.exit_code


# -- without a node ----------------


def _here(place: Path, data: Path | None, service: str, stage: str, console: Console, *, cache: bool) -> int:
    from henslowe.actors.ids import service_name
    from henslowe.config.loading import Override, load

    name = service_name(service)
    settings = load(place, overrides=[] if data is None else [Override("data", str(data), "--data")]).settings
    source = settings.workspace / "dev" / name
    if not source.is_dir():
        known = sorted(path.name for path in source.parent.glob("[a-z0-9]*/"))
        raise NotFound(
            f"cannot run {name}: there is no {source}",
            hint=f"there is {', '.join(known)}" if known else f"henslowe new {name}",
        )

    async def run() -> int:
        screen = _Screen(console)
        async with aclosing(_trial(settings, source, stage, cache=cache)) as events:
            async for event in events:
                screen.show(event)
        return screen.ended()

    return asyncio.run(run())


async def _trial(settings: Any, source: Path, stage: str, *, cache: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a trial in this process. The data directory is locked until its end."""
    from henslowe.actors.ids import service_name
    from henslowe.actors.kernel import SHUTDOWN, Ref
    from henslowe.actors.pipeline import Listener, Tools, Trial, TrialRun, followed
    from henslowe.node_tables import TABLES
    from henslowe.storage import Store
    from henslowe.transport.mcp import McpConnector

    name, started = service_name(source.name), list[Ref]()
    store = Store.open(settings.data_dir, settings.name, settings.storage, capture=settings.capture, tables=TABLES)
    try:
        tools = Tools.of(store, settings, McpConnector(settings.instances, name=settings.name))

        async def start(listener: Listener) -> Ref:
            started.append(TrialRun.start(tools, Trial(name, listener, "cli", stage, cache), source))
            return started[0]

        async with aclosing(followed(start, name)) as events:
            async for event in events:
                yield event
    finally:
        for ref in started:
            gone = asyncio.Event()
            ref.watch(lambda *_: gone.set())  # noqa: B023 (there is one)
            ref.exit(SHUTDOWN)
            await gone.wait()
        store.close(as_node=False)
