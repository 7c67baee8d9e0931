"""`henslowe storage ...`: what is on disk, whether it is sound, and copies of it.

The commands read the files themselves, beside a running node where that is safe, and say so where it is not. Each is
in a module of its own, imported when it is called; `COMMANDS` is the table.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

COMMANDS: Final = {
    "info": "storage_info",
    "verify": "storage_check",
    "scrub": "storage_check",
    "compact": "storage_check",
    "backup": "storage_backup",
    "restore": "storage_backup",
    "quarantine": "storage_quarantine",
    "migrate": "storage_migrate",
    "dump": "storage_rows",
    "tail": "storage_rows",
}
"""Module of each command, whose function is `NAME_command`."""


class StorageGroup(click.Group):
    """Knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"henslowe.cli.{COMMANDS[cmd_name]}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command


@click.group("storage", cls=StorageGroup)
def storage_command() -> None:
    """Look at what is stored, check it, back it up."""
