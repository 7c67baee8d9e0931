"""`henslowe captures`: the recorded traffic of the services that are developed here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, moment, node_options, place_options, size, table
from henslowe.cli.locate import find_node
from henslowe.config.node_file import NodeFile


@click.group("captures", invoke_without_command=True)
@click.option("--service", "-s", default="", help="Only of this service.")
@click.option("--version", "-v", type=click.IntRange(min=1), help="Only answered by this version.")
@click.option("--method", default="", help="Only of this method: tools/call, prompts/get, resources/read.")
@click.option("--name", default="", help="Only of this tool, prompt or resource.")
@click.option("--errors/--no-errors", default=None, help="Only errors, or only what is none.")
@click.option("--before", type=click.IntRange(min=1), help="Older than the capture of this number.")
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most captures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a contract that only grows.")
@place_options
@click.pass_context
def captures_command(
    ctx: click.Context,
    *,
    service: str,
    version: int | None,
    method: str,
    name: str,
    errors: bool | None,
    before: int | None,
    limit: int,
    as_json: bool,
    workspace: Path | None,
    data: Path | None,
) -> None:
    """Recorded calls, newest first; their secrets were taken out before they were stored."""
    if ctx.invoked_subcommand is not None:
        return
    from henslowe.transport.admin.models.captures import CapturesReply

    filters = {"service": service, "version": version, "method": method, "name": name, "before": before}
    if errors is not None:
        filters["errors"] = str(errors).lower()
    raw = NodeClient(find_node(workspace, data)).get("/captures", limit=limit, **filters)
    page = CapturesReply.model_validate(raw)

    def lines() -> Iterator[str]:
        yield from table(
            [
                (
                    str(each.seq),
                    moment(each.time_s),
                    f"{each.service}@{each.version}",
                    clean(each.name or each.method),
                    each.outcome,
                    f"{each.latency_ms:.1f} ms",
                    size(each.params_bytes + each.answer_bytes),
                    _remarks(each.redactions, truncated=each.truncated, read_only=each.read_only),
                )
                for each in page.captures
            ]
        )
        if not page.captures:
            yield "nothing is recorded" if page.enabled else "recording is off: capture.enabled"
        skipped = [f"{page.dropped} dropped"] * bool(page.dropped) + [f"{page.sampled_out} left out"] * bool(
            page.sampled_out
        )
        yield ""
        yield ", ".join([f"{page.stored} stored", *skipped])

    following = "henslowe call SERVICE TOOL"
    if page.captures:
        following = f"henslowe captures show {page.captures[0].seq}"
    Console(as_json).show(raw, lines(), following)


@captures_command.command("show")
@click.argument("seq", type=click.IntRange(min=1))
@node_options
def show_command(*, seq: int, console: Console, node: NodeFile) -> None:
    """One recorded call: who was asked, what, and the answer."""
    raw: dict[str, Any] = NodeClient(node).get(f"/captures/{seq}")
    from henslowe.transport.admin.models.captures import CaptureReply

    one = CaptureReply.model_validate(raw)

    def lines() -> Iterator[str]:
        yield f"{one.service}@{one.version}  {clean(one.method)} {clean(one.name)}  {one.outcome}"
        yield from table(
            [
                ("when", f"{moment(one.time_s)}, {one.latency_ms:.1f} ms"),
                ("instance", one.instance),
                ("client", f"{one.unit} ({'session' if one.session else 'stateless'}, {one.era})"),
                ("marks", _remarks(one.redactions, truncated=one.truncated, read_only=one.read_only) or "none"),
            ]
        )
        for title, value in (("params", one.params), ("result", one.result), ("error", one.failure)):
            if value is not None:
                yield f"\n{title}"
                yield clean(json.dumps(value, indent=2, ensure_ascii=False))

    console.show(raw, lines(), f"henslowe captures --service {one.service}")


def _remarks(redactions: int, *, truncated: bool, read_only: bool) -> str:
    words = [f"{redactions} redacted"] * bool(redactions) + ["cut"] * truncated + ["reads only"] * read_only
    return ", ".join(words)
