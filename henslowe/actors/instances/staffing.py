"""Makes crews what they should be: starts, drains and ends instances, puts versions to sleep and wakes them.

Done on behalf of the instance manager, in its messages; what should be is `planning`'s to say, and when a version is to
run at all the manager's. Nothing here waits for an instance: a start goes on in its actor, a drain ends with a monitor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from henslowe.actors import names
from henslowe.actors.endpoints import Contract, ServerFacts
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.instances.crew import Crew, Dormant, Duty
from henslowe.actors.instances.instance import Instance, Release, Surroundings, instance_name
from henslowe.actors.instances.planning import plan
from henslowe.actors.instances.supervision import TERMINATE_S, child_id
from henslowe.actors.journal import say
from henslowe.actors.kernel import (
    ActorExit,
    Backoff,
    CallTimeout,
    ChildSpec,
    MonitorRef,
    Ref,
    Reply,
    RestartType,
    StartChild,
    TerminateChild,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    EnsureInstance,
    OpenPrivate,
    ReplaceInstance,
    ScaleVersion,
    SleepVersion,
    WakeVersion,
)
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.settings import InstanceSettings
from henslowe.errors import HensloweError

log = logging.getLogger(__name__)

DormantOf = Callable[[VersionKey, ServerFacts, Contract, Callable[[], None]], Dormant]
"""Makes what stands in for a version that sleeps, from what it said and listed last; the callable wakes it."""

STOP_SPARE_S: Final = 3.0
"""Beyond an instance's own grace: for closing the connection and reading the last words."""
REFUSED_PAUSE_S: Final = 30.0
"""After an additional instance did not start, until the next is tried."""


@dataclass(slots=True)
class Wanted:
    """One version that runs, sleeps, or is being stopped."""

    crew: Crew
    supervisor: Ref
    monitor: MonitorRef
    """Of the supervisor."""
    draining: dict[int, MonitorRef] = field(default_factory=dict)
    """By slot: those that finish their calls; each is over when its monitor fires."""
    stopping: bool = False
    again: dict[str, EnsureInstance] = field(default_factory=dict)
    """By holder: asked for once more while it was being stopped."""
    drain_s: float = 30.0
    """How long calls may take to finish, of the private connections and then of the instances."""
    waking_since_s: float | None = None
    """By the monotonic clock, while it is being woken."""
    openings: list[tuple[OpenPrivate, Reply]] = field(default_factory=list)
    """Private connections that wait until it is awake."""

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out."""
        return self.stopping or self.crew.released


@dataclass(slots=True, frozen=True)
class Private:
    """One private connection; it is to the process in `slot`, or has one of its own (0)."""

    version: VersionKey
    slot: int
    ref: Ref
    monitor: MonitorRef


@dataclass(slots=True, frozen=True)
class Left:
    """Sent to the manager: the instance of a slot is gone for good."""

    version: VersionKey
    slot: int


class Owner(Protocol):
    """What is needed of the actor on whose behalf this is done."""

    @property
    def ref(self) -> Ref:
        """Itself."""
        ...

    def monitor(self, target: Ref) -> MonitorRef:
        """Have it told of an end."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside its messages."""
        ...


class Staffing:
    """Starts and ends the instances of crews. Runs in: the node's loop.

    Args:
        owner: The instance manager.
        around: Shared by all instances.
        settings: How instances are run.
        private: The private connections, by instance.
        dormant: Makes what stands in for a version that sleeps; None where none ever does.
        drain_s: How long calls may take to finish where there is one instance too many.
        sessions_at: Sessions that stay with an instance.
    """

    def __init__(
        self,
        owner: Owner,
        around: Surroundings,
        settings: InstanceSettings,
        private: dict[InstanceId, Private],
        *,
        dormant: DormantOf | None,
        drain_s: float,
        sessions_at: Callable[[InstanceId], int],
    ) -> None:
        self._owner = owner
        self._around = around
        self._settings = settings
        self._private = private
        self._dormant = dormant
        self._drain_s = drain_s
        self._sessions_at = sessions_at

    # -- as many as wanted ----------------

    async def reconcile(self, wanted: Wanted) -> None:
        """Do what the plan says.

        Raises:
            HensloweError, ActorExit, CallTimeout: An instance cannot be started.
        """
        if wanted.leaving:
            return
        todo = plan(wanted.crew, self._sessions_at)
        for slot in todo.release:
            self._let_go(wanted, slot)
        for _ in range(todo.start):
            await self._start_member(wanted)

    async def scale(self, wanted: Wanted, message: ScaleVersion) -> None:
        """Another number of instances."""
        crew = wanted.crew
        if (message.serving, crew.scale.standby) == (crew.serving, crew.standby):
            return
        before = crew.serving
        crew.want(message.serving, crew.scale.standby)
        if before != message.serving:
            said = {"before": before, "instances": message.serving, "why": message.why}
            say(EventType.VERSION_SCALED, Status.SUCCESS, key=crew.version, **said)
        await self.reconcile(wanted)

    async def replace(self, wanted: Wanted, message: ReplaceInstance) -> None:
        """Another instead of this one, which ends once the other is up."""
        for member in wanted.crew.members.values():
            if member.instance == message.instance and member.able and not member.retiring:
                member.retiring = message.why
                said = {"instance": member.instance, "why": message.why}
                say(EventType.INSTANCE_REPLACED, Status.PENDING, key=wanted.crew.version, **said)
        await self.reconcile(wanted)

    def no_more_than_there_are(self, wanted: Wanted, reason: str) -> None:
        """An additional instance did not start: what is there has to do for now."""
        crew = wanted.crew
        before, able = crew.serving, crew.count(Duty.SERVING, Duty.STANDBY)
        for member in crew.members.values():
            member.retiring = ""  # nobody takes its place
        crew.want(max(1, min(before, able)), min(crew.standby, max(0, able - before)))
        crew.pause_until_s = time.monotonic() + REFUSED_PAUSE_S
        said = {"before": before, "instances": crew.serving, "why": reason}
        say(EventType.VERSION_SCALED, Status.FAILED, key=crew.version, **said)

    async def _start_member(self, wanted: Wanted) -> None:
        crew, settings = wanted.crew, self._settings
        slot = crew.free_slot()
        backoff = Backoff(first_s=settings.backoff_first_s, max_s=max(settings.backoff_first_s, settings.backoff_max_s))
        await wanted.supervisor.call(
            StartChild(
                ChildSpec(
                    child_id(slot),
                    Instance,
                    args=(crew, slot, self._around),
                    name=instance_name(crew.version, slot),
                    restart=RestartType.TRANSIENT,
                    shutdown_s=settings.stop_grace_s + STOP_SPARE_S,
                    backoff=backoff,
                )
            )
        )

    # -- ends ----------------

    def _let_go(self, wanted: Wanted, slot: int) -> None:
        """One too many: it takes no more calls from now on."""
        member, actor = wanted.crew.members[slot], registry.whereis(instance_name(wanted.crew.version, slot))
        able = member.able
        wanted.crew.leave(member, Duty.DRAINING)
        wanted.drain_s = self._drain_s
        if actor is not None and able:
            self.drain(wanted, slot, actor)
        else:
            self._owner.spawn(self.terminate_member(wanted, slot))

    def drain(self, wanted: Wanted, slot: int, actor: Ref) -> None:
        """Let an instance finish, and before it the private connections to its process."""
        if slot not in wanted.draining:
            wanted.draining[slot] = self._owner.monitor(actor)
        version, everything = wanted.crew.version, wanted.crew.released
        for private in self._private.values():
            if private.version == version and (everything or private.slot == slot):
                private.ref.cast(Release(wanted.drain_s))
        self.drain_next(wanted)

    def drain_next(self, wanted: Wanted) -> None:
        """Release those instances whose private connections have ended."""
        version, everything = wanted.crew.version, wanted.crew.released
        busy = {private.slot for private in self._private.values() if private.version == version}
        for slot in wanted.draining:
            actor = registry.whereis(instance_name(version, slot))
            if actor is not None and slot not in busy and not (everything and busy):
                actor.cast(Release(wanted.drain_s))

    async def terminate_member(self, wanted: Wanted, slot: int) -> None:
        """End an instance that has no calls to finish, or that its supervisor is about to start again."""
        try:
            await wanted.supervisor.call(TerminateChild(child_id(slot)), timeout_s=TERMINATE_S)
        except (HensloweError, ActorExit, CallTimeout) as failure:
            log.info("instance_was_gone", extra={"version": str(wanted.crew.version), "cause": str(failure)})
        self._owner.ref.send(Left(wanted.crew.version, slot))

    # -- sleep ----------------

    async def sleep(self, wanted: Wanted, message: SleepVersion) -> None:
        """End all instances, and have the next call wake the version. Not while it is in use."""
        crew, version = wanted.crew, wanted.crew.version
        one = next(crew.on_duty(Duty.SERVING), None)
        in_use = any(member.endpoint.in_flight for member in crew.on_duty(Duty.SERVING) if member.endpoint is not None)
        in_use = in_use or any(private.version == version for private in self._private.values())
        if self._dormant is None or crew.scale.min or crew.dormant is not None or in_use:
            return
        if one is None or one.endpoint is None:
            return

        def wake() -> None:
            registry.via(names.INSTANCES).cast(WakeVersion(version))

        crew.sleep(self._dormant(version, one.endpoint.facts, one.endpoint.contract, wake))
        say(EventType.VERSION_ASLEEP, Status.SUCCESS, key=version, why=message.why)
        await self.reconcile(wanted)

    async def wake(self, wanted: Wanted) -> None:
        """Start what was put to sleep; nothing where it is awake, or on its way."""
        crew = wanted.crew
        if crew.dormant is None or crew.serving:
            return
        wanted.waking_since_s = time.monotonic()
        say(EventType.VERSION_WOKEN, Status.PENDING, key=crew.version)
        crew.want(max(1, crew.scale.min), crew.scale.standby)
        await self.reconcile(wanted)

    def awake(self, wanted: Wanted) -> None:
        """The first of its instances is up."""
        if wanted.waking_since_s is not None and wanted.crew.dormant is None:
            took_s, wanted.waking_since_s = round(time.monotonic() - wanted.waking_since_s, 3), None
            wanted.crew.woken_s = time.time()
            say(EventType.VERSION_WOKEN, Status.SUCCESS, key=wanted.crew.version, took_s=took_s)

    async def not_woken(self, wanted: Wanted, reason: str) -> None:
        """It sleeps on; who waits is told why, and the next call tries again."""
        crew, wanted.waking_since_s = wanted.crew, None
        assert crew.dormant is not None
        crew.wake_failure = reason
        crew.want(0, 0)
        crew.dormant.failed(reason)
        say(EventType.VERSION_WOKEN, Status.FAILED, key=crew.version, reason=reason)
        await self.reconcile(wanted)
