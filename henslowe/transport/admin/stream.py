"""The live event stream as Server-Sent Events, resumable by `Last-Event-ID`, and the log as a file.

Each event has its sequence number as `id`, its type as `event` and the same JSON as a page of events as `data`.
Source: HTML Living Standard, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from henslowe.errors import BadRequest, ConfigError, LimitReached
from henslowe.storage import Event
from henslowe.storage.export import Form, Wanted, exported, window
from henslowe.transport.admin.answers import dump_json
from henslowe.transport.admin.edge import Admin, Call
from henslowe.transport.admin.feed import Feed, reply_of
from henslowe.transport.admin.models.events import ExportQuery, FollowQuery

RETRY_MS = 1_000
"""How long a browser waits before it comes back."""
STOPPING = web.AppKey("admin_stopping", asyncio.Event)
"""Set when the application shuts down."""
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def follow_events(call: Call) -> web.StreamResponse:
    """Send matching events until the client leaves or the listener shuts down.

    Raises:
        BadRequest: `Last-Event-ID` is not a sequence number.
        LimitReached: As many streams are open as the node allows.
    """
    admin, query = call.admin, call.query
    assert isinstance(query, FollowQuery)
    after_seq = _last_event_id(call.request)
    if after_seq is None:
        after_seq = query.since
    with _counted(admin), Feed(admin.events, query, after_seq) as feed:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(call.request)
        await response.write(f"retry: {RETRY_MS}\n\n".encode())
        await _send(response, feed, admin.keepalive_s, call.request.app[STOPPING])
        await response.write_eof()
        return response


async def export_events(call: Call) -> web.StreamResponse:
    """Send all events that match as JSON Lines or CSV; what is committed meanwhile may be among them.

    Raises:
        BadRequest: A bound is neither a number nor a time.
        LimitReached: As many streams are open as the node allows.
    """
    admin, query = call.admin, call.query
    assert isinstance(query, ExportQuery)
    try:
        after_seq, before_seq = window(admin.events, query.since, query.until)
    except ConfigError as error:
        raise BadRequest(error.message, hint=error.hint) from error
    wanted = Wanted(after_seq, min(before_seq, admin.events.last_seq() + 1), query.stream, query.type, query.service)
    kind = "text/csv" if query.format == "csv" else "application/jsonl"
    with _counted(admin):
        response = web.StreamResponse(
            headers={
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="events.{query.format}"',
                "Cache-Control": "no-store",
            }
        )
        await response.prepare(call.request)
        for chunk in exported(admin.events, Form(query.format), wanted, bom=query.bom):
            await response.write(chunk.encode())
            # Others have their turn between pages, also where the client takes all at once.
            await asyncio.sleep(0)
        await response.write_eof()
        return response


@contextmanager
def _counted(admin: Admin) -> Iterator[None]:
    """One of the streams that may be open at a time.

    Raises:
        LimitReached: There are as many as may.
    """
    if admin.streams >= admin.streams_max:
        raise LimitReached(
            f"cannot open another event stream: {admin.streams_max} are open", hint="close one, or read pages of events"
        )
    admin.streams += 1
    try:
        yield
    finally:
        admin.streams -= 1


async def _send(response: web.StreamResponse, feed: Feed, keepalive_s: float, stopping: asyncio.Event) -> None:
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        while not stopping.is_set():
            news = asyncio.ensure_future(feed.next(keepalive_s))
            await asyncio.wait({news, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not news.done():
                news.cancel()
                return
            # An `id` without data moves the reader's cursor past events that its filter left out.
            events = news.result()
            await response.write(b"".join(map(_frame, events)) or f": keepalive\nid: {feed.after_seq}\n\n".encode())
    finally:
        stopped.cancel()


def _frame(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), dump_json(reply_of(event)))


def _last_event_id(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise BadRequest(
            f"Last-Event-ID: expected the id of an event, got: {text[:40]!r}", hint="send the last `id:` you received"
        )
    return int(text)
