"""The health of all instances, in one object that the data plane feeds and reads without a message.

Like the route table it is shared by reference. Whoever makes calls asks `allows`, takes a ticket at the start of an
attempt and gives it back at its end; whoever wants to know of changes listens. An instance that is no longer in the
directory is forgotten: its successor begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointDirectory
from henslowe.actors.health.breaker import Breaker, BreakerPolicy, BreakerState
from henslowe.actors.health.limiter import Limiter, LimiterPolicy
from henslowe.actors.health.outliers import OutlierPolicy, Tally, outliers
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.routes import Outcome

BROKEN: Final = frozenset({Outcome.TRANSPORT, Outcome.TIMEOUT, Outcome.CRASH})
"""Outcomes that open breakers: the server did not answer. What it answered, errors included, is a sign of life."""


@dataclass(slots=True, frozen=True)
class HealthPolicy:
    """All thresholds."""

    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    outlier: OutlierPolicy = field(default_factory=OutlierPolicy)
    limiter: LimiterPolicy = field(default_factory=LimiterPolicy)


@dataclass(slots=True)
class InstanceHealth:
    """One instance."""

    version: VersionKey
    instance: InstanceId
    breaker: Breaker
    limiter: Limiter


@dataclass(slots=True)
class Ticket:
    """One attempt at an instance. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    health: InstanceHealth
    endpoint: Endpoint
    phase: int


Changed = Callable[[InstanceHealth], None]
"""Told of a breaker that changed its state."""


@dataclass(slots=True)
class HealthBoard:
    """The health of the instances that are up. Runs in: the node's loop.

    Args:
        directory: The endpoints that are up.
        policy: The thresholds.
        now_s: Monotonic seconds.
    """

    directory: EndpointDirectory
    policy: HealthPolicy = field(default_factory=HealthPolicy)
    now_s: Callable[[], float] = time.monotonic
    _of: dict[VersionKey, dict[InstanceId, InstanceHealth]] = field(default_factory=dict)
    _listeners: list[Changed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.on_change(self._forget)

    def on_change(self, listener: Changed) -> None:
        """Call `listener` after each change of a breaker's state."""
        self._listeners.append(listener)

    def find(self, endpoint: Endpoint) -> InstanceHealth | None:
        """What is known of an instance; None before its first call."""
        instances = self._of.get(endpoint.version)
        return None if instances is None else instances.get(endpoint.instance)

    def all(self) -> Iterator[InstanceHealth]:
        """All that are known."""
        for instances in self._of.values():
            yield from instances.values()

    def is_doubtful(self, endpoint: Endpoint) -> bool:
        """Whether its breaker is open or half-open: another one, if there is one, should be called."""
        health = self.find(endpoint)
        return health is not None and health.breaker.state is not BreakerState.CLOSED

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether its breaker lets a call through now."""
        health = self.find(endpoint)
        if health is None or health.breaker.state is BreakerState.CLOSED:
            return True
        before = health.breaker.phase
        allowed = health.breaker.allows(self.now_s())
        self._say(health, before)
        return allowed

    def has_room(self, endpoint: Endpoint) -> bool:
        """Whether it has fewer calls in flight than its limit."""
        health = self.find(endpoint)
        return health is None or endpoint.in_flight < health.limiter.limit

    def is_well(self, endpoint: Endpoint) -> bool:
        """Whether it can be called without a second look: its breaker is closed, and it has room."""
        health = self.find(endpoint)
        return health is None or (
            health.breaker.state is BreakerState.CLOSED and endpoint.in_flight < health.limiter.limit
        )

    def retry_s(self, endpoint: Endpoint) -> float:
        """How long until its breaker may let a call through; 0 when it may now."""
        health = self.find(endpoint)
        if health is None or health.breaker.state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, health.breaker.until_s - self.now_s())

    def began(self, endpoint: Endpoint) -> Ticket:
        """An attempt begins."""
        health = self.find(endpoint)
        if health is None:
            health = self._of.setdefault(endpoint.version, {})[endpoint.instance] = InstanceHealth(
                endpoint.version, endpoint.instance, Breaker(self.policy.breaker), Limiter(self.policy.limiter)
            )
        return Ticket(health, endpoint, health.breaker.began(self.now_s()))

    def ended(self, ticket: Ticket, outcome: Outcome | None) -> None:
        """It ended; None when that says nothing about the instance."""
        health, now_s = ticket.health, self.now_s()
        breaker, failed = health.breaker, None if outcome is None else outcome in BROKEN
        before = breaker.phase
        breaker.ended(ticket.phase, failed, now_s)
        if failed:
            health.limiter.overloaded()
            self._eject(health.version, now_s)
        elif failed is False:
            health.limiter.answered(ticket.endpoint.in_flight + 1)
        if breaker.phase != before:
            self._say(health, before)

    def _eject(self, version: VersionKey, now_s: float) -> None:
        """Open the breakers of instances that do much worse than their siblings."""
        instances = self._of.get(version, {})
        if len(instances) < 2:
            return
        tallies = {
            instance: Tally(*health.breaker.window.seen(now_s), out=health.breaker.state is not BreakerState.CLOSED)
            for instance, health in instances.items()
        }
        for instance in outliers(tallies, self.policy.outlier):
            before = instances[instance].breaker.phase
            instances[instance].breaker.trip(now_s)
            self._say(instances[instance], before)

    def _say(self, health: InstanceHealth, before: int) -> None:
        if health.breaker.phase != before:
            for listener in tuple(self._listeners):
                listener(health)

    def _forget(self, version: VersionKey) -> None:
        known = self._of.get(version)
        if known:
            up = {endpoint.instance for endpoint in self.directory.of(version)}
            for instance in [instance for instance in known if instance not in up]:
                del known[instance]
            if not known:
                del self._of[version]
