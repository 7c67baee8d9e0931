"""The composition root: settings in, a running node out.

Everything is put together here and nowhere else: sockets, store, the objects that actors share (routes, endpoints,
observations, traffic), the tree of actors, the application that the listener serves. The order is the order of safety:
what can be refused (a taken port, a busy or newer data directory) is tried before anything is changed, and listeners
open when everything behind them stands.

What runs in which plane is in `_planes`; which plane restarts with which is in `henslowe.supervisors.planes`; what
people see of the node is in `henslowe.node_view`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from henslowe import __version__
from henslowe.actors import names
from henslowe.actors.access import TOKENS, AccessBoard, AccessKeeper, Policy
from henslowe.actors.bus import EventBus
from henslowe.actors.context import ContextKeeper, SharedCapabilities
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.health import HealthBoard, policy_of, say_breaker
from henslowe.actors.holds import HoldKeeper
from henslowe.actors.hooks import HOOKS, Configured, HookBoard, HookGates, HookKeeper, Surroundings
from henslowe.actors.ids import ServiceName, service_name
from henslowe.actors.instances import InstanceBoard, InstanceManager, Prober, Scaler
from henslowe.actors.interceptors import Interceptors
from henslowe.actors.journal import draft, say
from henslowe.actors.kernel import (
    SHUTDOWN,
    ActorExit,
    CallTimeout,
    ChildSpec,
    GenActor,
    Ref,
    Scheduler,
    Watchdog,
    sweep_orphans,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec, Wire
from henslowe.actors.messages import DeclareService, Publish, RetireService
from henslowe.actors.modules import ModuleBoard, ModuleKeeper
from henslowe.actors.notices import say_notices
from henslowe.actors.pipeline import PipelineExecutor, laid_out, restore, service_folders, sweep_unknown
from henslowe.actors.rehearsal import Rehearsal
from henslowe.actors.replay import REPLAY, ReplayKeeper
from henslowe.actors.results import RESULTS, ResultKeeper
from henslowe.actors.router import CanaryRouter
from henslowe.actors.routes import Observations, RouteTable
from henslowe.actors.sessions import SESSIONS, SessionManager
from henslowe.actors.tasks import TASKS, TaskKeeper
from henslowe.actors.traffic import TrafficStats
from henslowe.actors.transforms import PublishedTransforms, TransformRegistry
from henslowe.actors.upkeep import Upkeep
from henslowe.actors.versions import SERVICES, VERSIONS, Kind, VersionMachine
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.actors.watcher import Watcher, WatcherBoard
from henslowe.config.listen import Address, check_listen
from henslowe.config.node_file import NodeFile, admin_socket, announce, boot_id
from henslowe.config.provenance import Loaded
from henslowe.config.sample import ensure_sample, ensure_workspace
from henslowe.config.settings import DeclaredService, Settings
from henslowe.errors import HensloweError, ListenFailed
from henslowe.node_extensions import Extensions, ToolService
from henslowe.node_health import keeps_awake
from henslowe.node_health_metrics import HealthCollector
from henslowe.node_metrics import NodeCollector
from henslowe.node_tables import TABLES
from henslowe.node_view import View
from henslowe.storage import Store, busy, holder
from henslowe.supervisors import CrashReport, add_listener
from henslowe.supervisors.planes import Planes, contained_supervisor, dynamic_plane, start_tree
from henslowe.transport.access.managed import ManagedTokens
from henslowe.transport.access.resources import resources_of
from henslowe.transport.admin.artifacts import KeptVersions
from henslowe.transport.admin.edge import Admin
from henslowe.transport.admin.keeping import Keeping
from henslowe.transport.admin.traffic import TrafficTables
from henslowe.transport.admin.workings import Workings
from henslowe.transport.application import application_maker
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
from henslowe.transport.listener import AppMaker, Listener, bind_tcp, bind_unix
from henslowe.transport.mcp import DormantEndpoint, McpConnector
from henslowe.transport.mcp.plugged import PluggedConnector
from henslowe.transport.rate_limit import RateLimiter
from henslowe.transport.tls import certificate_of
from henslowe.transport.tokens import ensure_token
from henslowe.transport.webhooks import Webhooks

log = logging.getLogger(__name__)

DECLARE_S = 60.0
"""Longest wait for one declaration: the version machine first lays out and starts what served in the last life."""
AUDIT = "henslowe.actors.versions.audit"
"""Knows what the rows of services and versions must be; loaded by name into the process that checks."""
STALL_S = 1.0
"""A handler that holds up the loop for longer is named in the log."""


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the actors share by reference: published snapshots and hand-overs, all of the node's one loop."""

    directory: EndpointDirectory
    health: HealthBoard
    extensions: Extensions
    access: AccessBoard = field(default_factory=AccessBoard)
    instances: InstanceBoard = field(default_factory=InstanceBoard)
    routes: RouteTable = field(default_factory=RouteTable)
    observations: Observations = field(default_factory=Observations)
    traffic: TrafficStats = field(default_factory=TrafficStats)
    capabilities: SharedCapabilities = field(default_factory=SharedCapabilities)
    transforms: PublishedTransforms = field(default_factory=PublishedTransforms)
    watcher: WatcherBoard = field(default_factory=WatcherBoard)
    hooks: HookBoard = field(default_factory=HookBoard)
    interceptors: Interceptors = field(default_factory=Interceptors)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)

    @classmethod
    def of(cls, settings: Settings) -> Shared:
        """All of it, empty."""
        directory = EndpointDirectory()
        health = HealthBoard(directory, policy_of(settings.breaker, settings.instances))
        health.on_change(say_breaker)
        return cls(directory=directory, health=health, extensions=Extensions(settings, settings.data_dir.resolve()))


class Node:
    """A running node. Made by `Node.start`; ended by `stop`. Runs in: one loop, from start to end."""

    def __init__(
        self,
        loaded: Loaded,
        store: Store,
        shared: Shared,
        address: Address,
        stack: ExitStack,
        *,
        sample_made: bool = False,
    ) -> None:
        self.loaded = loaded
        self.store = store
        self.shared = shared
        self.address = address
        self.sample_made = sample_made
        """Whether the workspace was empty, and has a first service now."""
        self.started_s = time.time()
        self.stopping = asyncio.Event()
        """Set when somebody asked the node to stop."""
        self.draining = False
        self._stack = stack
        self._root: Ref | None = None
        self._gateway: Gateway | None = None
        self._watchdog: Watchdog | None = None

    @property
    def settings(self) -> Settings:
        """What the node was told."""
        return self.loaded.settings

    @property
    def url(self) -> str:
        """Where clients find it."""
        host = self.address.host
        scheme = "http" if self.settings.tls.cert_file is None else "https"
        return f"{scheme}://{Address('127.0.0.1' if host in ('0.0.0.0', '::') else host, self.address.port)}"  # noqa: S104

    @property
    def root(self) -> Ref:
        """The root supervisor."""
        assert self._root is not None, "the tree is started before the node is handed out"
        return self._root

    @property
    def directory(self) -> EndpointDirectory:
        """The endpoints that are up."""
        return self.shared.directory

    @property
    def hook_board(self) -> HookBoard:
        """How hooks went."""
        return self.shared.hooks

    @property
    def module_board(self) -> ModuleBoard:
        """How extensions do."""
        return self.shared.extensions.board

    @property
    def stalls(self) -> int:
        """Times that a handler held up the loop."""
        return self._watchdog.stalls if self._watchdog is not None else 0

    @classmethod
    async def start(cls, loaded: Loaded, *, found_sound: Callable[[Path], bool] | None = None) -> Node:
        """A node with its listeners open.

        Args:
            loaded: Its settings.
            found_sound: Whether a file of its store was verified already (`henslowe.early_check`).

        Raises:
            HensloweError: It cannot start; the message says why, and nothing was changed unless it says so.
        """
        settings = loaded.settings
        with ExitStack() as stack:
            tcp = _listen(settings)
            stack.callback(tcp.close)
            ensure_workspace(settings.workspace)
            shared = Shared.of(settings)
            tables = (*TABLES, *shared.extensions.tables)
            store = Store.open(
                settings.data_dir,
                settings.name,
                settings.storage,
                capture=settings.capture,
                tables=tables,
                found_sound=found_sound,
            )
            stack.callback(store.close)
            address = Address(*tcp.getsockname()[:2])
            made = ensure_sample(settings.workspace)
            node = cls(loaded, store, shared, address, stack.pop_all(), sample_made=made)
        try:
            await node._boot(tcp)
        except BaseException:
            await node.stop()
            raise
        return node

    async def stop(self) -> None:
        """Close listeners, drain, stop every actor in reverse order of start, and close the store. Idempotent."""
        self.draining = True
        if self._gateway is not None:
            await self._gateway.close()
        if self._root is not None:
            if self._root.is_alive():
                try:
                    await _say(EventType.NODE_STOP, Status.SUCCESS, pid=os.getpid())
                except (HensloweError, ActorExit, CallTimeout) as error:
                    log.warning("stop_not_said", extra={"reason": str(error)})  # a full disk is no reason to stay
                self._root.exit(SHUTDOWN)
                await _gone(self._root)
            self._root = None
        self._stack.close()

    async def _boot(self, tcp: socket.socket) -> None:
        settings, store = self.settings, self.store
        self._watchdog = Watchdog(Scheduler.install(), limit_s=STALL_S)
        self._watchdog.start()
        self._stack.callback(self._watchdog.stop)
        self._stack.callback(add_listener(_crash_said))
        self._stack.callback(say_notices(store.notices))
        store.scrubbing.audit = AUDIT
        store.scrubbing.folders = functools.partial(laid_out, settings.workspace / "archive")
        self.shared.metrics.register(NodeCollector(self))
        self.shared.metrics.register(HealthCollector(self.shared.instances, self.shared.traffic))
        swept = await asyncio.to_thread(sweep_orphans, _node_id(store), str(store.incarnation))
        sockets = [tcp]
        unix_path = admin_socket(settings.data_dir)
        if unix_path is not None:
            sockets.append(bind_unix(unix_path))
            self._stack.callback(unix_path.unlink, missing_ok=True)
            self._stack.callback(sockets[-1].close)
        token_file = settings.admin.token_file or settings.data_dir / "admin.token"
        token = ensure_token(token_file)
        await self.shared.extensions.intercept(self.shared.interceptors)
        make_app = self._serving(token)
        self._root = await start_tree(self._planes(make_app, sockets))
        assert self._gateway is not None
        self._gateway.start()
        await _say(EventType.NODE_START, Status.SUCCESS, pid=os.getpid(), henslowe=__version__, url=self.url)
        if store.recovered or swept:
            await _say(EventType.NODE_RECOVERED, Status.SUCCESS, clean=not store.recovered, swept_pids=swept)
        await _declare(store, settings, self.shared.extensions.services)
        self.shared.extensions.served()
        self._stack.callback(
            announce(
                NodeFile(
                    pid=os.getpid(),
                    boot_id=boot_id(),
                    url=self.url,
                    socket=str(unix_path or ""),
                    token_file=str(token_file),
                    workspace=str(settings.workspace),
                    data=str(settings.data_dir),
                    name=settings.name,
                    version=__version__,
                )
            )
        )

    def _planes(self, make_app: AppMaker, sockets: list[socket.socket]) -> Planes:
        """What runs where, each with the constructor's arguments: the wiring of the node."""
        settings, store, shared = self.settings, self.store, self.shared
        extensions = shared.extensions
        connector = PluggedConnector(
            McpConnector(settings.instances, name=settings.name), extensions.transport, extensions.board.called
        )
        services, versions = store.table(SERVICES), store.table(VERSIONS)
        upkeep = Upkeep(settings, lambda version: versions.lookup((version.service, version.number)))
        marker = f"{_node_id(store)}:{store.incarnation}"
        lay_out = functools.partial(restore, archive=store.archive, envs=store.data_dir.resolve() / "envs")

        configured = Configured(settings.hooks, shared.interceptors)
        around = Surroundings.of(store, settings, Webhooks(settings.webhooks.allow), shared.interceptors, marker=marker)

        def known() -> frozenset[ServiceName]:
            return frozenset(row.service for row in services.rows())

        return Planes(
            storage=[
                *store.child_specs(),
                _child(
                    "context keeper",
                    names.CONTEXT,
                    ContextKeeper,
                    store,
                    shared.directory,
                    shared.routes,
                    known,
                    shared.capabilities,
                ),
            ],
            bus=[_child("event bus", names.BUS, EventBus, store)],
            sessions=[
                _child("keeper of tokens", names.ACCESS, AccessKeeper, store, shared.access),
                _child("session manager", names.SESSION_MANAGER, SessionManager, store, settings.gateway),
                _child("replay keeper", names.REPLAY, ReplayKeeper, store),
                _child("result keeper", names.RESULTS, ResultKeeper, store),
                _child("task keeper", names.TASKS, TaskKeeper, store, settings.gateway.tasks_max),
            ],
            services=[
                dynamic_plane(names.SERVICES),
                _child(
                    "instance manager",
                    names.INSTANCES,
                    InstanceManager,
                    settings,
                    connector,
                    shared.directory,
                    settings.data_dir,
                    marker,
                    supervisor=contained_supervisor,
                    secrets=store.secrets.resolve,
                    board=shared.instances,
                    dormant=functools.partial(DormantEndpoint, waiting_max=settings.gateway.waiting_max),
                ),
                _child("scaler", names.SCALER, Scaler, shared.instances, upkeep),
                _child(
                    "prober",
                    names.PROBER,
                    Prober,
                    shared.instances,
                    settings.instances,
                    settings.gateway.call_timeout_s,
                ),
                _child(
                    "hold keeper",
                    names.HOLDS,
                    HoldKeeper,
                    store,
                    settings.workspace,
                    lay_out,
                    drain_s=settings.delivery.drain_s,
                ),
            ],
            delivery=[
                _child("transform registry", names.TRANSFORMS, TransformRegistry, shared.transforms),
                _child(
                    "canary router",
                    names.ROUTER,
                    CanaryRouter,
                    store,
                    settings.delivery,
                    shared.routes,
                    shared.observations,
                    services=services,
                    traffic=shared.traffic,
                    upkeep=upkeep,
                ),
                _child("rehearsal", names.REHEARSAL, Rehearsal, store.captures, shared.directory, settings.delivery),
                _child(
                    "hook keeper",
                    names.HOOKS,
                    HookKeeper,
                    store,
                    configured,
                    around,
                    shared.hooks,
                    parallel=settings.webhooks.parallel,
                ),
                _child(
                    "version state machine",
                    names.VERSIONS,
                    VersionMachine,
                    store,
                    settings,
                    shared.traffic,
                    lay_out=lay_out,
                    gates=HookGates(store.table(HOOKS), configured),
                    sweep=functools.partial(sweep_unknown, settings.workspace / "archive"),
                ),
                dynamic_plane(names.PIPELINE_RUNS, "pipeline runs"),
                _child(
                    "pipeline executor", names.PIPELINE, PipelineExecutor, store, settings, connector, marker=marker
                ),
                _child("watcher", names.WATCHER, Watcher, settings.workspace, settings.watcher, shared.watcher),
            ],
            modules=[
                dynamic_plane(names.MODULES),
                _child(
                    "keeper of modules",
                    "modules.keeper",
                    ModuleKeeper,
                    extensions.plans(store),
                    contained_supervisor,
                    extensions.board,
                ),
            ],
            front=[_child("listener", "front.listener", Listener, make_app, sockets, certificate_of(settings))],
        )

    def _serving(self, token: str) -> AppMaker:
        """What the listener serves. The gateway is made once and outlives listeners."""
        settings, shared, view = self.settings, self.shared, View(self)
        services, recorder = self.store.table(SERVICES), self.store.captures.recorder

        def is_developed(service: str) -> bool:
            row = services.lookup(service)
            return row is not None and row.kind is Kind.DEVELOPED

        recorder.is_developed = is_developed
        self._gateway = Gateway(
            routes=shared.routes,
            directory=shared.directory,
            observations=shared.observations,
            sessions=ManagedSessions(self.store.table(SESSIONS)),
            settings=settings.gateway,
            registry=shared.metrics,
            node_info={"name": "henslowe", "version": __version__},
            sticky_epoch_s=settings.delivery.sticky_epoch_s,
            private=ManagedConnections(),
            memory=Memory(
                tasks=ManagedTasks(self.store.table(TASKS)),
                holds=ManagedHolds(),
                versions=view.versions_of,
                replay=ManagedReplay(self.store.table(REPLAY)),
                results=ManagedResults(self.store.table(RESULTS)),
            ),
            health=shared.health,
            explain=view.explain,
            policy=Policy.of(settings.access.policy),
            resources=resources_of(settings),
            capture=recorder,
            extra=shared.extensions.methods(),
        )
        self._stack.callback(shared.directory.on_server_event(self._gateway.server_event))
        shared.instances.queued = self._gateway.queued
        shared.instances.sessions_at = self._gateway.sessions_at
        tasks = self.store.table(TASKS)
        shared.instances.working = lambda service: keeps_awake(services.lookup(service), tasks.by("service", service))
        admin = Admin(
            view,
            self.store.events,
            self.store.captures,
            shared.metrics,
            ManagedTokens(self.store.table(TOKENS)),
            Keeping(self.store, settings),
            TrafficTables(
                self.store.table(SESSIONS),
                self.store.table(TASKS),
                replay=self._gateway.replay,
                results=self._gateway.results,
                routes=shared.routes,
                directory=shared.directory,
            ),
            KeptVersions(self.store),
            service_folders(settings),
            RateLimiter(settings.admin.rate_per_s),
            Workings(self.store.table(HOOKS).rows, shared.extensions.board),
            keepalive_s=settings.gateway.sse_keepalive_s,
        )
        return application_maker(
            settings,
            self.address,
            token=token,
            board=shared.access,
            gateway=self._gateway,
            admin=admin,
            secrets=self.store.secrets.resolve,
        )


def _listen(settings: Settings) -> socket.socket:
    """The node's bound port; when a node of this workspace has it, the error says that instead."""
    try:
        return bind_tcp(check_listen(settings))
    except ListenFailed as error:
        running = holder(settings.data_dir)
        if running is None:
            raise
        raise busy(settings.data_dir, running) from error


def _child(id_: str, name: str, actor: type[GenActor], *args: Any, **kwargs: Any) -> ChildSpec:
    """A child with an id for people and a name for messages."""
    return ChildSpec(id=id_, actor=actor, args=args, kwargs=kwargs, name=name)


def _node_id(store: Store) -> str:
    """What marks this node's processes: its name and where its data is, since names need not be unique."""
    return f"{store.node}@{store.data_dir.resolve()}"


def _crash_said(report: CrashReport) -> None:
    """Every report of a supervisor is an event, too."""
    say(EventType.ACTOR_CRASHED, Status.FAILED, **report.as_dict())


async def _gone(ref: Ref) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    ref.watch(lambda *_: loop.call_soon_threadsafe(gone.set))
    await gone.wait()


async def _say(event: EventType, status: Status, **data: Any) -> None:
    await registry.via(names.BUS).call(Publish((draft(event, status, stream=Stream.LIFECYCLE, **data),)))


async def _declare(store: Store, settings: Settings, tools: Mapping[str, ToolService]) -> None:
    """Make the declared services those of the configuration and of the tools that extensions bring.

    New and changed ones are started, missing ones retired.
    """
    versions = registry.via(names.VERSIONS)
    for name, service in settings.services.items():
        alone = not (settings.workspace / "dev" / name).exists()
        await versions.call(DeclareService(service_name(name), launch_of(service), takes_over=alone), DECLARE_S)
    for name, tool in tools.items():
        await versions.call(DeclareService(service_name(name), tool.launch, tool.semver), DECLARE_S)
    for row in list(store.table(SERVICES).rows()):
        if row.kind is Kind.DECLARED and row.service not in settings.services and row.service not in tools:
            await versions.call(RetireService(row.service), DECLARE_S)


def launch_of(service: DeclaredService) -> LaunchSpec:
    """How a declared service is launched: pipes for a command alone, HTTP where there is a url."""
    return LaunchSpec(
        wire=Wire.HTTP if service.url else Wire.STDIO,
        command=service.command,
        url=service.url,
        cwd=service.cwd,
        env=dict(service.env),
        ready_timeout_s=service.ready_timeout_s,
    )
