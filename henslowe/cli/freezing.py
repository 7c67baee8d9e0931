"""The commands that let nothing new be deployed: freeze, unfreeze, stop-the-line and start-the-line."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, node_options
from henslowe.config.freeze import Every, moment_of
from henslowe.config.node_file import NodeFile

_LENGTH: Final = re.compile(r"\+?(\d+(?:\.\d+)?)(min|m|h|d)")
_SECONDS: Final = {"m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_DAY: Final = dt.timedelta(days=1)


def until_s(text: str, now: dt.datetime) -> float:
    """Unix time that a person means: `2h`, `90m`, `18:00` and `mon 08:00` (the next ones), `2026-12-24 18:00`.

    Args:
        text: What the person wrote.
        now: On the wall of the person, with a time zone.

    Raises:
        ValueError: It means nothing.
    """
    length = _LENGTH.fullmatch(text.strip().lower())
    if length is not None:
        return now.timestamp() + float(length[1]) * _SECONDS[length[2]]
    moment = moment_of(text)
    if moment.once is not None:
        return moment.once.astimezone().timestamp()
    day = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if moment.every is Every.WEEK:
        day -= now.weekday() * _DAY
    end = day + dt.timedelta(minutes=moment.minute)
    if end <= now.replace(tzinfo=None):
        end += 7 * _DAY if moment.every is Every.WEEK else _DAY
    return end.astimezone().timestamp()


class Until(click.ParamType[float]):
    """A time to come."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click's own."""
        try:
            return value if isinstance(value, float) else until_s(value, dt.datetime.now().astimezone())
        except ValueError:
            self.fail(f"expected 2h, 18:00, 'mon 08:00' or '2026-12-24 18:00', got {value!r:.80}", param, ctx)


def _which(service: str | None, *, everything: bool) -> None:
    if (service is None) is not everything:
        got = "none" if service is None else "both"
        raise click.UsageError(f"expected a service or --all, got {got}")


@click.command("freeze")
@click.argument("service", required=False)
@click.option("--all", "everything", is_flag=True, help="Freeze all services of the node.")
@click.option("--until", "until", type=Until(), help="2h, 18:00, 'mon 08:00', '2026-12-24 18:00'; else until unfreeze.")
@click.option("--why", default="", help="Kept in the log and shown to who waits.")
@node_options
def freeze_command(
    *, service: str | None, everything: bool, until: float | None, why: str, console: Console, node: NodeFile
) -> None:
    """Let nothing new be deployed for a time. What is built waits; going back works."""
    _which(service, everything=everything)
    path = "/line/freeze" if service is None else f"{service_path(service)}/actions/freeze"
    done = NodeClient(node).post(path, {"reason": why, "until_s": until})
    console.show(done, [done["message"]], f"henslowe unfreeze {service or '--all'}")


@click.command("unfreeze")
@click.argument("service", required=False)
@click.option("--all", "everything", is_flag=True, help="End the freeze of all services.")
@click.option("--why", default="", help="Kept in the log.")
@node_options
def unfreeze_command(*, service: str | None, everything: bool, why: str, console: Console, node: NodeFile) -> None:
    """End a freeze that a person set. What waits goes on."""
    _which(service, everything=everything)
    path = "/line/unfreeze" if service is None else f"{service_path(service)}/actions/unfreeze"
    done = NodeClient(node).post(path, {"reason": why})
    console.show(done, [done["message"]], "henslowe status")


def _line(name: str, action: str, text: str, following: str) -> click.Command:
    @click.command(name, help=text)
    @click.option("--why", default="", help="Kept in the log and shown to who waits.")
    @node_options
    def run(*, why: str, console: Console, node: NodeFile) -> None:
        done = NodeClient(node).post(f"/line/{action}", {"reason": why})
        console.show(done, [done["message"]], following)

    return run


stop_the_line_command = _line(
    "stop-the-line",
    "stop",
    "Let nothing new be deployed, of any service, until start-the-line. Nobody can override it; going back works.",
    "henslowe start-the-line",
)
start_the_line_command = _line(
    "start-the-line", "start", "Let all services go on that the stopped line kept.", "henslowe status"
)
