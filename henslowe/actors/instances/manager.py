"""The manager keeps one instance per wanted version, each under a supervisor of its own.

`SERVICES` (dynamic) holds one supervisor per service, that one per version, that the instance, and beside it the
version's private connections, which somebody asks for and gives back (`private`). The inner two supervisors are
temporary children: when a version has used up its restarts, its supervisor gives up and nothing above or beside it
notices, but the manager does, by a monitor. The manager holds no process: after a crash it finds what runs by asking
the supervisors.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.endpoints import Connector, EndpointDirectory
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.instances.driver import ProcessDriver
from henslowe.actors.instances.instance import (
    History,
    Instance,
    Release,
    StartRefused,
    Surroundings,
    instance_name,
    tell_versions_and_router,
)
from henslowe.actors.instances.output import OutputRate
from henslowe.actors.instances.private import PrivateInstance, PrivateOrder
from henslowe.actors.kernel import (
    NOREPLY,
    SHUTDOWN,
    ActorExit,
    Backoff,
    CallTimeout,
    ChildInfo,
    ChildSpec,
    Down,
    LoopActor,
    MonitorRef,
    Ref,
    RestartType,
    StartChild,
    TerminateChild,
    WhichChildren,
    is_clean,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import Resolve
from henslowe.actors.messages import (
    DELIVERY,
    ClosePrivate,
    EnsureInstance,
    InstanceBroken,
    OpenPrivate,
    ReleaseInstance,
)
from henslowe.config.settings import InstanceSettings, Settings
from henslowe.errors import HensloweError, LimitReached, Unavailable

log = logging.getLogger(__name__)

SupervisorSpec = Callable[[str, int, float], ChildSpec]
"""Makes the spec of a temporary dynamic supervisor from its id, `max_restarts` and `max_seconds`. Supervisors live a
layer above the actors that they run, so the composition root says what one is."""

STOP_SPARE_S: Final = 3.0
"""Beyond an instance's own grace: for closing the connection and reading the last words."""
TERMINATE_S: Final = 30.0
"""Longest wait for a version's supervisor, which by then has nothing to stop."""
SERVICE_RESTARTS: Final = (0, 1.0)
"""A service's supervisor restarts nothing: its children are temporary."""


@dataclass(slots=True)
class _Wanted:
    """One version that runs, or is being stopped."""

    ensure: EnsureInstance
    history: History
    supervisor: Ref
    monitor: MonitorRef
    """Of the supervisor."""
    releasing: MonitorRef | None = None
    """Set while the instance drains: it is over when this monitor fires."""
    stopping: bool = False
    again: dict[str, EnsureInstance] = field(default_factory=dict)
    """By holder: asked for once more while it was being stopped."""
    drain_s: float = 30.0
    """While it is released: how long calls may take to finish, of the private connections and then of the instance."""


@dataclass(slots=True, frozen=True)
class _Private:
    """One private connection."""

    version: VersionKey
    ref: Ref
    monitor: MonitorRef


@dataclass(slots=True, frozen=True)
class _Stopped:
    """Sent to itself: everything of a version is gone."""

    version: VersionKey


class InstanceManager(LoopActor):
    """Answers `EnsureInstance`, `ReleaseInstance`, `OpenPrivate` and `ClosePrivate`; casts `InstanceBroken`.

    Args:
        settings: The node's settings; headers of remote services are in `services`.
        connector: Opens MCP connections.
        directory: Where endpoints are published.
        data_dir: The node's data directory.
        marker: `<node id>:<incarnation>`, for processes that outlive a crash of the node.
        supervisor: Makes specs of temporary dynamic supervisors.
        secrets: Resolves what variables and headers of services refer to.
    """

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        directory: EndpointDirectory,
        data_dir: Path,
        marker: str,
        *,
        supervisor: SupervisorSpec,
        secrets: Resolve = dict,
    ) -> None:
        super().__init__()
        self._settings: InstanceSettings = settings.instances
        self._supervisor = supervisor
        driver = ProcessDriver(
            connector,
            data_dir=data_dir,
            marker=marker,
            headers={name: declared.headers for name, declared in settings.services.items()},
            secrets=secrets,
        )
        kept = OutputRate(self._settings.output_lines_per_s, self._settings.output_bytes_per_s)
        self._around = Surroundings(driver, directory, self._settings.stop_grace_s, kept)
        self._wanted: dict[VersionKey, _Wanted] = {}
        self._numbers: dict[VersionKey, Iterator[int]] = {}
        self._private: dict[InstanceId, _Private] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def init(self) -> None:
        """Find what runs already, started by an earlier incarnation."""
        for service in await _children(registry.whereis(names.SERVICES)):
            for version in await _children(service.ref):
                for instance in await _children(version.ref):
                    if version.ref is None:
                        continue
                    if instance.spec.actor is Instance:
                        ensure, history, _ = instance.spec.args
                        self._adopt(_Wanted(ensure, history, version.ref, self.monitor(version.ref)))
                    elif instance.ref is not None:
                        order = instance.spec.args[0]
                        self._keep_private(order.ensure.version, order.instance, instance.ref)
        for version_key, wanted in self._wanted.items():
            if wanted.history.released:
                running = registry.whereis(instance_name(version_key))
                if running is None:
                    self._dismantle(version_key, wanted)
                else:
                    self._drain(version_key, wanted, running)

    async def handle_call(self, message: Any, sender: Any) -> Any:
        """Take `OpenPrivate`."""
        assert isinstance(message, OpenPrivate)
        version = message.version
        wanted = self._wanted.get(version)
        if wanted is None or wanted.stopping or wanted.releasing is not None or wanted.history.up is None:
            raise Unavailable(f"cannot open a private connection to {version}: it is not up")
        if (
            sum(each.version.service == version.service for each in self._private.values())
            >= self._settings.private_max
        ):
            raise LimitReached(
                f"cannot open a private connection to {version}: {self._settings.private_max} are open",
                hint="raise instances.private_max",
            )
        instance = InstanceId(f"{version}~{next(wanted.history.private_numbers)}")
        spec = ChildSpec(
            instance,
            PrivateInstance,
            args=(PrivateOrder(wanted.ensure, instance, message.client, wanted.history.url), self._around, sender),
            restart=RestartType.TEMPORARY,
            shutdown_s=self._settings.stop_grace_s + STOP_SPARE_S,
        )
        try:
            ref = await wanted.supervisor.call(StartChild(spec))
        except (ActorExit, CallTimeout) as failure:
            raise Unavailable(f"cannot open a private connection to {version}: {failure}") from failure
        self._keep_private(version, instance, ref)
        return NOREPLY

    async def handle_cast(self, message: Any) -> None:
        """Take `EnsureInstance`, `ReleaseInstance`, `ClosePrivate` and the instances' `StartRefused`."""
        if isinstance(message, EnsureInstance):
            await self._ensure(message)
        elif isinstance(message, ReleaseInstance):
            self._release(message)
        elif isinstance(message, ClosePrivate):
            private = self._private.get(message.instance)
            if private is not None:
                private.ref.cast(Release(message.drain_s))
        elif isinstance(message, StartRefused):
            wanted = self._wanted.get(message.version)
            if wanted is not None and not wanted.stopping:
                self._broken(message.version, message.reason)
                self._dismantle(message.version, wanted)

    async def handle_info(self, message: Any) -> None:
        """Take the ends of supervisors and of released instances."""
        if isinstance(message, Down):
            for instance, private in self._private.items():
                if message.mref is private.monitor:
                    del self._private[instance]
                    self._drain_instance(private.version)
                    return
            for version, wanted in self._wanted.items():
                if message.mref is wanted.releasing:
                    self._dismantle(version, wanted)
                    return
                if message.mref is wanted.monitor:
                    await self._supervisor_down(version, wanted, message.reason)
                    return
        elif isinstance(message, _Stopped):
            wanted = self._wanted.pop(message.version)
            self.demonitor(wanted.monitor)
            await self._ensure_again(wanted)

    def terminate(self, _reason: Any) -> None:
        """Leave the instances to their supervisors."""
        for task in self._tasks:
            task.cancel()

    def _adopt(self, wanted: _Wanted) -> None:
        version = wanted.ensure.version
        self._wanted[version] = wanted
        self._numbers[version] = wanted.history.numbers

    # -- wanting and not wanting ----------------

    async def _ensure(self, ensure: EnsureInstance) -> None:
        wanted = self._wanted.get(ensure.version)
        if wanted is None:
            await self._start(ensure)
        elif wanted.stopping or wanted.releasing is not None:
            wanted.again[ensure.holder] = ensure
        else:
            wanted.history.holders.add(ensure.holder)
            if wanted.history.up is not None and ensure.holder == DELIVERY:  # nobody else is told
                tell_versions_and_router(wanted.history.up)

    async def _ensure_again(self, ended: _Wanted) -> None:
        for ensure in ended.again.values():
            await self._ensure(ensure)

    async def _start(self, ensure: EnsureInstance) -> None:
        version, settings = ensure.version, self._settings
        history = History(self._numbers.setdefault(version, itertools.count(1)), holders={ensure.holder})
        # Where supervisors were killed, their instances are stopping still, and hold the name.
        await _ended(registry.whereis(instance_name(version)), settings.stop_grace_s + STOP_SPARE_S)
        try:
            service = await self._service(version.service)
            spec = self._supervisor(str(version), settings.max_restarts, settings.max_seconds)
            supervisor = await service.call(StartChild(spec))
            assert isinstance(supervisor, Ref)
            self._wanted[version] = _Wanted(ensure, history, supervisor, self.monitor(supervisor))
            backoff = Backoff(
                first_s=settings.backoff_first_s, max_s=max(settings.backoff_first_s, settings.backoff_max_s)
            )
            await supervisor.call(
                StartChild(
                    ChildSpec(
                        "instance",
                        Instance,
                        args=(ensure, history, self._around),
                        name=instance_name(version),
                        restart=RestartType.TRANSIENT,
                        shutdown_s=settings.stop_grace_s + STOP_SPARE_S,
                        backoff=backoff,
                    )
                )
            )
        except (HensloweError, ActorExit, CallTimeout) as failure:
            self._broken(version, f"cannot start {version}: {failure}")
            if version in self._wanted:
                self._dismantle(version, self._wanted[version])

    async def _service(self, service: ServiceName) -> Ref:
        """The service's supervisor, started when there is none."""
        services = registry.via(names.SERVICES)
        for child in await services.call(WhichChildren()):
            if child.id == service and child.ref is not None and child.ref.is_alive():
                found: Ref = child.ref
                return found
        started = await services.call(StartChild(self._supervisor(service, *SERVICE_RESTARTS)))
        assert isinstance(started, Ref)
        return started

    def _release(self, release: ReleaseInstance) -> None:
        wanted = self._wanted.get(release.version)
        if wanted is None:
            return
        wanted.again.pop(release.holder, None)
        wanted.history.holders.discard(release.holder)
        if wanted.stopping or wanted.history.holders:
            return
        instance = registry.whereis(instance_name(release.version))
        if instance is None or wanted.history.up is None:
            self._dismantle(release.version, wanted)  # starting, or waiting for its restart: nothing to drain
        elif wanted.releasing is None:
            wanted.history.released, wanted.drain_s = True, release.drain_s
            self._drain(release.version, wanted, instance)

    def _keep_private(self, version: VersionKey, instance: InstanceId, ref: Ref) -> None:
        self._private[instance] = _Private(version, ref, self.monitor(ref))

    # -- ends ----------------

    def _drain(self, version: VersionKey, wanted: _Wanted, instance: Ref) -> None:
        """Let what runs of a version finish. Private connections go first: they may be to the instance's process."""
        wanted.releasing = self.monitor(instance)
        for private in self._private.values():
            if private.version == version:
                private.ref.cast(Release(wanted.drain_s))
        self._drain_instance(version)

    def _drain_instance(self, version: VersionKey) -> None:
        """Release the instance of a version that is on its way out, once its private connections have ended."""
        wanted, instance = self._wanted.get(version), registry.whereis(instance_name(version))
        if wanted is None or wanted.releasing is None or wanted.stopping or instance is None:
            return
        if not any(private.version == version for private in self._private.values()):
            instance.cast(Release(wanted.drain_s))

    async def _supervisor_down(self, version: VersionKey, wanted: _Wanted, reason: Any) -> None:
        if wanted.stopping:
            return  # `_Stopped` follows
        del self._wanted[version]
        if wanted.releasing is not None:
            self.demonitor(wanted.releasing)
        elif wanted.history.crash:
            self._broken(version, f"restarted too often: {wanted.history.crash}")
        elif not is_clean(reason):
            self._broken(version, f"its supervisor ended: {reason!r}")
        await self._ensure_again(wanted)

    def _dismantle(self, version: VersionKey, wanted: _Wanted) -> None:
        """Stop everything of a version, without waiting for it here."""
        wanted.stopping = True
        if wanted.releasing is not None:
            self.demonitor(wanted.releasing)
            wanted.releasing = None
        self._spawn(self._terminate_version(version))

    async def _terminate_version(self, version: VersionKey) -> None:
        # The instance is asked itself, so that the service's supervisor, which waits for the end of those that it
        # stops, has time for other versions meanwhile.
        await _ended(registry.whereis(instance_name(version)), self._settings.stop_grace_s + STOP_SPARE_S)
        try:
            for service in await _children(registry.whereis(names.SERVICES)):
                if service.id == version.service and service.ref is not None:
                    await service.ref.call(TerminateChild(str(version)), timeout_s=TERMINATE_S)
        except (HensloweError, ActorExit, CallTimeout) as failure:
            log.info("version_was_gone", extra={"version": str(version), "cause": str(failure)})
        self.ref.send(_Stopped(version))

    def _broken(self, version: VersionKey, reason: str) -> None:
        tell_versions_and_router(InstanceBroken(version, reason))
        registry.via(names.HOLDS).cast(InstanceBroken(version, reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ended(instance: Ref | None, timeout_s: float) -> None:
    """Tell an instance to end, and wait for it."""
    if instance is None:
        return
    gone = asyncio.get_running_loop().create_future()
    cancel = instance.watch(lambda _ref, reason: None if gone.done() else gone.set_result(reason))
    instance.exit(SHUTDOWN)
    await asyncio.wait([gone], timeout=timeout_s)
    cancel()


async def _children(supervisor: Ref | None) -> tuple[ChildInfo, ...]:
    """The children of a supervisor; none when it is not there."""
    if supervisor is None:
        return ()
    try:
        found: tuple[ChildInfo, ...] = await supervisor.call(WhichChildren())
    except (ActorExit, CallTimeout):
        return ()
    return found
