"""The manager keeps a crew of instances per wanted version, each version under a supervisor of its own.

`SERVICES` (dynamic) holds one supervisor per service, that one per version, that the instances, and beside them the
version's private connections, which somebody asks for and gives back (`private`). The inner two supervisors are
temporary children: when a version has used up its restarts, its supervisor gives up and nothing above or beside it
notices, but the manager does, by a monitor. The manager holds no process: after a crash it finds what runs by asking
the supervisors.

How many instances there are is a number in the crew; `staffing` sees to it, `opening` to the private connections. A
version that sleeps has a supervisor without instances, and in the directory what wakes it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.endpoints import Connector, EndpointDirectory
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.instances.crew import Crew, Duty, InstanceBoard
from henslowe.actors.instances.driver import ProcessDriver
from henslowe.actors.instances.instance import (
    Instance,
    Ready,
    Release,
    StartRefused,
    Surroundings,
    instance_name,
    tell_versions_and_router,
)
from henslowe.actors.instances.opening import Openings
from henslowe.actors.instances.output import OutputRate
from henslowe.actors.instances.staffing import STOP_SPARE_S, DormantOf, Left, Staffing, Wanted
from henslowe.actors.instances.supervision import Supervisors, SupervisorSpec, children, ended, instances_of
from henslowe.actors.kernel import (
    NOREPLY,
    ActorExit,
    CallTimeout,
    Down,
    LoopActor,
    Ref,
    Reply,
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
    ReplaceInstance,
    ScaleVersion,
    SleepVersion,
    WakeVersion,
)
from henslowe.config.settings import InstanceSettings, Settings
from henslowe.config.upkeep import ScaleSettings, laid_over
from henslowe.errors import HensloweError

log = logging.getLogger(__name__)

ALONE: Final = ScaleSettings()
"""Of a remote server, which is not ours to multiply."""


@dataclass(slots=True, frozen=True)
class _Stopped:
    """Sent to itself: everything of a version is gone."""

    version: VersionKey


class InstanceManager(LoopActor):
    """Answers `EnsureInstance`, `ReleaseInstance`, what scales, `OpenPrivate`, `ClosePrivate`; casts `InstanceBroken`.

    Args:
        settings: The node's settings; headers of remote services are in `services`.
        connector: Opens MCP connections.
        directory: Where endpoints are published.
        data_dir: The node's data directory.
        marker: `<node id>:<incarnation>`, for processes that outlive a crash of the node.
        supervisor: Makes specs of temporary dynamic supervisors.
        secrets: Resolves what variables and headers of services refer to.
        board: Where the crews are published; it outlives a crash of this actor.
        dormant: Makes what stands in for a version that sleeps; None where none ever does.
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
        board: InstanceBoard | None = None,
        dormant: DormantOf | None = None,
    ) -> None:
        super().__init__()
        self._settings: InstanceSettings = settings.instances
        self._scale = settings.scale
        self._declared = {name: declared.scale for name, declared in settings.services.items()}
        self._supervisors = Supervisors(supervisor)
        self._directory = directory
        self._board = board or InstanceBoard()
        driver = ProcessDriver(
            connector,
            data_dir=data_dir,
            marker=marker,
            headers={name: declared.headers for name, declared in settings.services.items()},
            secrets=secrets,
        )
        kept = OutputRate(self._settings.output_lines_per_s, self._settings.output_bytes_per_s)
        self._around = Surroundings(driver, directory, self._settings.stop_grace_s, kept)
        self._wanted: dict[VersionKey, Wanted] = {}
        self._numbers: dict[VersionKey, Iterator[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._openings = Openings(self, self._around, self._settings)
        self._staffing = Staffing(
            self,
            self._around,
            self._settings,
            self._openings.private,
            dormant=dormant,
            drain_s=settings.delivery.drain_s,
            sessions_at=lambda instance: self._board.sessions_at(instance),  # noqa: PLW0108 - set later
        )

    async def init(self) -> None:
        """Find what runs already, started by an earlier incarnation."""
        for service in await children(registry.whereis(names.SERVICES)):
            for version in await children(service.ref):
                if version.ref is not None:
                    await self._find(str(version.id), version.ref)
        for key in [key for key in self._board.crews if key not in self._wanted]:
            self._board.crews.pop(key).close()
        for wanted in tuple(self._wanted.values()):
            await self._go_on(wanted)

    async def handle_call(self, message: Any, sender: Reply) -> Any:
        """Take `OpenPrivate`."""
        assert isinstance(message, OpenPrivate)
        wanted = self._wanted.get(message.version)
        if await self._openings.open(wanted, message, sender) and wanted is not None:
            await self._staff(wanted, self._staffing.wake(wanted))
        return NOREPLY

    async def handle_cast(self, message: Any) -> None:
        """Take what others want, and what the instances tell."""
        match message:
            case EnsureInstance():
                await self._ensure(message)
            case ReleaseInstance():
                self._release(message)
            case ClosePrivate():
                private = self._openings.private.get(message.instance)
                if private is not None:
                    private.ref.cast(Release(message.drain_s))
            case _:
                wanted = self._wanted.get(message.version)
                if wanted is not None and not wanted.stopping:
                    await self._heard(wanted, message)

    async def _heard(self, wanted: Wanted, message: Any) -> None:
        """What is about a version that runs or sleeps."""
        staffing = self._staffing
        match message:
            case StartRefused():
                await self._refused(wanted, message)
            case Ready():
                staffing.awake(wanted)
                await self._openings.go_on(wanted)
                await self._staff(wanted, staffing.reconcile(wanted))
            case WakeVersion(version):
                # All of the service, the one that is called first: the previous version is to be warm where one serves.
                await self._staff(wanted, staffing.wake(wanted))
                for other in [each for key, each in self._wanted.items() if key.service == version.service]:
                    if not other.leaving:
                        await self._staff(other, staffing.wake(other))
            case SleepVersion():
                await self._staff(wanted, staffing.sleep(wanted, message))
            case ScaleVersion() if wanted.crew.serving and wanted.crew.ready_once:
                await self._staff(wanted, staffing.scale(wanted, message))
            case ReplaceInstance():
                await self._staff(wanted, staffing.replace(wanted, message))

    async def handle_info(self, message: Any) -> None:
        """Take the ends of supervisors, of instances and of private connections."""
        match message:
            case Down():
                await self._down(message)
            case Left(version, slot):
                await self._left(version, slot)
            case _Stopped():
                wanted = self._wanted.pop(message.version)
                self.demonitor(wanted.monitor)
                self._forget(wanted)
                await self._ensure_again(wanted)

    def terminate(self, _reason: Any) -> None:
        """Leave the instances to their supervisors."""
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """See `Owner.spawn`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- after a crash of this actor ----------------

    async def _find(self, id_: str, supervisor: Ref) -> None:
        crew = next((crew for key, crew in self._board.crews.items() if str(key) == id_), None)
        for child in await children(supervisor):
            if child.spec.actor is Instance:
                crew = child.spec.args[0]
            elif child.ref is not None:
                self._openings.keep(child.spec.args[0], child.ref)
        if crew is not None:
            self._keep(Wanted(crew, supervisor, self.monitor(supervisor)))

    async def _go_on(self, wanted: Wanted) -> None:
        crew = wanted.crew
        for slot, member in list(crew.members.items()):
            actor = registry.whereis(instance_name(crew.version, slot))
            if member.duty is Duty.DRAINING and actor is None:
                del crew.members[slot]
            elif actor is not None and (member.duty is Duty.DRAINING or crew.released):
                self._staffing.drain(wanted, slot, actor)
        if crew.released and not wanted.draining:
            self._dismantle(wanted)
        await self._staff(wanted, self._staffing.reconcile(wanted))

    def _keep(self, wanted: Wanted) -> None:
        version = wanted.crew.version
        self._wanted[version] = wanted
        self._board.crews[version] = wanted.crew
        self._numbers[version] = wanted.crew.numbers

    def _forget(self, wanted: Wanted) -> None:
        """The version is no more: nothing stands for it, and nobody waits for it."""
        self._board.crews.pop(wanted.crew.version, None)
        wanted.crew.close()
        self._openings.give_up(wanted, "it ended")

    # -- wanting and not wanting ----------------

    async def _ensure(self, ensure: EnsureInstance) -> None:
        wanted = self._wanted.get(ensure.version)
        if wanted is None:
            await self._start(ensure)
        elif wanted.leaving:
            wanted.again[ensure.holder] = ensure
        else:
            wanted.crew.holders.add(ensure.holder)
            if ensure.holder != DELIVERY:  # nobody else is told, or needs it awake before a call
                return
            if wanted.crew.dormant is not None:
                await self._staff(wanted, self._staffing.wake(wanted))
            elif wanted.crew.ready_once and wanted.crew.up is not None:
                tell_versions_and_router(wanted.crew.up)

    async def _ensure_again(self, over: Wanted) -> None:
        for ensure in over.again.values():
            await self._ensure(ensure)

    async def _start(self, ensure: EnsureInstance) -> None:
        version, settings = ensure.version, self._settings
        scale = self._scale_of(ensure)
        crew = Crew(
            ensure,
            self._directory,
            self._numbers.setdefault(version, itertools.count(1)),
            scale,
            holders={ensure.holder},
            serving=self._beginning(version.service, scale),
            standby=scale.standby,
        )
        # Where supervisors were killed, their instances are stopping still, and hold the names.
        await ended(instances_of(version), settings.stop_grace_s + STOP_SPARE_S)
        try:
            restarts = settings.max_restarts * max(1, scale.most + scale.standby)
            supervisor = await self._supervisors.start(version, restarts, settings.max_seconds)
        except (HensloweError, ActorExit, CallTimeout) as failure:
            self._broken(version, f"cannot start {version}: {failure}")
            return
        wanted = Wanted(crew, supervisor, self.monitor(supervisor))
        self._keep(wanted)
        await self._staff(wanted, self._staffing.reconcile(wanted))

    def _scale_of(self, ensure: EnsureInstance) -> ScaleSettings:
        if ensure.launch.remote:
            return ALONE
        declared = self._declared.get(ensure.version.service)
        return laid_over(self._scale, *([declared] if declared is not None else []), ensure.scale)

    def _beginning(self, service: ServiceName, scale: ScaleSettings) -> int:
        """How many instances a version begins with: as many as the one that it may follow has now."""
        others = (crew.serving for crew in self._board.of_service(service))
        return min(max(1, scale.min, *others), scale.most)

    def _release(self, release: ReleaseInstance) -> None:
        wanted = self._wanted.get(release.version)
        if wanted is None:
            return
        crew = wanted.crew
        wanted.again.pop(release.holder, None)
        crew.holders.discard(release.holder)
        if wanted.leaving or crew.holders:
            return
        crew.released, wanted.drain_s = True, release.drain_s
        crew.close()
        for slot, member in crew.members.items():
            actor = registry.whereis(instance_name(release.version, slot))
            if actor is not None and (member.able or slot in wanted.draining):
                self._staffing.drain(wanted, slot, actor)
        if not wanted.draining:
            self._dismantle(wanted)  # starting, asleep, or waiting for its restart: nothing to drain

    async def _staff(self, wanted: Wanted, work: Coroutine[Any, Any, None]) -> None:
        """Do what may start instances. What cannot even be started is broken, unless others of it are up."""
        try:
            await work
        except (HensloweError, ActorExit, CallTimeout) as failure:
            reason = f"cannot start {wanted.crew.version}: {failure}"
            await self._not_started(wanted, reason)

    async def _refused(self, wanted: Wanted, refused: StartRefused) -> None:
        member = wanted.crew.members.get(refused.slot)
        if member is not None and member.duty is not Duty.DRAINING:  # it was not wanted any more, either
            del wanted.crew.members[refused.slot]
            if not wanted.leaving:
                await self._not_started(wanted, refused.reason)

    async def _not_started(self, wanted: Wanted, reason: str) -> None:
        crew = wanted.crew
        if crew.dormant is not None:
            self._openings.give_up(wanted, f"it cannot be woken: {reason}")
            await self._staffing.not_woken(wanted, reason)
            self._broken(crew.version, f"cannot be woken: {reason}")
        elif crew.count(Duty.SERVING, Duty.STANDBY):
            self._staffing.no_more_than_there_are(wanted, reason)
            if not crew.ready_once and crew.up is not None:
                crew.ready_once = True
                tell_versions_and_router(crew.up)
        elif not wanted.stopping:
            self._broken(crew.version, reason)
            self._dismantle(wanted)

    # -- ends ----------------

    async def _down(self, down: Down) -> None:
        for instance, private in self._openings.private.items():
            if down.mref is private.monitor:
                del self._openings.private[instance]
                wanted = self._wanted.get(private.version)
                if wanted is not None and not wanted.stopping:
                    self._staffing.drain_next(wanted)
                return
        for version, wanted in self._wanted.items():
            if down.mref is wanted.monitor:
                await self._supervisor_down(version, wanted, down.reason)
                return
            slot = next((slot for slot, monitor in wanted.draining.items() if down.mref is monitor), 0)
            if slot:
                if is_clean(down.reason):
                    await self._left(version, slot)
                else:  # its supervisor is about to start it again
                    self.spawn(self._staffing.terminate_member(wanted, slot))
                return

    async def _left(self, version: VersionKey, slot: int) -> None:
        """An instance that was let go is gone."""
        wanted = self._wanted.get(version)
        if wanted is None or wanted.stopping:
            return
        monitor = wanted.draining.pop(slot, None)
        if monitor is not None:
            self.demonitor(monitor)
        wanted.crew.members.pop(slot, None)
        if not wanted.crew.released:
            await self._staff(wanted, self._staffing.reconcile(wanted))
        elif not wanted.draining:
            self._dismantle(wanted)

    async def _supervisor_down(self, version: VersionKey, wanted: Wanted, reason: Any) -> None:
        if wanted.stopping:
            return  # `_Stopped` follows
        del self._wanted[version]
        self._forget(wanted)
        for monitor in wanted.draining.values():
            self.demonitor(monitor)
        if not wanted.crew.released and wanted.crew.crash:
            self._broken(version, f"restarted too often: {wanted.crew.crash}")
        elif not wanted.crew.released and not is_clean(reason):
            self._broken(version, f"its supervisor ended: {reason!r}")
        await self._ensure_again(wanted)

    def _dismantle(self, wanted: Wanted) -> None:
        """Stop everything of a version, without waiting for it here."""
        wanted.stopping = True
        for monitor in wanted.draining.values():
            self.demonitor(monitor)
        wanted.draining.clear()
        wanted.crew.close()
        self.spawn(self._terminate_version(wanted.crew.version))

    async def _terminate_version(self, version: VersionKey) -> None:
        # The instances are asked themselves, so that the service's supervisor, which waits for the end of those that it
        # stops, has time for other versions meanwhile.
        await ended(instances_of(version), self._settings.stop_grace_s + STOP_SPARE_S)
        await self._supervisors.terminate(version)
        self.ref.send(_Stopped(version))

    def _broken(self, version: VersionKey, reason: str) -> None:
        tell_versions_and_router(InstanceBroken(version, reason))
        registry.via(names.HOLDS).cast(InstanceBroken(version, reason))
