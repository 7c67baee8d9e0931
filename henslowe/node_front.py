"""What the listener serves, put together: the gateway, which outlives listeners, and the admin API."""

from __future__ import annotations

from henslowe import __version__
from henslowe.actors.access import TOKENS, Policy
from henslowe.actors.hooks import HOOKS
from henslowe.actors.pipeline import service_folders
from henslowe.actors.replay import REPLAY
from henslowe.actors.results import RESULTS
from henslowe.actors.sessions import SESSIONS
from henslowe.actors.tasks import TASKS
from henslowe.actors.versions import SERVICES, Kind
from henslowe.config.settings import Settings
from henslowe.node_health import keeps_awake
from henslowe.node_shared import Shared
from henslowe.node_view import View
from henslowe.storage import Store
from henslowe.transport.access.managed import ManagedTokens
from henslowe.transport.access.resources import resources_of
from henslowe.transport.admin.artifacts import KeptVersions
from henslowe.transport.admin.edge import Admin
from henslowe.transport.admin.keeping import Keeping
from henslowe.transport.admin.traffic import TrafficTables
from henslowe.transport.admin.workings import Workings
from henslowe.transport.gateway import (
    Gateway,
    ManagedConnections,
    ManagedHolds,
    ManagedReplay,
    ManagedResults,
    ManagedSessions,
    ManagedTasks,
    Memory,
)
from henslowe.transport.rate_limit import RateLimiter


def gateway_of(settings: Settings, store: Store, shared: Shared, view: View) -> Gateway:
    """The gateway, which tells the instances' board who waits and who works. Made once: it outlives listeners."""
    services, tasks, recorder = store.table(SERVICES), store.table(TASKS), store.captures.recorder

    def is_developed(service: str) -> bool:
        row = services.lookup(service)
        return row is not None and row.kind is Kind.DEVELOPED

    recorder.is_developed = is_developed
    gateway = Gateway(
        routes=shared.routes,
        directory=shared.directory,
        observations=shared.observations,
        sessions=ManagedSessions(store.table(SESSIONS)),
        settings=settings.gateway,
        registry=shared.metrics,
        node_info={"name": "henslowe", "version": __version__},
        sticky_epoch_s=settings.delivery.sticky_epoch_s,
        private=ManagedConnections(),
        memory=Memory(
            tasks=ManagedTasks(tasks),
            holds=ManagedHolds(),
            versions=view.versions_of,
            replay=ManagedReplay(store.table(REPLAY)),
            results=ManagedResults(store.table(RESULTS)),
        ),
        health=shared.health,
        explain=view.explain,
        policy=Policy.of(settings.access.policy),
        resources=resources_of(settings),
        capture=recorder,
        extra=shared.extensions.methods(),
    )
    shared.instances.queued = gateway.queued
    shared.instances.sessions_at = gateway.sessions_at
    shared.instances.working = lambda service: keeps_awake(services.lookup(service), tasks.by("service", service))
    return gateway


def admin_of(settings: Settings, store: Store, shared: Shared, view: View, gateway: Gateway) -> Admin:
    """The state behind the admin API."""
    return Admin(
        view,
        store.events,
        store.captures,
        shared.metrics,
        ManagedTokens(store.table(TOKENS)),
        Keeping(store, settings),
        TrafficTables(
            store.table(SESSIONS),
            store.table(TASKS),
            replay=gateway.replay,
            results=gateway.results,
            routes=shared.routes,
            directory=shared.directory,
        ),
        KeptVersions(store),
        service_folders(settings),
        RateLimiter(settings.admin.rate_per_s),
        Workings(store.table(HOOKS).rows, shared.extensions.board),
        keepalive_s=settings.gateway.sse_keepalive_s,
    )
