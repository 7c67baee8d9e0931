"""What the admin API says of the gateway's tables: sessions, tools, tasks, kept streams and kept results."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from henslowe.transport.admin.models.base import Reply, Request

ROWS_PAGE_MAX = 1_000


class RowsQuery(Request):
    """Part of a table."""

    service: Annotated[str, Field(max_length=63)] = ""
    """Of this service only."""
    limit: Annotated[int, Field(ge=1, le=ROWS_PAGE_MAX)] = 200


class SessionReply(Reply):
    """One session of the handshake era."""

    session: str
    """The beginning of its id: the whole would let a reader take it over."""
    endpoint: str
    """`/mcp`, `/mcp/SERVICE` or `/mcp/SERVICE@RANGE`."""
    client: str
    protocol_version: str
    log_level: str = ""
    subscriptions: int = 0
    opened_s: float
    last_seen_s: float
    """Unix times; the second is written once a minute."""
    streams: int = 0
    """Event streams that can be taken up again."""
    kept_events: int = 0
    kept_bytes: int = 0
    """What of them is kept."""


class SessionsReply(Reply):
    """Sessions, that used last first."""

    sessions: tuple[SessionReply, ...]
    total: int
    kept_bytes: int = 0
    """Of events of all sessions."""


class ToolReply(Reply):
    """One tool that clients may call now."""

    service: str
    version: int
    name: str
    description: str = ""
    read_only: bool = False
    idempotent: bool = False


class ToolsReply(Reply):
    """The tools of the versions that serve, by service and name."""

    tools: tuple[ToolReply, ...]
    total: int


class TaskReply(Reply):
    """One task that some client may still ask for."""

    task: str
    """The beginning of its id."""
    service: str
    version: int
    instance: str
    status: str
    created_s: float
    expires_s: float


class TasksReply(Reply):
    """Tasks, newest first."""

    tasks: tuple[TaskReply, ...]
    total: int


class ResultReply(Reply):
    """One result that is answered without its server."""

    service: str
    version: int
    method: str
    name: str
    shared: bool
    """Whether it is for everybody."""
    bytes: int
    stored_s: float
    expires_s: float


class ResultsReply(Reply):
    """Kept results, that used last first."""

    results: tuple[ResultReply, ...]
    total: int
    bytes: int
    hits: int
    """Calls answered from them since the node started."""


class PurgeRequest(Request):
    """Which results to forget: all, a service's, or those of one tool or resource of it."""

    service: Annotated[str, Field(max_length=63)] = ""
    name: Annotated[str, Field(max_length=2_000)] = ""


class PurgeReply(Reply):
    """How many were forgotten."""

    purged: int
