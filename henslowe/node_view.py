"""The node as its operators see it: replies of the admin API, put together from published snapshots and tables.

Nothing here changes anything but by a message to the actor that owns it, and nothing here is cached: what is shown is
what is so now. The shapes are `henslowe.transport.admin.models`'; who may ask is the admin API's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from henslowe import __version__
from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.health import HealthBoard
from henslowe.actors.hooks import HOOKS, complaints
from henslowe.actors.ids import VersionKey, service_name
from henslowe.actors.instances import InstanceBoard
from henslowe.actors.journal import draft
from henslowe.actors.kernel import Ref
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Action, AnnounceSources, Command, LineAction, LineCommand, Publish, Rebuild
from henslowe.actors.modules import ModuleBoard
from henslowe.actors.pipeline import Listener, Trial, followed
from henslowe.actors.sessions import SESSIONS
from henslowe.actors.traffic import TrafficStats
from henslowe.actors.versions import (
    LINE,
    PENDING,
    SERVICES,
    VERSIONS,
    Halts,
    Kind,
    ServiceRow,
    VersionRow,
    VersionState,
)
from henslowe.actors.versions.line import halts_of
from henslowe.actors.vocabulary import STAGE_EVENTS, EventType, Status, Stream
from henslowe.actors.watcher import WatcherBoard
from henslowe.config.provenance import Loaded
from henslowe.errors import Conflict, NotFound
from henslowe.node_exposures import comparison_reply, newest_replay, staged_detail
from henslowe.node_health import asleep, health_replies, instance_replies, scale_reply
from henslowe.node_replies import (
    actor_reply,
    asked_of,
    calls_reply,
    count_actors,
    evidence_of,
    failure_reply,
    health_reply,
    number_of,
    slot_reply,
    standing_of,
    state_word,
    unserved,
    version_reply,
)
from henslowe.node_rollouts import (
    command_reply,
    freeze_reply,
    halt_reply,
    node_freeze_reply,
    rollout_reply,
    waiting_detail,
)
from henslowe.storage import Store
from henslowe.supervisors import tree_snapshot
from henslowe.transport.admin.models.base import ActionName, LineName
from henslowe.transport.admin.models.node import ActorReply, HealthCheckReply, HealthReply, NodeReply
from henslowe.transport.admin.models.services import ServiceReply
from henslowe.transport.admin.models.versions import VersionsReply

COMMAND_TIMEOUT_S = 60.0
NOTICED_S = 5.0
"""Longest wait for the watcher to see a folder that is there: somebody has just made it."""
NOTICED_LOOK_S = 0.05
"""A rollback to a version that is not warm waits for its instance."""
STAGE_EVENTS_LOOKED_AT = 24
"""Enough to hold every stage event of one version's run."""

_STAGE_STARTS = {start.value: stage for stage, (start, _) in STAGE_EVENTS.items()}
_STAGE_ENDS = {end.value: stage for stage, (_, end) in STAGE_EVENTS.items()}


class Boards(Protocol):
    """The published snapshots that the view reads."""

    @property
    def directory(self) -> EndpointDirectory:
        """Endpoints that are up."""
        ...

    @property
    def health(self) -> HealthBoard:
        """How the instances do."""
        ...

    @property
    def instances(self) -> InstanceBoard:
        """Which there are, and what each does."""
        ...

    @property
    def traffic(self) -> TrafficStats:
        """Calls by service."""
        ...

    @property
    def watcher(self) -> WatcherBoard:
        """How the sources are watched."""
        ...


class RunningNode(Protocol):
    """What the view needs of a node, as `henslowe.node.Node` is one."""

    @property
    def loaded(self) -> Loaded:
        """Its settings."""
        ...

    @property
    def store(self) -> Store:
        """Its tables and events."""
        ...

    @property
    def shared(self) -> Boards:
        """Its published snapshots."""
        ...

    @property
    def url(self) -> str:
        """Where clients find it."""
        ...

    @property
    def started_s(self) -> float:
        """Unix time."""
        ...

    @property
    def module_board(self) -> ModuleBoard:
        """How extensions do."""
        ...

    @property
    def stopping(self) -> asyncio.Event:
        """To be set for it to stop."""
        ...

    @property
    def draining(self) -> bool:
        """Whether it is stopping."""
        ...

    @property
    def root(self) -> Ref:
        """The root supervisor."""
        ...


class View:
    """`henslowe.transport.admin.ports.NodeView` over a running node. Runs in: the node's loop."""

    def __init__(self, node: RunningNode) -> None:
        self._node = node
        self._services = node.store.table(SERVICES)
        self._versions = node.store.table(VERSIONS)
        self._hooks = node.store.table(HOOKS)
        self._pending = node.store.table(PENDING)

    # -- reading ----------------

    def status(self) -> NodeReply:
        """The node and all its services, by name."""
        node = self._node
        sources, halts = self._sources(), self._halts()
        stopped = halts.line.stopped
        rows = sorted((row for row in self._services.rows() if not row.retired), key=lambda row: row.service)
        services = tuple(self._service(row, sources, halts) for row in rows)
        return NodeReply(
            name=node.loaded.settings.name,
            version=__version__,
            pid=os.getpid(),
            url=node.url,
            workspace=str(node.loaded.settings.workspace),
            data=str(node.loaded.settings.data_dir),
            uptime_s=round(time.time() - node.started_s, 3),
            health=self.health(),
            stopped=halt_reply(stopped) if stopped is not None else None,
            freeze=node_freeze_reply(halts),
            services=services,
            sessions=len(node.store.table(SESSIONS)),
            actors=count_actors(tree_snapshot(node.root)),
            last_seq=node.store.events.last_seq(),
            captures=node.store.captures.info().exchanges,
        )

    async def tree(self) -> ActorReply:
        """The supervision tree, from its root."""
        return actor_reply(tree_snapshot(self._node.root))

    def versions(self, service: str) -> VersionsReply:
        """The versions of a service, newest first."""
        row = self._row(service)
        found = sorted(self._versions.by("service", row.service), key=lambda each: -each.number)
        return VersionsReply(service=service, versions=tuple(version_reply(each, row) for each in found))

    def config(self) -> Loaded:
        """The settings with their origins."""
        return self._node.loaded

    def health(self) -> HealthReply:
        """Whether the tree stands, the writer accepts and the sources are watched."""
        degraded, damage = self._node.store.degraded, self._node.store.damage
        problems = self._node.shared.watcher.current.problems
        return health_reply(
            HealthCheckReply(name="tree", ok=self._node.root.is_alive()),
            # What is read still is: the node serves, and must not be restarted for it.
            HealthCheckReply(name="storage", ok=not degraded, detail=degraded, degrades=True),
            HealthCheckReply(name="stored data", ok=not damage, detail=damage, degrades=True),
            # Polling costs time, not truth: it is shown, and the node is not called unhealthy for it.
            HealthCheckReply(name="hooks", ok=True, detail="; ".join(self._untold())),
            HealthCheckReply(name="modules", ok=True, detail="; ".join(self._troubled())),
            HealthCheckReply(name="watcher", ok=True, detail="; ".join(problem.text for problem in problems)),
        )

    def _untold(self) -> list[str]:
        """Hooks whose last news did not arrive: what happened has happened, and somebody does not know."""
        return [
            f"hook {row.name} of {row.service} was not told of {row.point.value}: {row.reason}"
            for row in complaints(self._hooks.rows())
        ]

    def _troubled(self) -> list[str]:
        """Extensions that do not run as they should."""
        troubled = self._node.module_board.troubled()
        return [f"{each.found.kind} {each.found.name} is {each.state}: {each.reason}" for each in troubled]

    def ready(self) -> HealthReply:
        """Whether traffic should be sent here."""
        missing = [name for name in (names.ROUTER, names.VERSIONS, names.INSTANCES) if registry.whereis(name) is None]
        return health_reply(
            *self.health().checks,
            HealthCheckReply(name="actors", ok=not missing, detail=", ".join(missing)),
            HealthCheckReply(name="accepting", ok=not self._node.draining),
        )

    def versions_of(self, service: str) -> Sequence[VersionRow]:
        """The rows of a service's versions, for whoever looks for one; none where it was removed."""
        row = self._services.lookup(service)
        return () if row is None or row.retired else self._versions.by("service", row.service)

    def explain(self, service: str) -> str:
        """Why none of the versions of a service serves, for those who call it; "" where there is no such service."""
        row = self._services.lookup(service)
        if row is None or row.retired:
            return ""
        return unserved(row, self._versions.lookup((row.service, row.last_number)))

    # -- acting ----------------

    async def command(
        self,
        service: str,
        action: ActionName,
        *,
        by: str,
        reason: str = "",
        to_version: int | None = None,
        expected_epoch: int | None = None,
        until_s: float | None = None,
        override_freeze: str = "",
        skip_hooks: str = "",
    ) -> Mapping[str, Any]:
        """A person's command, decided by the version machine."""
        if action == "remove" and service in self._sources():
            raise Conflict(
                f"cannot remove {service}: its folder dev/{service} is still there",
                hint=f"delete or rename dev/{service}, then: henslowe remove {service}",
            )
        command = Command(
            service_name(service),
            Action(action),
            by,
            reason,
            expected_epoch,
            to_version,
            until_s,
            override_freeze,
            skip_hooks,
        )
        reply: Mapping[str, Any] = await registry.via(names.VERSIONS).call(command, COMMAND_TIMEOUT_S)
        if action == "remove":
            registry.via(names.WATCHER).cast(AnnounceSources(command.service))
        return reply

    async def line(self, action: LineName, *, by: str, reason: str, until_s: float | None) -> Mapping[str, Any]:
        """A person's command on all services at once, and what holds for them after it."""
        message = LineCommand(LineAction(action), by, reason, until_s)
        reply: Mapping[str, Any] = await registry.via(names.VERSIONS).call(message, COMMAND_TIMEOUT_S)
        stopped = self._halts().line.stopped
        return {
            **reply,
            "stopped": halt_reply(stopped) if stopped is not None else None,
            "freeze": node_freeze_reply(self._halts()),
        }

    async def rebuild(self, service: str, *, by: str) -> int:
        """Run the pipeline again; the number of the version that it makes."""
        self._developed("build", service)
        key: VersionKey = await registry.via(names.PIPELINE).call(Rebuild(service_name(service), by), COMMAND_TIMEOUT_S)
        return key.number

    async def run(self, service: str, *, stage: str, cache: bool, by: str) -> AsyncGenerator[dict[str, Any], None]:
        """Run stages for whoever asks; see `henslowe.actors.pipeline.trial`."""
        name = service_name(service)
        folder = self._node.loaded.settings.workspace / "dev" / name
        if not folder.is_dir():
            self._developed("run", service)

        async def start(listener: Listener) -> Ref:
            trial, until_s = Trial(name, listener, by, stage, cache), time.monotonic() + NOTICED_S
            while True:
                try:
                    ref: Ref = await registry.via(names.PIPELINE).call(trial, COMMAND_TIMEOUT_S)
                except NotFound:
                    if not folder.is_dir() or time.monotonic() >= until_s:
                        raise
                    await asyncio.sleep(NOTICED_LOOK_S)
                else:
                    return ref

        async with contextlib.aclosing(followed(start, name)) as events:
            async for event in events:
                yield event

    def _developed(self, verb: str, service: str) -> None:
        """Raise where a service has no pipeline.

        Raises:
            NotFound: There is no such service.
            Conflict: It is declared.
        """
        row = self._row(service)
        if row.kind is Kind.DECLARED and not row.retired:
            raise Conflict(
                f"cannot {verb} {service}: it is declared in henslowe.toml and has no sources here",
                hint=f"henslowe restart {service} starts it anew",
            )

    def stop(self, *, by: str) -> None:
        """Have the node stop, once the answer to this request is on its way."""
        said = draft(EventType.COMMAND, Status.SUCCESS, stream=Stream.LIFECYCLE, command="stop", by=by)
        registry.via(names.BUS).cast(Publish((said,)))
        asyncio.get_running_loop().call_later(0.05, self._node.stopping.set)

    # -- one service ----------------

    def _row(self, service: str) -> ServiceRow:
        row = self._services.lookup(service)
        if row is None:
            known = ", ".join(sorted(each.service for each in self._services.rows() if not each.retired)) or "none"
            raise NotFound(f"there is no service {service!r}", hint=f"services: {known}", service=service)
        return row

    def _sources(self) -> frozenset[str]:
        """Names of the folders under `dev/`, from the disk: the watcher's list follows it a moment later."""
        try:
            with os.scandir(self._node.loaded.settings.workspace / "dev") as entries:
                return frozenset(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return frozenset()

    def _halts(self) -> Halts:
        """What stops new versions of all services now."""
        return halts_of(self._node.store.table(LINE), self._node.loaded.settings.freeze.windows, time.time())

    def _service(self, row: ServiceRow, sources: frozenset[str], halts: Halts) -> ServiceReply:
        shared = self._node.shared
        versions = {version.number: version for version in self._versions.by("service", row.service)}
        traffic = shared.traffic.current.get(row.service)
        up = shared.directory.of_service(row.service)
        staged = versions.get(row.staged)
        crew = shared.instances.of(row.key_of(row.active)) if row.active else None
        healthy = not row.active or any(endpoint.version.number == row.active for endpoint in up)
        healthy = healthy and (crew is None or not crew.wake_failure)
        building = max(
            (v for v in versions.values() if v.state is VersionState.DEVELOPMENT), default=None, key=number_of
        )
        failure = failure_reply(row, versions, healthy=healthy)
        active = next((endpoint for endpoint in up if endpoint.version.number == row.active), None)
        return ServiceReply(
            name=row.service,
            state=state_word(row, building, failure, healthy=healthy, asleep=bool(asleep(crew))),
            healthy=healthy,
            kind="declared" if row.kind is Kind.DECLARED else "developed",
            path=f"/mcp/{row.service}",
            strategy=row.strategy.value,
            held=row.held,
            epoch=row.epoch,
            building=slot_reply(building, self._running_stages(building)) if building is not None else None,
            staged=slot_reply(
                staged,
                waiting_detail(row, staged, halts, up=any(each.version.number == row.staged for each in up))
                or staged_detail(staged),
            ),
            canary=slot_reply(versions.get(row.canary)),
            active=slot_reply(versions.get(row.active), asleep(crew) or standing_of(row)),
            previous=slot_reply(versions.get(row.previous)),
            canary_percent=row.canary_weight / 100 if row.canary else 0.0,
            freeze=freeze_reply(row, halts),
            rollout=rollout_reply(row, versions, traffic, halts),
            replay=newest_replay(row, versions),
            comparison=comparison_reply(row, traffic),
            evidence=evidence_of(row, traffic),
            hooks=asked_of(row, hooks := self._hooks.by("service", row.service)),
            waiting=command_reply(self._pending.lookup(row.service), hooks),
            tools=len(active.contract.tools) if active is not None else 0,
            instances=tuple(instance_replies(row, shared.instances, shared.health, traffic)),
            scale=scale_reply(crew),
            health=tuple(health_replies(row, traffic)),
            calls=calls_reply(traffic),
            failure=failure,
            sources_gone=row.kind is Kind.DEVELOPED and row.service not in sources,
        )

    def _running_stages(self, building: VersionRow) -> str:
        """The stages that have begun and not ended, from the newest events of the service."""
        newest = self._node.store.events.read(
            services=building.service, streams=("activity",), newest_first=True, limit=STAGE_EVENTS_LOOKED_AT
        )
        ended: set[str] = set()
        running: list[str] = []
        for event in newest:
            if event.version != building.number:
                continue
            if event.type in _STAGE_ENDS or event.type == EventType.STAGE_COMPLETE:
                ended.add(str(event.data.get("stage") or _STAGE_ENDS.get(event.type, "")))
            elif event.type in _STAGE_STARTS or event.type == EventType.STAGE_START:
                stage = str(event.data.get("stage") or _STAGE_STARTS.get(event.type, ""))
                if stage not in ended:
                    running.append(stage)
        return " + ".join(reversed(running))
