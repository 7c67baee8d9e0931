"""`henslowe storage migrate`: what would be migrated, how far it is, leading it on, and taking it back."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from henslowe.cli.console import Console, clean, data_options, dim, duration, moment, size, table
from henslowe.cli.keeping import Kept, kept, running_node, settings_of
from henslowe.errors import ConfigError, StorageError

PHASES: Final = ("expand", "backfill", "verify", "flip", "drop")
LOOK_S: Final = 0.2
"""Between two looks at how far it is."""
_PATH: Final = "/storage/migrations"


@click.command("migrate")
@click.argument("name", metavar="[TABLE]", required=False)
@click.option("--plan", is_flag=True, help="Only say what would happen; changes nothing.")
@click.option("--status", is_flag=True, help="Only say how far the migrations are; changes nothing.")
@click.option(
    "--to", type=click.Choice(PHASES), help="Stop after this phase; default: flip, and drop when the window is over."
)
@click.option("--rollback", is_flag=True, help="Make TABLE what it was before its migration, with all written since.")
@click.option("--no-wait", is_flag=True, help="Begin it in the running node, and do not wait for the end.")
@data_options
def migrate_command(
    *,
    name: str | None,
    plan: bool,
    status: bool,
    to: str | None,
    rollback: bool,
    no_wait: bool,
    console: Console,
    data_dir: Path,
) -> None:
    """Store the rows of TABLE, or of all tables that wait, in their newest schema.

    A running node does it under its traffic, at a bounded rate; without one it is done here. Every phase can be taken
    back with --rollback. Exits with 1 when a migration stands still.
    """
    if sum((plan, status, rollback, to is not None)) > 1:
        raise ConfigError("expected one of --plan, --status, --rollback and --to, got several")
    if rollback and name is None:
        raise ConfigError("expected the table to roll back, got none", hint="henslowe storage migrate --status")
    if plan or status:
        found = _looked(data_dir)
        _show(console, found, _plan_lines(found, name) if plan else _status_lines(found, name), _next_of(found))
        return
    with kept(data_dir) as node:
        body = {"table": name or "", "rollback": rollback} | ({"to": to} if to is not None else {})
        found = node.post(_PATH, body)
        if not no_wait:
            found = _waited(node, found, name, console)
    _show(console, found, _status_lines(found, name), _next_of(found))
    problems = [each for each in found["migrations"] if each["problem"] and name in (None, each["table"])]
    if problems:
        raise StorageError(
            f"cannot migrate {problems[0]['table']}: {clean(problems[0]['problem'])}",
            hint=f"the table works on as it is; henslowe storage migrate {problems[0]['table']} --rollback",
        )


def _looked(data_dir: Path) -> dict[str, Any]:
    """The migrations, from the node or from the files; nothing is changed."""
    if running_node(data_dir) is not None:
        with kept(data_dir) as node:
            return node.get(_PATH)
    from henslowe.node_tables import TABLES
    from henslowe.storage.inspection import require_store
    from henslowe.storage.migrations.planning import look
    from henslowe.transport.admin.keeping import migrations_reply

    require_store(data_dir)
    rows, plan = look(data_dir, TABLES)
    rate = settings_of(data_dir).storage.migration_rows_per_s
    return migrations_reply(rows, plan, rate).model_dump(mode="json")


def _waited(node: Kept, found: dict[str, Any], name: str | None, console: Console) -> dict[str, Any]:
    """The migrations when nothing moves any more."""
    shown = not console.as_json and sys.stderr.isatty()
    while True:
        moving = [each for each in found["migrations"] if _moves(each) and name in (None, each["table"])]
        if shown:
            click.echo("\r\x1b[K" + ", ".join(map(_progress, moving)), err=True, nl=not moving)
        if not moving:
            return found
        node.wait(LOOK_S)
        found = node.get(_PATH)


def _moves(each: dict[str, Any]) -> bool:
    if not each["running"] or each["problem"]:
        return False
    return PHASES.index(each["phase"]) < PHASES.index(each["goal"])


def _progress(each: dict[str, Any]) -> str:
    phase = PHASES[PHASES.index(each["phase"]) + 1]
    return f"{each['table']}: {phase} {each['rows_done']}"


def _show(console: Console, found: dict[str, Any], lines: Sequence[str], following: str) -> None:
    console.show(found, lines, following)


def _plan_lines(found: dict[str, Any], name: str | None) -> list[str]:
    rows = [
        (
            each["table"],
            f"{each['from_schema']} -> {each['to_schema']}",
            f"{each['rows']}",
            size(each["size_bytes"]),
            " ".join(each["phases"]),
            "yes" if each["reversible"] else "no: an older Henslowe cannot read new rows",
            duration(each["estimate_s"]),
        )
        for each in found["planned"]
        if name in (None, each["table"])
    ]
    header = ("table", "schema", "rows", "size", "phases", "reversible", "until the flip")
    return table(rows, header) or ["no table needs a migration"]


def _status_lines(found: dict[str, Any], name: str | None) -> list[str]:
    rows = [
        (
            each["table"],
            f"{each['from_schema']} -> {each['to_schema']}",
            each["phase"],
            moment(each["changed_s"]),
            clean(each["by"]),
            clean(each["problem"]) if each["problem"] else _about(each),
        )
        for each in found["migrations"]
        if name in (None, each["table"])
    ]
    return table(rows, ("table", "schema", "complete", "since", "by", "")) or list(_nothing(found))


def _nothing(found: dict[str, Any]) -> Iterator[str]:
    yield "no table was ever migrated"
    if found["planned"]:
        yield dim(f"{len(found['planned'])} waiting")


def _about(each: dict[str, Any]) -> str:
    match each["phase"]:
        case "flip":
            return f"both forms are kept since {duration(max(0.0, time.time() - each['flipped_s']))}"
        case "drop":
            return "done"
        case "rolled_back":
            return "the table is as it was before"
    return "goes on by itself" if _moves(each) else f"was led to {each['goal']}"


def _next_of(found: dict[str, Any]) -> str:
    for each in found["migrations"]:
        if each["phase"] == "flip":
            return f"henslowe storage migrate {each['table']} --rollback, or --to drop"
    return "henslowe storage migrate" if found["planned"] else "henslowe storage info"
