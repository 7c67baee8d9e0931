"""`henslowe why`: what a version was taken back for, as it was kept with the decision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, clock, dim, duration, node_options, table
from henslowe.config.node_file import NodeFile

LOOKED_AT = 200
"""Of the newest verdicts of a service; several are said of one version."""


@click.command("why")
@click.argument("service")
@click.option("--version", "number", type=click.IntRange(min=1), help="Of this version; default: of the last one.")
@node_options
def why_command(*, service: str, number: int | None, console: Console, node: NodeFile) -> None:
    """Why a version was taken back: the numbers, the calls that failed, and what it printed last."""
    page = NodeClient(node).get(
        "/events", type=("CANARY_VERDICT", "ROLLBACK"), service=(service,), version=number, limit=LOOKED_AT
    )
    taken_back = [event for event in page["events"] if _speaks_against(event["data"])]
    if not taken_back:
        which = f"v{number}" if number is not None else "no version"
        nothing = f"{which} of {service} was {'not ' if number is not None else ''}taken back for what its calls showed"
        console.show({"decision": None}, [nothing], f"henslowe events --service {service}")
        return
    event = taken_back[-1]
    lines = _replay_lines(event) if event["type"] == "ROLLBACK" else _lines(event)
    console.show({"decision": event}, lines, f"henslowe logs {service} --version {event['version']}")


def _speaks_against(data: dict[str, Any]) -> bool:
    """A verdict, or the replay of captured calls; other ways back are people's own."""
    return data.get("decision") == "rollback" or data.get("by") == "replay"


def _head(event: dict[str, Any]) -> str:
    age = duration(max(0.0, time.time() - event["time_s"]))
    return f"{click.style(event['service'], bold=True)} v{event['version']} was taken back {age} ago:"


def _replay_lines(event: dict[str, Any]) -> Iterator[str]:
    from henslowe.cli.comparing import replay_lines
    from henslowe.transport.admin.models.figures import ReplayReply

    found = event["data"]["row"]["rehearsal"]
    words = {"version": event["version"], "found": found["found"], "words": found["why"]}
    yield _head(event)
    reply = ReplayReply(against=found["against"], report=found["report"], **words)
    yield from (f"  {line}" for line in replay_lines(reply))
    yield "  by         the replay of captured calls, before it met a client"


def _lines(event: dict[str, Any]) -> Iterator[str]:
    data = event["data"]
    yield _head(event)
    yield f"  {clean(str(data.get('why', '')))}"
    yield f"  by         {'health.' + data['limit'] + ', a limit of its own' if 'limit' in data else 'the verdict'}"
    yield f"  its calls  {data.get('calls', 0)}, {data.get('failures', 0)} failed, {data.get('slow', 0)} slow"
    if data.get("control_calls"):
        yield f"  beside     {data['control_calls']}, {data['control_failures']} failed, {data['control_slow']} slow"
    evidence, needed = data.get("evidence", 1.0), data.get("evidence_needed", 100)
    yield f"  evidence   {evidence:g}x, the verdict rolls back at {needed:g}x"
    failing = data.get("failing_calls", [])
    if failing:
        yield ""
        rows = [
            (
                clock(call["time_s"]),
                clean(str(call["tool"])),
                call["outcome"],
                f"{call['latency_ms']:g} ms",
                clean(str(call["error"])).partition("\n")[0][:80],
            )
            for call in failing
        ]
        yield from table(rows, ("failed at", "tool", "outcome", "after", "error"))
    if data.get("log_tail"):
        yield ""
        yield "printed last:"
        yield from (f"  {dim('|')} {clean(str(line))}" for line in data["log_tail"])
