"""The scaler: looks at what the versions have to do, and has the manager give them more or fewer instances, or rest.

Its looks cost a few additions per version; what to conclude is `scaling`'s. It also weighs the processes: one that has
grown beyond its service's `max_rss_mb` is replaced, its successor first; where another one grows so, the version
machine is told: of a version on trial that is reason enough to go back. It holds nothing that a restart would miss.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Protocol

from henslowe.actors import names
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.instances.crew import Crew, Duty, InstanceBoard, Member
from henslowe.actors.instances.scaling import Load, Replacements, Scaling
from henslowe.actors.kernel import LoopActor, Timer, memory_of
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import ReplaceInstance, ScaleVersion, SleepVersion, VersionOutgrown, WakeVersion
from henslowe.config.upkeep import HealthSettings, ScaleSettings
from henslowe.words import counted

TICK_S: Final = 0.5
WEIGH_S: Final = 5.0
MEBIBYTE: Final = 1024 * 1024


class Wishes(Protocol):
    """What holds for a version now, as `henslowe.actors.upkeep.Upkeep` says it: an edit counts at once."""

    def health(self, version: VersionKey) -> HealthSettings:
        """Its limits."""
        ...

    def scale(self, version: VersionKey) -> ScaleSettings:
        """How many instances it should have."""
        ...


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to SCALER, from its own timer: look at all versions."""


class Scaler(LoopActor):
    """Casts `ScaleVersion`, `SleepVersion` and `ReplaceInstance`; to VERSIONS `VersionOutgrown`.

    Args:
        board: The crews, and the calls that wait for them.
        wishes: What holds for each version.
    """

    def __init__(self, board: InstanceBoard, wishes: Wishes) -> None:
        super().__init__()
        self._board = board
        self._wishes = wishes
        self._scalings: dict[VersionKey, Scaling] = {}
        self._replacements: dict[VersionKey, Replacements] = {}
        self._outgrown: dict[VersionKey, InstanceId] = {}
        """The last instance of each version that was too big."""
        self._weighed_s = 0.0
        self._weighing: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    def init(self) -> None:
        """Begin."""
        self._timer = self.send_after(TICK_S, Tick())

    def handle_info(self, message: Tick) -> None:
        """One look at all versions."""
        crews, now_s = self._board.crews, time.monotonic()
        for known in (self._scalings, self._replacements, self._outgrown):
            for version in [version for version in known if version not in crews]:
                del known[version]
        for version, crew in crews.items():
            if crew.released or not crew.ready_once:
                continue
            if not crew.ensure.launch.remote:  # which is not ours to multiply
                crew.scale = self._wishes.scale(version)
            if crew.serving:
                self._scale(version, crew, now_s)
            elif crew.scale.min:
                registry.via(names.INSTANCES).cast(WakeVersion(version))
        for service in {version.service for version, crew in crews.items() if crew.scale.min == 0 and crew.serving}:
            self._rest(service)
        if now_s - self._weighed_s >= WEIGH_S and (self._weighing is None or self._weighing.done()):
            self._weighed_s = now_s
            self._weighing = asyncio.ensure_future(self._weigh())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.send_after(TICK_S, message)

    def terminate(self, _reason: object) -> None:
        """Give up what is under way."""
        if self._weighing is not None:
            self._weighing.cancel()

    def _scale(self, version: VersionKey, crew: Crew, now_s: float) -> None:
        scale = crew.scale
        if scale.most == crew.serving == max(1, scale.min) and scale.standby == crew.standby:
            return  # there is nothing to choose
        if now_s < crew.pause_until_s:
            return
        scaling = self._scalings.get(version)
        if scaling is None or scaling.scale is not scale:
            scaling = self._scalings[version] = Scaling(scale)
        calls = sum(each.endpoint.in_flight for each in crew.on_duty(Duty.SERVING) if each.endpoint is not None)
        calls += self._queued(version, crew)
        wanted = scaling.wanted(Load(crew.serving, calls), now_s)
        if wanted != crew.serving or scale.standby != crew.standby:
            why = f"{counted(calls, 'call')} in flight or waiting, {scale.target_queue:g} per instance"
            registry.via(names.INSTANCES).cast(ScaleVersion(version, wanted, why))

    def _queued(self, version: VersionKey, crew: Crew) -> int:
        """Calls that wait for the service, counted for its biggest version: they do not say which they want."""
        queued = self._board.queued(version.service)
        if not queued:
            return 0
        others = self._board.of_service(version.service)
        most = max(others, key=lambda each: (each.count(Duty.SERVING), each.version.number))
        return queued if most is crew else 0

    def _rest(self, service: ServiceName) -> None:
        """Put a service to sleep that nobody called for long enough, whichever of its versions."""
        crews = self._board.of_service(service)
        now_s = asyncio.get_running_loop().time()
        used = [
            now_s if endpoint.in_flight else endpoint.called_s
            for crew, _, endpoint in self._board.able()
            if crew.version.service == service
        ]
        if not used or any(crew.count(Duty.STARTING) for crew in crews):
            return
        idle_s = now_s - max(used)
        if idle_s < min(crew.scale.idle_s for crew in crews) or self._in_use(service):
            return
        for crew in crews:
            if crew.scale.min == 0 and crew.serving and crew.ready_once and idle_s >= crew.scale.idle_s:
                why = f"nobody called for {crew.scale.idle_s:g} s"
                registry.via(names.INSTANCES).cast(SleepVersion(crew.version, why))

    def _in_use(self, service: ServiceName) -> bool:
        return self._board.queued(service) > 0 or self._board.working(service)

    async def _weigh(self) -> None:
        """Read the memory of all instances, beside the loop; replace those that have grown too big."""
        up = [(crew.version, member, member.pid) for crew, member, _ in self._board.able() if member.pid is not None]
        memory = await asyncio.to_thread(lambda: [memory_of(pid) for _, _, pid in up])
        for (version, member, pid), rss_bytes in zip(up, memory, strict=True):
            if member.pid == pid and member.able:
                member.rss_bytes = rss_bytes
                self._replace_if_big(version, member)

    def _replace_if_big(self, version: VersionKey, member: Member) -> None:
        most_mb = self._wishes.health(version).max_rss_mb
        if most_mb is None or member.rss_bytes <= most_mb * MEBIBYTE or member.retiring:
            return
        why = f"it uses {member.rss_bytes / MEBIBYTE:.0f} MiB, health.max_rss_mb is {most_mb:g}"
        before = self._outgrown.get(version)
        self._outgrown[version] = member.instance
        if before is not None and before != member.instance:
            registry.via(names.VERSIONS).cast(VersionOutgrown(version, f"its second instance grew too big: {why}"))
        replacements = self._replacements.setdefault(version, Replacements())
        if replacements.may(time.monotonic()):
            registry.via(names.INSTANCES).cast(ReplaceInstance(version, member.instance, why))
