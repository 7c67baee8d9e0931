"""The table of admin routes: one line each, read by the application and by the OpenAPI document alike."""

from __future__ import annotations

from typing import Final

from henslowe.actors.access.scopes import ADMIN_SERVICES, ADMIN_TOKENS
from henslowe.transport.admin import (
    artifacts,
    captures,
    handlers,
    keeping,
    services,
    tokens,
    traffic,
    trials,
    workings,
)
from henslowe.transport.admin.edge import Route
from henslowe.transport.admin.models.artifacts import ArtifactQuery, ArtifactsReply, VersionFactsReply
from henslowe.transport.admin.models.captures import CaptureReply, CapturesQuery, CapturesReply
from henslowe.transport.admin.models.commands import (
    AllServicesReply,
    AllServicesRequest,
    BuildReply,
    CommandReply,
    CommandRequest,
)
from henslowe.transport.admin.models.events import (
    EventsQuery,
    EventsReply,
    ExportQuery,
    FollowQuery,
    LinesReply,
    LogsQuery,
)
from henslowe.transport.admin.models.keeping import MigrateRequest, MigrationsReply, SecretsReply, SetSecretRequest
from henslowe.transport.admin.models.manifests import (
    ManifestReply,
    PatchManifestRequest,
    PutManifestRequest,
    RemovedReply,
)
from henslowe.transport.admin.models.node import ActorReply, ConfigReply, HealthReply, NodeReply, StopReply
from henslowe.transport.admin.models.services import ServiceReply, ServicesReply
from henslowe.transport.admin.models.tokens import (
    CreateTokenRequest,
    MintedReply,
    RotateTokenRequest,
    TokenReply,
    TokensReply,
)
from henslowe.transport.admin.models.traffic import (
    PurgeReply,
    PurgeRequest,
    ResultsReply,
    RowsQuery,
    SessionsReply,
    TasksReply,
    ToolsReply,
)
from henslowe.transport.admin.models.versions import VersionsReply
from henslowe.transport.admin.stream import export_events, follow_events

V1: Final = "/admin/v1"
_SERVICE: Final = V1 + "/services/{service}"
_VERSION: Final = _SERVICE + "/versions/{version}"
_MANIFEST: Final = _SERVICE + "/manifest"
_TOKEN: Final = V1 + "/tokens/{token}"

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/livez", handlers.livez, "Is the process alive?", HealthReply, open=True),
    Route("GET", "/readyz", handlers.readyz, "Should traffic be sent here?", HealthReply, open=True),
    Route("GET", "/metrics", handlers.metrics, "Prometheus metrics", media=("text/plain",), open=True),
    Route("GET", f"{V1}/status", handlers.status, "The node and its services", NodeReply),
    Route("GET", f"{V1}/tree", handlers.tree, "The supervision tree", ActorReply),
    Route("GET", f"{V1}/config", handlers.config, "The settings and their origins", ConfigReply),
    Route("GET", f"{V1}/services", handlers.services, "All services", ServicesReply),
    Route("GET", _SERVICE, handlers.service, "One service", ServiceReply),
    Route("GET", f"{_SERVICE}/versions", handlers.versions, "Its versions, newest first", VersionsReply),
    Route("GET", _MANIFEST, services.show, "Its service.toml", ManifestReply),
    Route(
        "PUT",
        _MANIFEST,
        services.put,
        "Write its service.toml; with If-None-Match: * a new service",
        ManifestReply,
        body=PutManifestRequest,
        scope=ADMIN_SERVICES,
    ),
    Route(
        "PATCH",
        _MANIFEST,
        services.patch,
        "Change keys of its service.toml",
        ManifestReply,
        body=PatchManifestRequest,
        scope=ADMIN_SERVICES,
    ),
    Route(
        "DELETE",
        _SERVICE,
        services.remove,
        "Set its folder aside and end it",
        RemovedReply,
        scope=ADMIN_SERVICES,
    ),
    Route("GET", _VERSION, artifacts.facts, "One version, whole", VersionFactsReply),
    Route(
        "GET",
        f"{_VERSION}/artifacts",
        artifacts.artifacts,
        "What its stages left to be looked at: test reports, coverage",
        ArtifactsReply,
    ),
    Route(
        "GET",
        f"{_VERSION}/artifacts/content",
        artifacts.artifact,
        "The content of such a file",
        query=ArtifactQuery,
        media=("application/octet-stream",),
    ),
    Route("GET", f"{_SERVICE}/logs", handlers.logs, "What it printed", LinesReply, query=LogsQuery),
    Route(
        "POST",
        _SERVICE + "/actions/{action}",
        handlers.command,
        "Promote it, approve a gate, freeze it, roll back, hold, resume, abort, retry, restart or remove it",
        CommandReply,
        body=CommandRequest,
    ),
    Route(
        "POST",
        V1 + "/line/{line_action}",
        handlers.line,
        "Stop or start the line, freeze or unfreeze all services",
        AllServicesReply,
        body=AllServicesRequest,
    ),
    Route("POST", f"{_SERVICE}/build", handlers.build, "Run its pipeline again", BuildReply, status=202),
    Route(
        "POST",
        f"{_SERVICE}/run",
        trials.run_stages,
        "Run its stages now, without making a version; a line of JSON per event as it happens",
        body=trials.RunRequest,
        media=("application/jsonl",),
    ),
    Route("GET", f"{V1}/events", handlers.events, "A page of events", EventsReply, query=EventsQuery),
    Route(
        "GET",
        f"{V1}/events/stream",
        follow_events,
        "Events as they happen (Server-Sent Events; Last-Event-ID resumes)",
        query=FollowQuery,
        media=("text/event-stream",),
    ),
    Route(
        "GET",
        f"{V1}/events/export",
        export_events,
        "All events that match, as JSON Lines or CSV",
        query=ExportQuery,
        media=("application/jsonl", "text/csv"),
    ),
    Route(
        "GET",
        f"{V1}/captures",
        captures.listed,
        "A page of recorded traffic, newest first",
        CapturesReply,
        query=CapturesQuery,
    ),
    Route("GET", f"{V1}/captures/{{seq}}", captures.one, "One recorded exchange", CaptureReply),
    Route(
        "GET",
        f"{V1}/sessions",
        traffic.sessions,
        "Open sessions of clients, and what is kept for them",
        SessionsReply,
        query=RowsQuery,
    ),
    Route(
        "GET",
        f"{V1}/tools",
        traffic.tools,
        "The tools of the versions that serve",
        ToolsReply,
        query=RowsQuery,
    ),
    Route(
        "GET",
        f"{V1}/tasks",
        traffic.tasks,
        "Tasks that clients may ask for",
        TasksReply,
        query=RowsQuery,
    ),
    Route(
        "GET",
        f"{V1}/results",
        traffic.kept_results,
        "Results that are answered without their server",
        ResultsReply,
        query=RowsQuery,
    ),
    Route(
        "POST",
        f"{V1}/results/purge",
        traffic.purge,
        "Forget such results",
        PurgeReply,
        body=PurgeRequest,
    ),
    Route(
        "GET",
        f"{V1}/hooks",
        workings.hooks,
        "Hooks that were asked and told",
        workings.HooksReply,
        query=RowsQuery,
    ),
    Route("GET", f"{V1}/modules", workings.modules, "The extensions of the node", workings.ModulesReply),
    Route("GET", f"{V1}/tokens", tokens.listed, "The tokens of this node", TokensReply, scope=ADMIN_TOKENS),
    Route(
        "POST",
        f"{V1}/tokens",
        tokens.create,
        "Make a token; its text is in the answer and nowhere else",
        MintedReply,
        body=CreateTokenRequest,
        status=201,
        scope=ADMIN_TOKENS,
    ),
    Route(
        "POST",
        f"{_TOKEN}/rotate",
        tokens.rotate,
        "Give a token a new secret",
        MintedReply,
        body=RotateTokenRequest,
        scope=ADMIN_TOKENS,
    ),
    Route(
        "POST",
        f"{_TOKEN}/revoke",
        tokens.revoke,
        "End a token and what it opened",
        TokenReply,
        scope=ADMIN_TOKENS,
    ),
    Route("GET", f"{V1}/storage/migrations", keeping.migrations, "The migrations of its tables", MigrationsReply),
    Route(
        "POST",
        f"{V1}/storage/migrations",
        keeping.migrate,
        "Begin migrations, lead them on, or take one back",
        MigrationsReply,
        body=MigrateRequest,
        status=202,
    ),
    Route("GET", f"{V1}/secrets", keeping.secrets, "The secrets, without their values", SecretsReply),
    Route(
        "POST",
        f"{V1}/secrets",
        keeping.set_secret,
        "Keep a secret, in place of one of the same name",
        SecretsReply,
        body=SetSecretRequest,
        status=201,
    ),
    Route("POST", f"{V1}/secrets/{{secret}}/remove", keeping.remove_secret, "Remove a secret", SecretsReply),
    Route(
        "POST",
        f"{V1}/secrets/rotate",
        keeping.rotate_secrets,
        "Seal everything with a new key",
        SecretsReply,
        status=202,
    ),
    Route("POST", f"{V1}/stop", handlers.stop, "Drain and stop the node", StopReply, status=202),
)
