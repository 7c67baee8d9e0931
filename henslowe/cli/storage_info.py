"""`henslowe storage info`: what is stored, where and how much of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from henslowe.cli.console import Console, data_options, dim, duration, moment, size, table
from henslowe.words import counted

if TYPE_CHECKING:
    from henslowe.storage.figures import Figures, StreamFigures, TableFigures


@click.command("info")
@data_options
def info_command(*, console: Console, data_dir: Path) -> None:
    """What is stored: environments, tables, events, archive, how the last life ended. Beside a running node, too."""
    from henslowe.storage.figures import figures_of

    found = figures_of(data_dir)
    console.show(_value(found), _lines(found), "henslowe storage verify")


def _value(found: Figures) -> dict[str, Any]:
    """The figures as JSON."""
    value = asdict(found)
    return value | {"path": str(found.path), "node": asdict(found.node) if found.node is not None else None}


def _lines(found: Figures) -> Iterator[str]:
    yield f"{found.path}  {_state(found)}"
    yield dim(f"{size(found.disk_free_bytes)} free on its disk, {size(found.ballast_bytes)} of ballast")
    yield ""
    yield from table(
        (
            (
                each.name,
                f"{each.format}",
                size(each.used_bytes),
                size(each.file_bytes),
                f"{each.readers}",
                f"{each.last_txn_id}",
            )
            for each in found.environments
        ),
        ("environment", "format", "used", "file", "readers", "last commit"),
    )
    yield ""
    yield from table(
        ((each.name, f"{each.rows}", _schemas(each), size(each.size_bytes), each.environment) for each in found.tables),
        ("table", "rows", "schema", "size", "in"),
    )
    yield ""
    yield from table(
        (
            (each.name, f"{each.events}", _span(each), _since(each.first_s), size(each.size_bytes))
            for each in found.streams
        ),
        ("stream", "events", "numbers", "since", "size"),
    )
    archive = found.archive
    yield ""
    builds, objects = counted(archive.builds, "build"), counted(archive.objects, "object")
    yield f"archive   {builds} in {objects}, {size(archive.size_bytes)}"
    for environment, pid, commit in found.reading:
        yield f"reader    process {pid} reads {environment} as of commit {commit}"
    for name, said in found.migrations.items():
        yield f"migration {name}: {said}"
    for name, seq in sorted(found.cursors.items()):
        yield f"cursor    {name} at {seq}, {found.last_seq - seq} behind"


def _state(found: Figures) -> str:
    if found.node is not None:
        return f"a node runs on it, process {found.node.pid}"
    if not found.clean:
        return "no node runs; the last one ended without stopping (the next start verifies)"
    return f"no node runs; stopped {moment(found.stopped_s)}" if found.stopped_s else "no node runs"


def _schemas(found: TableFigures) -> str:
    return ",".join(map(str, found.schemas)) or "-"


def _span(found: StreamFigures) -> str:
    return f"{found.first_seq} to {found.last_seq}" if found.last_seq else "-"


def _since(first_s: float) -> str:
    return f"{moment(first_s)} ({duration(max(0.0, time.time() - first_s))})" if first_s else "-"
