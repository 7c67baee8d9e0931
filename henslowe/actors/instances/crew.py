"""The crew of one version: its instances, which of them serve, and which stand by.

    crew.want(serving=2, standby=1)
    crew.ready(crew.enter(1), endpoint)      # serves: it is in the directory
    crew.leave(1)                            # lost: the one that stood by serves before this call returns

The instances tell it when they come and go, the manager how many are wanted. It sends nothing and waits for nothing:
where an instance is lost while another stands by, there is no moment at which the directory has neither. What has to
be started or ended for it is `planning`'s to say and the manager's to do; the crew outlives a crash of either.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, OwnedEndpoint, Probed
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.messages import EnsureInstance, InstanceUp
from henslowe.config.upkeep import ScaleSettings


class Duty(StrEnum):
    """What an instance does."""

    STARTING = "starting"
    SERVING = "ready"
    STANDBY = "standby"
    """Started, and takes no calls until one of the others is lost."""
    DRAINING = "draining"
    """Finishes its calls, and ends."""
    DOWN = "down"
    """Lost; its supervisor starts it again."""


class Dormant(Endpoint, Protocol):
    """What stands in the directory for a version that sleeps: lists are answered, any other call wakes it."""

    def woken(self, endpoint: Endpoint) -> None:
        """The version is up: hand the calls that wait on."""
        ...

    def failed(self, reason: str) -> None:
        """It could not be woken: fail the calls that wait. A later call tries again."""
        ...


@dataclass(slots=True)
class Member:
    """One instance, over its restarts."""

    slot: int
    """Its place in the crew, from 1 on; taken again once it is free."""
    instance: InstanceId
    duty: Duty = Duty.STARTING
    endpoint: OwnedEndpoint | None = None
    up: InstanceUp | None = None
    """What was announced of it, while it is true."""
    pid: int | None = None
    url: str = ""
    """Where it listens; "" on pipes."""
    ready_once: bool = False
    starts: int = 1
    crash: str = ""
    """Why it ended last; "" once it is up again."""
    retiring: str = ""
    """Why another is to take its place; "" while it may stay."""
    rss_bytes: int = 0
    """Memory of its process and that one's children; 0 before it was looked at."""

    @property
    def able(self) -> bool:
        """Whether it is up: serving, or standing by."""
        return self.duty in (Duty.SERVING, Duty.STANDBY)


@dataclass(slots=True)
class Crew:
    """The instances of one version. Runs in: the node's loop.

    Written by the instances' actors through `enter`, `ready` and `leave`, and by the manager.
    """

    ensure: EnsureInstance
    directory: EndpointDirectory
    numbers: Iterator[int]
    """Numbers of instances of this version, never used twice."""
    scale: ScaleSettings = field(default_factory=ScaleSettings)
    private_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """The same for its private connections."""
    holders: set[str] = field(default_factory=set)
    """On whose behalf the version runs."""
    released: bool = False
    """Whether all of it is to drain and end."""
    serving: int = 1
    """So many should serve; 0 while it sleeps."""
    standby: int = 0
    """So many more should stand by."""
    ready_once: bool = False
    """Whether the version was up: as many at once as it began with."""
    dormant: Dormant | None = None
    """While it sleeps: what takes its calls."""
    asleep_since_s: float = 0.0
    """Unix time, 0 while it is awake."""
    woken_s: float = 0.0
    """Unix time at which a call woke it last, 0 for never."""
    pause_until_s: float = 0.0
    """Until then, by the monotonic clock, there is no use in more instances: the last did not start."""
    wake_failure: str = ""
    """Why it could not be woken, when it was tried last."""
    members: dict[int, Member] = field(default_factory=dict)

    @property
    def version(self) -> VersionKey:
        """What runs."""
        return self.ensure.version

    @property
    def up(self) -> InstanceUp | None:
        """The announcement of one that serves; None while none does."""
        return next((each.up for each in self.on_duty(Duty.SERVING)), None)

    @property
    def crash(self) -> str:
        """Why one of them is down; "" while none is."""
        return next((each.crash for each in self.members.values() if each.crash), "")

    def on_duty(self, *duties: Duty) -> Iterator[Member]:
        """Those with one of these duties, in the order of their slots."""
        return (self.members[slot] for slot in sorted(self.members) if self.members[slot].duty in duties)

    def count(self, *duties: Duty) -> int:
        """How many have one of these duties."""
        return sum(each.duty in duties for each in self.members.values())

    def free_slot(self) -> int:
        """The smallest slot that nobody has."""
        return next(slot for slot in itertools.count(1) if slot not in self.members)

    def want(self, serving: int, standby: int) -> list[Member]:
        """So many should serve and stand by: who stood by and serves from now on. Nobody is sent away here."""
        self.serving, self.standby = serving, standby
        return self._promote()

    def enter(self, slot: int) -> Member:
        """An instance is being started, for the first time or again."""
        number, before = InstanceId(f"{self.version}#{next(self.numbers)}"), self.members.get(slot)
        if before is None:
            before = self.members[slot] = Member(slot, number)
        else:
            self.leave(before)  # one that was killed may not have said so yet
            before.instance, before.duty, before.starts = number, Duty.STARTING, before.starts + 1
            before.endpoint, before.pid, before.retiring, before.rss_bytes = None, None, "", 0
        return before

    def ready(self, member: Member, endpoint: OwnedEndpoint, up: InstanceUp) -> bool:
        """It is up, and serves or stands by. Whether its version is up now, and should be announced."""
        member.endpoint, member.up, member.ready_once, member.crash = endpoint, up, True, ""
        if self.count(Duty.SERVING) < self.serving:
            self._serve(member)
        else:
            member.duty = Duty.STANDBY
        if self.count(Duty.SERVING) >= self.serving:
            self.ready_once = True
        return self.ready_once and member.duty is Duty.SERVING

    def leave(self, member: Member, duty: Duty = Duty.DOWN) -> list[Member]:
        """It takes no more calls; those that stood by and serve in its place. Idempotent."""
        endpoint, served = member.endpoint, member.duty is Duty.SERVING
        member.duty = duty
        if endpoint is None:
            return []
        taken_over = self._promote() if served else []
        self.directory.remove(endpoint)
        return taken_over

    def sleep(self, dormant: Dormant) -> None:
        """None is wanted any more: `dormant` takes the calls from now on, also those before the last has ended."""
        self.dormant, self.asleep_since_s, self.wake_failure = dormant, time.time(), ""
        self.directory.add(dormant)
        self.want(0, 0)

    def close(self) -> None:
        """The version is gone: nothing takes its calls."""
        if self.dormant is not None:
            dormant, self.dormant = self.dormant, None
            self.directory.remove(dormant)
            dormant.failed("it was stopped")

    def _promote(self) -> list[Member]:
        promoted = []
        for member in self.on_duty(Duty.STANDBY):
            if self.count(Duty.SERVING) >= self.serving or member.retiring:
                break
            self._serve(member)
            promoted.append(member)
        return promoted

    def _serve(self, member: Member) -> None:
        assert member.endpoint is not None
        member.duty = Duty.SERVING
        self.directory.add(member.endpoint)
        if self.dormant is not None and self.serving:
            dormant, self.dormant, self.asleep_since_s, self.wake_failure = self.dormant, None, 0.0, ""
            self.directory.remove(dormant)
            dormant.woken(member.endpoint)


@dataclass(slots=True)
class InstanceBoard:
    """The crews of all versions, for whoever looks at them. Written by the instance manager. Runs in: the loop."""

    crews: dict[VersionKey, Crew] = field(default_factory=dict)
    queued: Callable[[ServiceName], int] = lambda _service: 0
    """Calls of a service that wait at the gateway."""
    sessions_at: Callable[[InstanceId], int] = lambda _instance: 0
    """Sessions that stay with an instance, and lose what it keeps for them when it ends."""
    working: Callable[[ServiceName], bool] = lambda _service: False
    """Whether its servers are needed though nobody calls: for tasks, or for a rollout."""

    def of(self, version: VersionKey) -> Crew | None:
        """The crew of a version; None for one that does not run and does not sleep."""
        return self.crews.get(version)

    def able(self) -> Iterator[tuple[Crew, Member, Probed]]:
        """The instances that are up, those that stand by among them, with their endpoints."""
        for crew in self.crews.values():
            for member in crew.members.values():
                endpoint: object = member.endpoint
                if member.able and isinstance(endpoint, Probed):
                    yield crew, member, endpoint

    def of_service(self, service: ServiceName) -> tuple[Crew, ...]:
        """The crews of a service, oldest version first."""
        return tuple(self.crews[version] for version in sorted(self.crews) if version.service == service)
