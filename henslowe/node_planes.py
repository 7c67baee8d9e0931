"""The wiring of a node: which actor runs in which plane, and what each is given.

Which plane restarts with which is in `henslowe.supervisors.planes`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Sequence
from typing import Any

from henslowe.actors import names
from henslowe.actors.access import AccessKeeper
from henslowe.actors.bus import EventBus
from henslowe.actors.context import ContextKeeper
from henslowe.actors.holds import HoldKeeper
from henslowe.actors.hooks import HOOKS, Configured, HookGates, HookKeeper, Surroundings
from henslowe.actors.ids import ServiceName
from henslowe.actors.instances import InstanceManager, Prober, Scaler
from henslowe.actors.kernel import ChildSpec, GenActor
from henslowe.actors.modules import ModuleKeeper
from henslowe.actors.pipeline import PipelineExecutor, restore, sweep_unknown
from henslowe.actors.rehearsal import Rehearsal
from henslowe.actors.replay import ReplayKeeper
from henslowe.actors.results import ResultKeeper
from henslowe.actors.router import CanaryRouter
from henslowe.actors.sessions import SessionManager
from henslowe.actors.tasks import TaskKeeper
from henslowe.actors.transforms import TransformRegistry
from henslowe.actors.upkeep import Upkeep
from henslowe.actors.versions import SERVICES, VERSIONS, VersionMachine
from henslowe.actors.watcher import Watcher
from henslowe.config.settings import Settings
from henslowe.node_shared import Shared
from henslowe.storage import Store
from henslowe.supervisors.planes import Planes, contained_supervisor, dynamic_plane
from henslowe.transport.listener import AppMaker, Listener
from henslowe.transport.mcp import DormantEndpoint, McpConnector
from henslowe.transport.mcp.plugged import PluggedConnector
from henslowe.transport.tls import certificate_of
from henslowe.transport.webhooks import Webhooks


def planes_of(
    settings: Settings, store: Store, shared: Shared, make_app: AppMaker, sockets: Sequence[socket.socket]
) -> Planes:
    """What runs where, each with the constructor's arguments: the wiring of the node."""
    extensions = shared.extensions
    connector = PluggedConnector(
        McpConnector(settings.instances, name=settings.name), extensions.transport, extensions.board.called
    )
    services, versions = store.table(SERVICES), store.table(VERSIONS)
    upkeep = Upkeep(settings, lambda version: versions.lookup((version.service, version.number)))
    marker = f"{node_id(store)}:{store.incarnation}"
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
            _child("pipeline executor", names.PIPELINE, PipelineExecutor, store, settings, connector, marker=marker),
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


def node_id(store: Store) -> str:
    """What marks this node's processes: its name and where its data is, since names need not be unique."""
    return f"{store.node}@{store.data_dir.resolve()}"


def _child(id_: str, name: str, actor: type[GenActor], *args: Any, **kwargs: Any) -> ChildSpec:
    """A child with an id for people and a name for messages."""
    return ChildSpec(id=id_, actor=actor, args=args, kwargs=kwargs, name=name)
