"""The table of admin routes: one line each, read by the application and by the OpenAPI document alike."""

from __future__ import annotations

from typing import Final

from henslowe.actors.access.scopes import ADMIN_TOKENS
from henslowe.transport.admin import (
    capture_models,
    captures,
    handlers,
    keeping,
    models,
    tokens,
    traffic,
    traffic_models,
    trials,
    workings,
)
from henslowe.transport.admin.edge import Route
from henslowe.transport.admin.stream import export_events, follow_events

V1: Final = "/admin/v1"
_SERVICE: Final = V1 + "/services/{service}"
_TOKEN: Final = V1 + "/tokens/{token}"

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/livez", handlers.livez, "Is the process alive?", models.HealthReply, open=True),
    Route("GET", "/readyz", handlers.readyz, "Should traffic be sent here?", models.HealthReply, open=True),
    Route("GET", "/metrics", handlers.metrics, "Prometheus metrics", media=("text/plain",), open=True),
    Route("GET", f"{V1}/status", handlers.status, "The node and its services", models.NodeReply),
    Route("GET", f"{V1}/tree", handlers.tree, "The supervision tree", models.ActorReply),
    Route("GET", f"{V1}/config", handlers.config, "The settings and their origins", models.ConfigReply),
    Route("GET", f"{V1}/services", handlers.services, "All services", models.ServicesReply),
    Route("GET", _SERVICE, handlers.service, "One service", models.ServiceReply),
    Route("GET", f"{_SERVICE}/versions", handlers.versions, "Its versions, newest first", models.VersionsReply),
    Route("GET", f"{_SERVICE}/logs", handlers.logs, "What it printed", models.LinesReply, query=models.LogsQuery),
    Route(
        "POST",
        _SERVICE + "/actions/{action}",
        handlers.command,
        "Promote, roll back, hold, resume, restart or remove it",
        models.CommandReply,
        body=models.CommandRequest,
    ),
    Route("POST", f"{_SERVICE}/build", handlers.build, "Run its pipeline again", models.BuildReply, status=202),
    Route(
        "POST",
        f"{_SERVICE}/run",
        trials.run_stages,
        "Run its stages now, without making a version; a line of JSON per event as it happens",
        body=trials.RunRequest,
        media=("application/jsonl",),
    ),
    Route("GET", f"{V1}/events", handlers.events, "A page of events", models.EventsReply, query=models.EventsQuery),
    Route(
        "GET",
        f"{V1}/events/stream",
        follow_events,
        "Events as they happen (Server-Sent Events; Last-Event-ID resumes)",
        query=models.FollowQuery,
        media=("text/event-stream",),
    ),
    Route(
        "GET",
        f"{V1}/events/export",
        export_events,
        "All events that match, as JSON Lines or CSV",
        query=models.ExportQuery,
        media=("application/jsonl", "text/csv"),
    ),
    Route(
        "GET",
        f"{V1}/captures",
        captures.listed,
        "A page of recorded traffic, newest first",
        capture_models.CapturesReply,
        query=capture_models.CapturesQuery,
    ),
    Route("GET", f"{V1}/captures/{{seq}}", captures.one, "One recorded exchange", capture_models.CaptureReply),
    Route(
        "GET",
        f"{V1}/sessions",
        traffic.sessions,
        "Open sessions of clients, and what is kept for them",
        traffic_models.SessionsReply,
        query=traffic_models.RowsQuery,
    ),
    Route(
        "GET",
        f"{V1}/tools",
        traffic.tools,
        "The tools of the versions that serve",
        traffic_models.ToolsReply,
        query=traffic_models.RowsQuery,
    ),
    Route(
        "GET",
        f"{V1}/tasks",
        traffic.tasks,
        "Tasks that clients may ask for",
        traffic_models.TasksReply,
        query=traffic_models.RowsQuery,
    ),
    Route(
        "GET",
        f"{V1}/results",
        traffic.kept_results,
        "Results that are answered without their server",
        traffic_models.ResultsReply,
        query=traffic_models.RowsQuery,
    ),
    Route(
        "POST",
        f"{V1}/results/purge",
        traffic.purge,
        "Forget such results",
        traffic_models.PurgeReply,
        body=traffic_models.PurgeRequest,
    ),
    Route(
        "GET",
        f"{V1}/hooks",
        workings.hooks,
        "Hooks that were asked and told",
        workings.HooksReply,
        query=traffic_models.RowsQuery,
    ),
    Route("GET", f"{V1}/tokens", tokens.listed, "The tokens of this node", models.TokensReply, scope=ADMIN_TOKENS),
    Route(
        "POST",
        f"{V1}/tokens",
        tokens.create,
        "Make a token; its text is in the answer and nowhere else",
        models.MintedReply,
        body=models.CreateTokenRequest,
        status=201,
        scope=ADMIN_TOKENS,
    ),
    Route(
        "POST",
        f"{_TOKEN}/rotate",
        tokens.rotate,
        "Give a token a new secret",
        models.MintedReply,
        body=models.RotateTokenRequest,
        scope=ADMIN_TOKENS,
    ),
    Route(
        "POST",
        f"{_TOKEN}/revoke",
        tokens.revoke,
        "End a token and what it opened",
        models.TokenReply,
        scope=ADMIN_TOKENS,
    ),
    Route(
        "GET", f"{V1}/storage/migrations", keeping.migrations, "The migrations of its tables", models.MigrationsReply
    ),
    Route(
        "POST",
        f"{V1}/storage/migrations",
        keeping.migrate,
        "Begin migrations, lead them on, or take one back",
        models.MigrationsReply,
        body=models.MigrateRequest,
        status=202,
    ),
    Route("GET", f"{V1}/secrets", keeping.secrets, "The secrets, without their values", models.SecretsReply),
    Route(
        "POST",
        f"{V1}/secrets",
        keeping.set_secret,
        "Keep a secret, in place of one of the same name",
        models.SecretsReply,
        body=models.SetSecretRequest,
        status=201,
    ),
    Route("POST", f"{V1}/secrets/{{secret}}/remove", keeping.remove_secret, "Remove a secret", models.SecretsReply),
    Route(
        "POST",
        f"{V1}/secrets/rotate",
        keeping.rotate_secrets,
        "Seal everything with a new key",
        models.SecretsReply,
        status=202,
    ),
    Route("POST", f"{V1}/stop", handlers.stop, "Drain and stop the node", models.StopReply, status=202),
)
