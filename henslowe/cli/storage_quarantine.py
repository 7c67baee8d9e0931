"""`henslowe storage quarantine`: damaged rows that were moved aside, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from henslowe.cli.console import Console, data_options, moment, table

if TYPE_CHECKING:
    from henslowe.storage.quarantine import Quarantined


@click.group("quarantine")
def quarantine_command() -> None:
    """Damaged rows that were moved aside: list them, put one back, or give it up."""


@quarantine_command.command("list")
@data_options
def list_command(*, console: Console, data_dir: Path) -> None:
    """Which rows are in quarantine, and why. Beside a running node, too."""
    from henslowe.storage.repair import quarantined

    found = quarantined(data_dir)
    value = [_value(item) | {"environment": space} for space, item in found]
    rows = ((item.id, item.table, _keys(item), moment(item.found_s), item.why) for _, item in found)
    lines = table(rows, ("id", "table", "key", "found", "why"))
    following = f"henslowe storage quarantine restore {found[0][1].id}" if found else "henslowe storage verify"
    console.show({"rows": value}, lines or ["no row is in quarantine"], following)


@quarantine_command.command("restore")
@click.argument("row_id", metavar="ID")
@click.option("--from", "backup", type=click.Path(path_type=Path), help="Take it from this backup.")
@data_options
def restore_command(*, row_id: str, backup: Path | None, console: Console, data_dir: Path) -> None:
    """Put a row back: as its history says, or as a backup has it. Not while a node runs."""
    from henslowe.actors.versions.audit import rebuild
    from henslowe.storage.repair import put_back

    done = put_back(data_dir, row_id, rebuild, backup.expanduser().absolute() if backup is not None else None)
    line = f"{_keys(done.item)} in {done.item.table} is back, from {done.source}"
    console.show(_value(done.item) | {"source": done.source}, [line], "henslowe storage verify")


@quarantine_command.command("drop")
@click.argument("row_id", metavar="ID")
@data_options
def drop_command(*, row_id: str, console: Console, data_dir: Path) -> None:
    """Give a row up: its key is as if it was never there. Not while a node runs."""
    from henslowe.storage.repair import drop

    done = drop(data_dir, row_id)
    line = f"{_keys(done.item)} in {done.item.table} is given up"
    console.show(_value(done.item), [line], "henslowe storage verify")


def _value(item: Quarantined) -> dict[str, Any]:
    return {
        "id": item.id,
        "table": item.table,
        "keys": [list(key) if isinstance(key, tuple) else key for key in item.keys],
        "why": item.why,
        "found_s": item.found_s,
        "size_bytes": len(item.record),
    }


def _keys(item: Quarantined) -> str:
    return " or ".join(f"{key!r:.60}" for key in item.keys) or "unknown"
