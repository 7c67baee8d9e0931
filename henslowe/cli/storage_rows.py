"""`henslowe storage dump` and `henslowe storage tail`: rows and events as they lie on disk, without asking the node."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgpack import ExtType

from henslowe.cli.console import Console, data_options, until_interrupted
from henslowe.errors import ConfigError, HensloweError, NotFound

if TYPE_CHECKING:
    from henslowe.storage import Event, TableSpec
    from henslowe.storage.inspection import RawRow
    from henslowe.storage.keys import Key

STREAMS = ("lifecycle", "activity", "output")
SECRET = "***"  # noqa: S105 - what is shown instead of one
_SECRET_NAME = re.compile(
    r"token|secret|passw|api[-_]?key|authori[sz]ation|cookie|credential|private[-_]?key", re.IGNORECASE
)
_BAGS_OF_SECRETS = ("env", "headers")
"""Variables and headers of servers carry keys under names of their own."""


@click.command("dump")
@click.argument("table")
@click.option("--key", metavar="JSON", help='Only this row: hello, 7, or ["hello", 3] for a tuple.')
@click.option("--from", "first", metavar="JSON", help="Begin at this key.")
@click.option("--limit", "-n", type=click.IntRange(min=1), help="Most rows.")
@data_options
def dump_command(
    *, table: str, key: str | None, first: str | None, limit: int | None, console: Console, data_dir: Path
) -> None:
    """The rows of TABLE as JSON Lines: as typed rows where the table is known, else as stored. Secrets are ***.

    Exits with 4 when a row is damaged. Beside a running node, too.
    """
    from henslowe.storage.inspection import DataDir

    if key is not None and first is not None:
        raise ConfigError("expected --key or --from, got both", hint=f"henslowe storage dump {table} --key {key}")
    damaged, spec = 0, _spec_of(table)
    with DataDir.open(data_dir) as found, until_interrupted():
        begin = _key(key if key is not None else first)
        rows: Iterator[RawRow] = found.rows(table, first=begin)
        if key is not None:
            rows = _only(rows, begin, table)
        for row in islice(rows, limit):
            damaged += bool(row.error)
            value = _value(table, row, spec)
            console.item(value, json.dumps(value, ensure_ascii=False))
    raise SystemExit(4 if damaged else 0)


@click.command("tail")
@click.option("--stream", type=click.Choice(STREAMS), multiple=True, help="Default: all.")
@click.option("--type", "-t", "types", multiple=True, help="Only these types: CANARY_* (may be repeated).")
@click.option("--service", "-s", multiple=True, help="Only this service (may be repeated).")
@click.option("--since", type=click.IntRange(min=0), help="Start after this sequence number; default: the last 10.")
@click.option("--no-follow", is_flag=True, help="End after what is there.")
@data_options
def tail_command(
    *,
    stream: tuple[str, ...],
    types: tuple[str, ...],
    service: tuple[str, ...],
    since: int | None,
    no_follow: bool,
    console: Console,
    data_dir: Path,
) -> None:
    """Events as they are committed, from the files: also when the node does not answer. Until Ctrl-C."""
    from henslowe.cli.render import event_line
    from henslowe.storage import open_readonly
    from henslowe.transport.admin.models.events import EventReply

    filters: dict[str, Any] = {
        "streams": stream or STREAMS,
        "types": tuple(map(str.upper, types)),
        "services": service,
    }
    with open_readonly(data_dir) as store, until_interrupted():
        if since is None:
            newest = store.events.read(newest_first=True, limit=10, **filters)
            since = newest[-1].seq - 1 if newest else store.events.last_seq()
        found = store.events.scan if no_follow else store.events.follow
        for event in found(after_seq=since, **filters):
            value = event_value(event)
            console.item(value, event_line(EventReply.model_validate(value)))


def event_value(event: Event) -> dict[str, Any]:
    """An event in the shape that the admin API gives it."""
    return {
        "seq": event.seq,
        "time_s": event.time_ns / 1e9,
        "stream": event.stream,
        "type": event.type,
        "status": event.status,
        "service": event.service,
        "version": event.version,
        "node": event.node,
        "incarnation": event.incarnation,
        "data": dict(event.data),
    }


def _key(text: str | None) -> Key | None:
    """A key from the command line: JSON, or else the text itself."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return _as_key(value)


def _as_key(value: Any) -> Key:
    if isinstance(value, list):
        return tuple(map(_as_key, value))
    if isinstance(value, str) or type(value) is int:
        return value
    raise ConfigError(f"expected a key of text, numbers or a list of them, got: {value!r:.60}", hint='["hello", 3]')


def _only(rows: Iterator[RawRow], key: Key | None, table: str) -> Iterator[RawRow]:
    """The rows under `key`, of which a bag may have several.

    Raises:
        NotFound: There is none.
    """
    count = 0
    for row in rows:
        if row.key != key:
            break
        count += 1
        yield row
    if not count:
        raise NotFound(f"cannot find {key!r:.60} in table {table!r}", hint=f"henslowe storage dump {table} --limit 10")


def _spec_of(table: str) -> TableSpec[Any] | None:
    """What is known of a table; None for one that this Henslowe does not know."""
    from henslowe.node_tables import TABLES

    return next((spec for spec in TABLES if spec.name == table), None)


def _value(table: str, row: RawRow, spec: TableSpec[Any] | None) -> dict[str, Any]:
    value: dict[str, Any] = {"table": table, "key": _plain(row.key), "schema": row.schema, "typed": False}
    if row.error:
        return value | {"row": None, "error": row.error, "bytes": base64.b64encode(row.packed).decode()}
    if spec is not None:
        with suppress(HensloweError):  # newer than this, or with secrets that have no key here: as it is stored
            typed = spec.row_of(row.fields, row.schema, row.packed)
            return value | {"typed": True, "row": _plain(typed.model_dump())}
    return value | {"row": _plain(row.fields)}


def _plain(value: Any) -> Any:
    """A stored value as JSON: bytes in Base64, and nothing that may be a secret."""
    if isinstance(value, ExtType):
        return SECRET  # a sealed field
    match value:
        case dict():
            return {str(name): _plain_field(str(name), inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case str():
            return value
        case None | bool() | int() | float():
            return value
    return str(value)


def _plain_field(name: str, value: Any) -> Any:
    if name in _BAGS_OF_SECRETS and isinstance(value, dict):
        return dict.fromkeys(map(str, value), SECRET)
    return SECRET if value and _SECRET_NAME.search(name) else _plain(value)
