"""Follows the event log for one reader: what the log has after a cursor, then what comes, none twice, none missed.

The log itself is the buffer: a slow reader makes nobody wait and costs no memory, it only reads later. Server-Sent
Events (`stream`) and pages (`handlers`) are built on this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from henslowe.storage import Event
from henslowe.transport.admin.models.events import EventFilter, EventReply, LineReply
from henslowe.transport.admin.ports import EventSource

PAGE = 256
SCAN_PAGES_MAX = 40
"""Most pages looked at in one go: the log has no index for a version or a source, and the loop must not wait."""


class Page(NamedTuple):
    """Matching events in order, the cursor behind everything that was looked at, and whether the log has more."""

    events: list[Event]
    after_seq: int
    more: bool


def accepts(wanted: EventFilter, event: Event) -> bool:
    """Whether an event that the log's own filters let through matches the rest of the filter."""
    return (wanted.version is None or event.version == wanted.version) and (
        not wanted.source or event.data.get("source") == wanted.source
    )


def read_after(source: EventSource, wanted: EventFilter, after_seq: int, limit: int) -> Page:
    """The first `limit` matching events after a cursor."""
    found: list[Event] = []
    for _ in range(SCAN_PAGES_MAX):
        page = source.read(after_seq=after_seq, limit=PAGE, **_stored(wanted))
        for event in page:
            after_seq = event.seq
            if accepts(wanted, event):
                found.append(event)
                if len(found) == limit:
                    return Page(found, after_seq, more=event is not page[-1] or len(page) == PAGE)
        if len(page) < PAGE:
            return Page(found, after_seq, more=False)
    return Page(found, after_seq, more=True)


def read_newest(source: EventSource, wanted: EventFilter, limit: int) -> Page:
    """The newest `limit` matching events, oldest first; fewer when they are rare and far back."""
    last_seq = source.last_seq()
    found = list(_newest(source, wanted, last_seq + 1, limit))
    return Page(found[::-1], last_seq, more=False)


def reply_of(event: Event) -> EventReply:
    """The event as the API shows it."""
    return EventReply(
        seq=event.seq,
        time_s=event.time_ns / 1e9,
        stream=event.stream,
        type=event.type,
        status=event.status,
        service=event.service,
        version=event.version,
        node=event.node,
        incarnation=event.incarnation,
        data=dict(event.data),
    )


def line_of(event: Event) -> LineReply:
    """An event of the output stream as a line."""
    data = event.data
    return LineReply(
        seq=event.seq,
        time_s=event.time_ns / 1e9,
        version=event.version,
        source=str(data.get("source", "")),
        channel=str(data.get("channel", "")),
        line=str(data.get("line", "")),
    )


class Feed:
    """One reader's place in the log. Use as a context manager; runs in: the loop.

    Args:
        source: The event log.
        wanted: Which events.
        after_seq: Where the reader is; None for "from now on".
    """

    def __init__(self, source: EventSource, wanted: EventFilter, after_seq: int | None = None) -> None:
        self._source = source
        self._wanted = wanted
        self._news = asyncio.Event()
        self.after_seq = source.last_seq() if after_seq is None else after_seq
        """Everything up to here was given or did not match."""

    def __enter__(self) -> Self:
        self._cancel = self._source.on_committed(lambda _events: self._news.set())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancel()

    async def next(self, timeout_s: float) -> list[Event]:
        """The next events, at most a page, in order; empty when none came within `timeout_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            # Cleared before reading: a commit during the read wakes us again instead of being missed.
            self._news.clear()
            events, self.after_seq, more = read_after(self._source, self._wanted, self.after_seq, PAGE)
            if events:
                return events
            if more:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                return []


def _newest(source: EventSource, wanted: EventFilter, before_seq: int, limit: int) -> Iterator[Event]:
    left = limit
    for _ in range(SCAN_PAGES_MAX):
        page = source.read(newest_first=True, before_seq=before_seq, limit=PAGE, **_stored(wanted))
        for event in page:
            before_seq = event.seq
            if accepts(wanted, event):
                left -= 1
                yield event
                if left == 0:
                    return
        if len(page) < PAGE:
            return


def _stored(wanted: EventFilter) -> dict[str, Any]:
    """The part of a filter that the log has indexes for."""
    return {"streams": wanted.stream, "types": wanted.type, "services": wanted.service}
