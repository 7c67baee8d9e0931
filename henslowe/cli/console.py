"""What all commands share: the common options, the two forms of output, and text that is safe on a terminal."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from henslowe.cli.locate import find_data_dir, find_node

F = TypeVar("F", bound=Callable[..., Any])
DESCRIPTION_CHARS_MAX = 80
"""Of what a server says about a tool; the rest is for models."""


@dataclass(slots=True, frozen=True)
class Console:
    """One command's output: JSON for programs, or lines for people that end with the next step."""

    as_json: bool = False

    def show(self, value: Any, lines: Iterable[str], next_step: str = "") -> None:
        """Print `value` as one JSON document, or the lines and the next step."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))
            return
        for line in lines:
            click.echo(line)
        if next_step:
            click.echo(dim(f"\nnext: {next_step}"))

    def item(self, value: Any, line: str) -> None:
        """Print one of many: a line of JSON, or the line."""
        click.echo(json.dumps(value, default=str, ensure_ascii=False) if self.as_json else line)


def json_option(command: F) -> F:
    """Adds `--json` and hands the command a `console`."""

    def made(ctx: click.Context, param: click.Parameter, value: bool) -> Console:  # noqa: ARG001
        return Console(value)

    return click.option(
        "--json", "console", is_flag=True, callback=made, help="Print JSON, a contract that only grows."
    )(command)


def node_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--json`, `--workspace` and `--data`; hands the command a `console` and the `node` they mean.

    Raises:
        NodeUnreachable: No node has announced itself there.
    """

    @functools.wraps(command)
    def found(*, workspace: Path | None, data: Path | None, **named: Any) -> Any:
        return command(node=find_node(workspace, data), **named)

    return json_option(place_options(found))


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--json`, `--workspace` and `--data`; hands the command a `console` and the `data_dir` they mean.

    For commands that look at the files themselves: no node need be running.
    """

    @functools.wraps(command)
    def found(*, workspace: Path | None, data: Path | None, **named: Any) -> Any:
        return command(data_dir=find_data_dir(workspace, data), **named)

    return json_option(place_options(found))


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--workspace` and `--data`, for a command that looks for its node itself."""
    for option in (
        click.option("--data", type=click.Path(path_type=Path), help="Data directory of the node."),
        click.option(
            "-w", "--workspace", type=click.Path(path_type=Path), help="Workspace of the node; default: from here up."
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C is how a command that follows ends well: exit code 0."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


def clean(text: str) -> str:
    """Text from elsewhere without what would steer the terminal."""
    return "".join(c if c.isprintable() or c in "\t\n" else "�" for c in text)


def dim(text: str) -> str:
    """Text of lesser weight."""
    return click.style(text, dim=True)


def table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ()) -> list[str]:
    """Rows as lines with aligned columns; styles do not count as width."""
    body = list(rows)
    if not body:
        return []
    cells = [header, *body] if header else body
    widths = [max(len(click.unstyle(row[i])) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(cell + " " * (w - len(click.unstyle(cell))) for cell, w in zip(row, widths, strict=True))
        for row in cells
    ]
    lines = [line.rstrip() for line in lines]
    return [dim(lines[0]), *lines[1:]] if header else lines


def clock(time_s: float) -> str:
    """A moment as local time of day."""
    return f"{time.strftime('%H:%M:%S', time.localtime(time_s))}.{int(time_s * 1000) % 1000:03d}"


def moment(time_s: float) -> str:
    """A moment as local date and time; "-" for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if time_s else "-"


def duration(seconds: float) -> str:
    """A duration in its two largest units, the lower one where there is any of it."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    for unit, size, lower, lower_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // lower_size
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


def description(text: str) -> str:
    """What a server says of a tool, as one short line."""
    return clean(text.strip().partition("\n")[0][:DESCRIPTION_CHARS_MAX])


def size(count: int) -> str:
    """Bytes in the unit that keeps the number short."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
