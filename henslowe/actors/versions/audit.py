"""What the version machine knows of a data directory at rest: rows against their history, and the builds they need.

Loaded by name into the process that checks (`henslowe.storage.checks.Audit`). Pure reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from henslowe.actors.versions.line import replay_line
from henslowe.actors.versions.replay import replay
from henslowe.actors.versions.rows import LINE, SERVICES, VERSIONS
from henslowe.actors.vocabulary import Stream
from henslowe.storage import TableSpec
from henslowe.storage.checks import Builds
from henslowe.storage.codec import seal
from henslowe.storage.findings import Finding, FindingKind
from henslowe.storage.inspection import DataDir
from henslowe.storage.keys import Key, pack

_HINT: Final = "henslowe storage quarantine restore can rebuild a row from its history"


def audit(found: DataDir) -> Iterator[Finding]:
    """Rows that are not what replaying the lifecycle gives."""
    history = list(found.events().scan(streams=(Stream.LIFECYCLE.value,)))
    services, versions = replay(history)
    yield from _differences("services", services, {row.service: row for row in found.typed(SERVICES)})
    yield from _differences("versions", versions, {row.key: row for row in found.typed(VERSIONS)})
    yield from _differences("line", replay_line(history), {row.name: row for row in found.typed(LINE)})


def builds(found: DataDir) -> Builds:
    """The builds of all versions."""
    wanted: dict[str, list[str]] = {}
    for row in found.typed(VERSIONS):
        if row.build:
            wanted.setdefault(row.build, []).append(str(row.key))
    return {build: tuple(keys) for build, keys in wanted.items()}


def _differences(table: str, history: Mapping[Any, object], rows: Mapping[Any, object]) -> Iterator[Finding]:
    for key in sorted({*history, *rows}, key=str):
        expected, got = history.get(key), rows.get(key)
        if expected == got:
            continue
        said = "is not what its history says" if expected and got else "is missing" if expected else "has no history"
        yield Finding(FindingKind.ROWS, f"core/t.{table}", f"the row of {key} {said}", _HINT)


def rebuild(found: DataDir, table: str, keys: tuple[Key, ...]) -> tuple[bytes, bytes] | None:
    """Key and record of a row as its history says, for a row that is damaged; None where no history tells.

    Args:
        found: The data directory.
        table: The row's table.
        keys: What its key may be.
    """
    events = list(found.events().scan(streams=(Stream.LIFECYCLE.value,)))
    services, versions = replay(events)
    rows: dict[str, tuple[TableSpec[Any], Mapping[Any, Any]]] = {
        SERVICES.name: (SERVICES, services),
        VERSIONS.name: (VERSIONS, versions),
        LINE.name: (LINE, replay_line(events)),
    }
    if table not in rows:
        return None
    spec, history = rows[table]
    for key in keys:
        if key in history:
            packed = pack(key)
            return packed, seal(packed, spec.schema, spec.encode(history[key]))
    return None
