"""Events as text for other programs: JSON Lines, or CSV that a spreadsheet opens without running anything.

    for chunk in exported(store.events, Form.CSV, window(store.events, since="2h")):
        file.write(chunk)

CSV is RFC 4180: a header, CRLF, quotes doubled. A cell whose text begins with `=`, `+`, `-`, `@`, a tab or a carriage
return would be a formula to a spreadsheet, and what servers print gets into events: such a cell gets an apostrophe in
front, which spreadsheets take for "this is text". JSON Lines are exact.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from henslowe.errors import ConfigError
from henslowe.storage.events import STREAMS, Event
from henslowe.storage.windows import SEQ_MAX

COLUMNS: Final = ("seq", "time", "stream", "type", "status", "service", "version", "node", "incarnation", "data")
BOM: Final = "\ufeff"
"""What makes some spreadsheets read UTF-8."""
PAGE_EVENTS: Final = 256
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_AGO: Final = re.compile(r"(\d{1,9})(s|m|h|d|w)")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Form(StrEnum):
    """How events are written."""

    JSONL = "jsonl"
    CSV = "csv"


class Pages(Protocol):
    """Where events come from: `EventReader`, or whoever reads as it does."""

    def last_seq(self) -> int:
        """The newest event's number, 0 for none."""
        ...

    def read(
        self,
        *,
        after_seq: int = ...,
        before_seq: int = ...,
        streams: Iterable[str] = ...,
        types: str | Iterable[str] = ...,
        services: str | Iterable[str] = ...,
        limit: int = ...,
    ) -> Sequence[Event]:
        """As `EventReader.read`."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: numbers strictly between two, and filters as of `EventReader.read`."""

    after_seq: int = 0
    before_seq: int = SEQ_MAX
    streams: tuple[str, ...] = STREAMS
    types: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def window(source: Pages, since: str = "", until: str = "", *, now_s: float | None = None) -> tuple[int, int]:
    """The numbers that bound the events from `since` to `until`, both strictly outside.

    Each is a sequence number (`since` after it, `until` with it), a time in ISO 8601 (local without an offset), or
    how long ago: `90s`, `15m`, `2h`, `7d`, `1w`; "" for no bound.

    Raises:
        ConfigError: It is neither.
    """
    now_s = time.time() if now_s is None else now_s
    after = _bound("since", since, source, now_s) if since else 0
    before = _bound("until", until, source, now_s) + 1 if until else SEQ_MAX
    return after, before


def exported(source: Pages, form: Form, wanted: Wanted, *, bom: bool = False) -> Iterator[str]:
    """The wanted events as text, in chunks of a page; holds no transaction between them."""
    if form is Form.CSV:
        yield (BOM if bom else "") + _csv([COLUMNS])
    after_seq = wanted.after_seq
    while page := source.read(
        after_seq=after_seq,
        before_seq=wanted.before_seq,
        streams=wanted.streams,
        types=wanted.types,
        services=wanted.services,
        limit=PAGE_EVENTS,
    ):
        yield _csv(map(_cells, page)) if form is Form.CSV else "".join(map(_json_line, page))
        after_seq = page[-1].seq


def event_dict(event: Event) -> dict[str, Any]:
    """An event as JSON Lines have it: additive."""
    return {
        "seq": event.seq,
        "time": _time(event),
        "time_ns": event.time_ns,
        "hlc": event.hlc,
        "stream": event.stream,
        "type": event.type,
        "status": event.status,
        "service": event.service,
        "version": event.version,
        "node": event.node,
        "incarnation": event.incarnation,
        "data": dict(event.data),
    }


def _json_line(event: Event) -> str:
    return _json(event_dict(event)) + "\n"


def _cells(event: Event) -> tuple[Any, ...]:
    texts = (event.stream, event.type, event.status, event.service)
    return (
        event.seq,
        _time(event),
        *map(_safe, texts),
        event.version,
        _safe(event.node),
        event.incarnation,
        _safe(_json(dict(event.data))),
    )


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def _safe(text: str) -> str:
    text = text.encode(errors="replace").decode()  # a lone surrogate has no UTF-8
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json(value: Any) -> str:
    # Lone surrogates of file names stay escaped: all other text is as it is.
    text = json.dumps(value, ensure_ascii=False, default=_plain, separators=(",", ":"))
    return text if _encodes(text) else json.dumps(value, default=_plain, separators=(",", ":"))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def _time(event: Event) -> str:
    return datetime.fromtimestamp(event.time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bound(name: str, text: str, source: Pages, now_s: float) -> int:
    """The number of the last event before a moment, or the number itself."""
    if text.isascii() and text.isdigit() and len(text) < 20:
        return min(int(text), SEQ_MAX - 1)
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return _last_before(source, now_s - int(ago[1]) * _UNIT_S[ago[2]])
    try:
        return _last_before(source, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(
            f"{name}: expected a sequence number, a time or how long ago, got: {text!r:.60}",
            hint="4711, 2026-11-20T08:30, 2h",
        ) from error


def _last_before(source: Pages, time_s: float) -> int:
    """The number of the newest event before a moment, 0 for none. Numbers follow the clock, but where it was set."""
    low, high = 0, source.last_seq()
    while low < high:
        middle = (low + high) // 2
        found = source.read(after_seq=middle, limit=1)
        if found and found[0].time_ns < time_s * 1e9:
            low = found[0].seq
        else:
            high = middle
    return low
