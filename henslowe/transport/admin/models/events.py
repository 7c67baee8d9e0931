"""What happened, as the admin API tells it: events and lines, and how to ask for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from henslowe.transport.admin.models.base import EVENTS_PAGE_MAX, Reply, Request, Seq, StreamName


class EventReply(Reply):
    """One event of the log. (`node`, `incarnation`, `seq`) is its identity."""

    seq: int
    """Counts all events of the node; the id on the live stream."""
    time_s: float
    stream: str
    """lifecycle, activity or output."""
    type: str
    """A word of the vocabulary: see the reference of events."""
    status: str
    service: str = ""
    """"" where it concerns none."""
    version: int = 0
    """0 where it concerns none."""
    node: str = ""
    incarnation: int = 0
    """Which life of the node: counts its starts."""
    data: dict[str, Any] = {}
    """What belongs to this type."""


class EventsReply(Reply):
    """A page of events, oldest first."""

    events: tuple[EventReply, ...]
    next_since: int
    """Give it as `since` for what comes after this page."""
    more: bool = False
    """Whether the log already holds more after this page."""


class LineReply(Reply):
    """One line that a stage or a server printed."""

    seq: int
    time_s: float
    version: int
    source: str
    """The stage's or the instance's name."""
    channel: str
    """stdout or stderr."""
    line: str


class LinesReply(Reply):
    """A page of lines, oldest first."""

    lines: tuple[LineReply, ...]
    next_since: int
    more: bool = False


class EventFilter(Request):
    """Which events; every part that is given must match."""

    type: tuple[str, ...] = ()
    """Patterns with `*` and `?` over the event's type."""
    service: tuple[str, ...] = ()
    """Names of services."""
    stream: tuple[StreamName, ...] = ("lifecycle", "activity")
    version: Annotated[int, Field(ge=0)] | None = None
    source: str = ""
    """Of lines: the stage or the instance that printed them."""


class EventsQuery(EventFilter):
    """A page of the log: the newest `limit` events, or with `since` the first ones after it."""

    since: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=EVENTS_PAGE_MAX)] = 100


class ExportQuery(Request):
    """Events for other programs: all that match, oldest first."""

    format: Literal["jsonl", "csv"] = "jsonl"
    since: Annotated[str, Field(max_length=40)] = ""
    """After this number, or from this time (ISO 8601, or how long ago: `2h`)."""
    until: Annotated[str, Field(max_length=40)] = ""
    """With this number, or before this time."""
    type: tuple[str, ...] = ()
    """Patterns with `*` and `?` over the event's type."""
    service: tuple[str, ...] = ()
    stream: tuple[StreamName, ...] = ("lifecycle", "activity", "output")
    bom: bool = False
    """Begin CSV with a byte order mark."""


class FollowQuery(EventFilter):
    """The live stream. A `Last-Event-ID` header wins over `since`; without both it starts now."""

    since: Seq | None = None


class LogsQuery(Request):
    """The lines of one service: the newest `limit`, or with `since` the first ones after it."""

    version: Annotated[int, Field(ge=0)] | None = None
    stage: str = ""
    """The stage, or the instance, that printed them."""
    since: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=EVENTS_PAGE_MAX)] = 200
