"""`henslowe diff SERVICE V1 [V2]`: what changed between two versions that were built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from henslowe.cli.console import Console, clean, data_options, dim
from henslowe.errors import NotFound

if TYPE_CHECKING:
    from henslowe.actors.versions import VersionRow
    from henslowe.storage.build_diff import PathChange, Text

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command("diff")
@click.argument("service")
@click.argument("before", metavar="V1")
@click.argument("after", metavar="V2", required=False)
@click.option("--stat", is_flag=True, help="Only which files changed, and by how many lines.")
@data_options
def diff_command(*, service: str, before: str, after: str | None, stat: bool, console: Console, data_dir: Path) -> None:
    """What changed from V1 to V2 (numbers or semantic versions; default V2: the newest that was built).

    Reads the archive itself: beside a running node, or without one.
    """
    from henslowe.actors.versions import VERSIONS
    from henslowe.storage import Archive
    from henslowe.storage.build_diff import changes, text_of
    from henslowe.storage.figures import ARCHIVE
    from henslowe.storage.inspection import DataDir

    with DataDir.open(data_dir) as found:
        rows = [row for row in found.typed(VERSIONS) if row.service == service and row.build]
    old, new = _version(rows, service, before), _version(rows, service, after)
    archive = Archive(data_dir / ARCHIVE)
    paths = changes(archive.build(old.build), archive.build(new.build))
    texts = [(path, text_of(archive, path)) for path in paths]
    value = {
        "service": service,
        "from": _named(old),
        "to": _named(new),
        "paths": [_value(path, text, stat=stat) for path, text in texts],
    }
    lines = list(_stat(texts) if stat else _diff(texts))
    same = f"{old.key} and {new.key} have the same content"
    console.show(value, lines or [same], f"henslowe versions {service}")


def _version(rows: list[VersionRow], service: str, wanted: str | None) -> VersionRow:
    """The built version that is meant.

    Raises:
        NotFound: There is none.
    """
    if wanted is None and rows:
        return max(rows, key=lambda row: row.number)
    text = (wanted or "").removeprefix("v")
    for row in rows:
        if text in (str(row.number), row.semver):
            return row
    known = ", ".join(f"{row.number} ({row.semver})" for row in rows[-8:]) or "none"
    raise NotFound(
        f"cannot find version {wanted or ''} of {service!r} in the archive: built are {known}",
        hint=f"henslowe versions {service}",
    )


def _named(row: VersionRow) -> dict[str, Any]:
    return {"version": row.number, "semver": row.semver, "build": row.build}


def _value(path: PathChange, text: Text, *, stat: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "path": path.path,
        "change": path.kind.value,
        "added": text.added,
        "removed": text.removed,
        "binary": not text.readable,
        "size_bytes": [entry.size_bytes if entry is not None else 0 for entry in (path.before, path.after)],
    }
    return value if stat else value | {"diff": list(text.lines)}


def _stat(texts: list[tuple[PathChange, Text]]) -> Iterator[str]:
    for path, text in texts:
        sizes = f"{path.before.size_bytes if path.before else 0} -> {path.after.size_bytes if path.after else 0} bytes"
        said = f"+{text.added} -{text.removed}" if text.readable else f"binary, {sizes}"
        yield f"{path.kind.value:<8} {clean(path.path)}  {dim(said)}"
    if texts:
        added, removed = sum(text.added for _, text in texts), sum(text.removed for _, text in texts)
        yield f"{len(texts)} path{'s' if len(texts) > 1 else ''}, +{added} -{removed}"


def _diff(texts: list[tuple[PathChange, Text]]) -> Iterator[str]:
    for path, text in texts:
        if not text.readable:
            yield f"{path.kind.value} {clean(path.path)}: binary, or too long to show"
        elif not text.lines:
            yield f"{path.kind.value} {clean(path.path)}"
        for line in text.lines:
            head = line.startswith(("+++ ", "--- "))
            yield click.style(clean(line), fg=None if head else _COLOURS.get(line[:1]), bold=head)
