"""The admin routes of the gateway's tables, and where their rows come from."""

from __future__ import annotations

from aiohttp import web

from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.routes import RouteTable
from henslowe.actors.sessions import SessionRow
from henslowe.actors.tasks import TaskRow
from henslowe.storage import Table
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.handlers import service_named
from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.traffic import (
    PurgeReply,
    PurgeRequest,
    ResultReply,
    ResultsReply,
    RowsQuery,
    SessionReply,
    SessionsReply,
    TaskReply,
    TasksReply,
    ToolReply,
    ToolsReply,
)
from henslowe.transport.gateway.replay import ReplayLog
from henslowe.transport.gateway.results import Results

DESCRIPTION_CHARS_MAX = 500


class TrafficTables:
    """The gateway's tables as operators see them. Runs in: the node's loop.

    Args:
        sessions: The table of sessions.
        tasks: The table of tasks.
        replay: Events that can be asked for again.
        results: Results that are answered again.
        routes: Which versions serve.
        directory: What they offer.
    """

    def __init__(
        self,
        sessions: Table[SessionRow],
        tasks: Table[TaskRow],
        *,
        replay: ReplayLog,
        results: Results,
        routes: RouteTable,
        directory: EndpointDirectory,
    ) -> None:
        self._sessions = sessions
        self._tasks = tasks
        self._replay = replay
        self.results = results
        self._routes = routes
        self._directory = directory

    def sessions(self, query: RowsQuery) -> SessionsReply:
        """Sessions, that used last first."""
        rows = [row for row in self._sessions.rows() if query.service in ("", row.scope.partition("@")[0])]
        rows.sort(key=lambda row: -row.last_seen_s)
        return SessionsReply(
            sessions=tuple(self._session(row) for row in rows[: query.limit]),
            total=len(rows),
            kept_bytes=self._replay.size,
        )

    def tools(self, query: RowsQuery) -> ToolsReply:
        """The tools of the stable versions."""
        found = [
            ToolReply(
                service=service,
                version=route.stable.number,
                name=str(tool.get("name")),
                description=str(tool.get("description") or "")[:DESCRIPTION_CHARS_MAX],
                read_only=_hint(tool.get("annotations"), "readOnlyHint"),
                idempotent=_hint(tool.get("annotations"), "idempotentHint"),
            )
            for service, route in sorted(self._routes.current.items())
            if query.service in ("", service)
            for endpoint in self._directory.of(route.stable)[:1]
            for tool in endpoint.contract.tools
        ]
        return ToolsReply(tools=tuple(found[: query.limit]), total=len(found))

    def tasks(self, query: RowsQuery) -> TasksReply:
        """Tasks, newest first."""
        rows = [row for row in self._tasks.rows() if query.service in ("", row.service)]
        rows.sort(key=lambda row: -row.created_s)
        replies = (
            TaskReply(
                task=row.id[:8],
                service=row.service,
                version=row.version,
                instance=row.instance,
                status=row.status,
                created_s=row.created_s,
                expires_s=row.expires_s,
            )
            for row in rows[: query.limit]
        )
        return TasksReply(tasks=tuple(replies), total=len(rows))

    def kept(self, query: RowsQuery) -> ResultsReply:
        """Kept results, that used last first."""
        rows = [row for row in reversed(self.results.rows()) if query.service in ("", row.service)]
        replies = (
            ResultReply(
                service=row.service,
                version=row.version,
                method=row.method,
                name=row.name,
                shared=not row.owner,
                bytes=len(row.answer),
                stored_s=row.stored_s,
                expires_s=row.expires_s,
            )
            for row in rows[: query.limit]
        )
        return ResultsReply(results=tuple(replies), total=len(rows), bytes=self.results.size, hits=self.results.hits)

    def _session(self, row: SessionRow) -> SessionReply:
        streams = self._replay.of(row.id)
        return SessionReply(
            session=row.id[:8],
            endpoint=f"/mcp/{row.scope}" if row.scope else "/mcp",
            client=str(row.client_info.get("name", ""))[:DESCRIPTION_CHARS_MAX],
            protocol_version=row.protocol_version,
            log_level=row.log_level,
            subscriptions=len(row.subscriptions),
            opened_s=row.opened_s,
            last_seen_s=row.last_seen_s,
            streams=len(streams),
            kept_events=sum(len(stream.events) for stream in streams),
            kept_bytes=sum(stream.size for stream in streams),
        )


async def sessions(call: Call) -> Reply | web.StreamResponse:
    """The open sessions."""
    return call.admin.traffic.sessions(call.query)


async def tools(call: Call) -> Reply | web.StreamResponse:
    """The tools that clients may call now."""
    query = call.query
    assert isinstance(query, RowsQuery)
    if query.service:
        service_named(call, query.service)
    return call.admin.traffic.tools(query)


async def tasks(call: Call) -> Reply | web.StreamResponse:
    """The tasks that clients may ask for."""
    return call.admin.traffic.tasks(call.query)


async def kept_results(call: Call) -> Reply | web.StreamResponse:
    """The results that are answered again."""
    return call.admin.traffic.kept(call.query)


async def purge(call: Call) -> Reply | web.StreamResponse:
    """Forget kept results."""
    body = call.body
    assert isinstance(body, PurgeRequest)
    return PurgeReply(purged=call.admin.traffic.results.purge(body.service, body.name))


def _hint(annotations: object, name: str) -> bool:
    return isinstance(annotations, dict) and annotations.get(name) is True
