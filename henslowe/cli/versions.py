"""`henslowe versions SERVICE`: every version that is kept, newest first, and what became of it."""

from __future__ import annotations

import click

from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.console import Console, node_options
from henslowe.config.node_file import NodeFile


@click.command("versions")
@click.argument("service")
@node_options
def versions_command(*, service: str, console: Console, node: NodeFile) -> None:
    """The versions of a service and their fate."""
    from henslowe.cli.render import versions_lines
    from henslowe.transport.admin.models import VersionsReply

    raw = NodeClient(node).get(f"{service_path(service)}/versions")
    reply = VersionsReply.model_validate(raw)
    archived = [each.version for each in reply.versions if each.state == "ARCHIVED"]
    following = f"henslowe rollback {service} --to {archived[0]}" if archived else f"henslowe logs {service}"
    console.show(raw, versions_lines(reply), following)
