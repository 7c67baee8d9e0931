"""Which endpoint a call goes to: the route's arm for its unit, and of that version's instances the healthiest one.

Reads published snapshots only, and waits for nothing. A target is a service, or a service with a range of versions
(`ranges`). What is done with the endpoint, and what becomes of a failure, is `calls`' business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, EndpointState
from henslowe.actors.health import HealthBoard
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import Arm, Route, RouteTable
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.visitors import pick

Target = str
"""A service's name, or `service@range`."""


def service_of(target: Target) -> ServiceName:
    """The service of a target."""
    return ServiceName(target.partition("@")[0])


@dataclass(slots=True, frozen=True)
class Choice:
    """Where one attempt goes."""

    route: Route
    arm: Arm | None
    """None for what is no evidence for either arm: a version that the route has left, or that was asked for by name."""
    endpoint: Endpoint


class Why(StrEnum):
    """Why a version cannot take a call now."""

    DOWN = "down"
    """No instance is up."""
    OPEN = "circuit_open"
    """Those that are up do not answer, and are left alone for a while."""
    FULL = "full"
    """Those that answer have as many calls as they can do."""


@dataclass(slots=True, frozen=True)
class Absence:
    """A version that cannot take a call now."""

    version: VersionKey
    why: Why
    retry_s: float = 0.0
    """When OPEN: how long until one may be tried."""


class Selection:
    """Chooses endpoints. Runs in: the node's loop.

    Args:
        routes: The published routes.
        directory: The endpoints that are up.
        health: How they do.
        ranged: The route of a target with a range; None where no version is in it.
    """

    def __init__(
        self,
        routes: RouteTable,
        directory: EndpointDirectory,
        health: HealthBoard,
        ranged: Callable[[Target], Route | None] = lambda _target: None,
    ) -> None:
        self._routes = routes
        self._directory = directory
        self._health = health
        self._ranged = ranged

    def route(self, target: Target) -> Route | None:
        """The route of a target; None for one that has none."""
        return self._ranged(target) if "@" in target else self._routes.current.get(ServiceName(target))

    def peek(self, target: Target, unit: Unit) -> Endpoint | None:
        """The endpoint that a call of this unit would use now, if one is up."""
        route = self.route(target)
        if route is None:
            return None
        _, version = pick(route, unit)
        endpoint = self.best(version)
        return endpoint if endpoint is not None or version == route.stable else self.best(route.stable)

    def choose(self, target: Target, route: Route, unit: Unit, *, stable_only: bool) -> Choice | Absence:
        """Where a call of this unit goes now, or why its arm's version cannot take it."""
        arm, version = (Arm.STABLE, route.stable) if stable_only else pick(route, unit)
        endpoint = self._healthiest(version)
        if isinstance(endpoint, Absence):
            return endpoint
        return Choice(route, None if "@" in target else arm, endpoint)

    def very(self, version: VersionKey, instance: InstanceId) -> Endpoint | None:
        """This very instance, while it is up."""
        for endpoint in self._directory.of(version):
            if endpoint.instance == instance and endpoint.state is EndpointState.READY:
                return endpoint
        return None

    def of(self, target: Target, endpoint: Endpoint) -> Choice | None:
        """The choice of this very endpoint; None for a target that is gone."""
        route = self.route(target)
        if route is None:
            return None
        arms = {route.stable: Arm.STABLE, route.canary: Arm.CANARY}
        return Choice(route, None if "@" in target else arms.get(endpoint.version), endpoint)

    def best(self, version: VersionKey) -> Endpoint | None:
        """The endpoint of a version with the least in flight."""
        found: Endpoint | None = None
        for endpoint in self._directory.of(version):
            if endpoint.state is EndpointState.READY and (found is None or endpoint.in_flight < found.in_flight):
                found = endpoint
        return found

    def _healthiest(self, version: VersionKey) -> Endpoint | Absence:
        """The instance with the least in flight among those whose breakers let a call through and that have room."""
        up = [each for each in self._directory.of(version) if each.state is EndpointState.READY]
        if not up:
            return Absence(version, Why.DOWN)
        health = self._health
        if len(up) == 1 and health.find(up[0]) is None:
            return up[0]
        closed = [each for each in up if not health.is_doubtful(each)]
        allowed = closed or [each for each in up if health.allows(each)]
        if not allowed:
            return Absence(version, Why.OPEN, min(map(health.retry_s, up)))
        roomy = [each for each in allowed if health.has_room(each)]
        if not roomy:
            return Absence(version, Why.FULL)
        return min(roomy, key=lambda each: each.in_flight)
