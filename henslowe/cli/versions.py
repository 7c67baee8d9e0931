"""`henslowe versions SERVICE [N]`: every version that is kept, or one whole; `henslowe artifacts`: what it left."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, clean, node_options, size, table
from henslowe.cli.files import write_whole
from henslowe.config.node_file import NodeFile


@click.command("versions")
@click.argument("service")
@click.argument("version", type=click.IntRange(min=1), required=False)
@node_options
def versions_command(*, service: str, version: int | None, console: Console, node: NodeFile) -> None:
    """The versions of a service and their fate, or VERSION whole: who, why, stages, tests, digests."""
    if version is not None:
        _one(service, version, console, NodeClient(node))
        return
    from henslowe.cli.render import versions_lines
    from henslowe.transport.admin.models.versions import VersionsReply

    raw = NodeClient(node).get(f"{service_path(service)}/versions")
    reply = VersionsReply.model_validate(raw)
    archived = [each.version for each in reply.versions if each.state == "ARCHIVED"]
    following = f"henslowe rollback {service} --to {archived[0]}" if archived else f"henslowe logs {service}"
    console.show(raw, versions_lines(reply), following)


def _one(service: str, version: int, console: Console, client: NodeClient) -> None:
    from henslowe.cli.render import facts_lines
    from henslowe.transport.admin.models.artifacts import VersionFactsReply

    raw = client.get(f"{service_path(service)}/versions/{version}")
    kept = bool(raw["facts"].get("kept"))
    following = f"henslowe artifacts {service} {version}" if kept else f"henslowe logs {service} --version {version}"
    console.show(raw, facts_lines(VersionFactsReply.model_validate(raw)), following)


@click.command("artifacts")
@click.argument("service")
@click.argument("version", type=click.IntRange(min=1))
@click.argument("path", required=False)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@node_options
def artifacts_command(
    *, service: str, version: int, path: str | None, output: Path | None, console: Console, node: NodeFile
) -> None:
    """What the stages of a version left to be looked at; with PATH its content."""
    client = NodeClient(node)
    place = f"{service_path(service)}/versions/{version}/artifacts"
    if path is None:
        raw = client.get(place)
        rows = [(each["path"], size(each["size_bytes"])) for each in raw["artifacts"]]
        none = "nothing was kept: see `reports` of the stages in service.toml"
        lines = table([(clean(name), much) for name, much in rows]) or [none]
        first = f"henslowe artifacts {service} {version} {shlex.quote(rows[0][0])}" if rows else ""
        console.show(raw, lines, first)
        return
    content = client.download(f"{place}/content", path=path)
    if output is None:
        click.echo(content, nl=False)
        return
    write_whole(output.expanduser(), [content])
    value = {"path": str(output), "size_bytes": len(content)}
    console.show(value, [f"{output}: {size(len(content))}"])
