"""Which endpoint a call goes to: the route's arm for its unit, and one of that version's instances (`spreading`).

Reads published snapshots only, and waits for nothing. A target is a service, or a service with a range of versions
(`ranges`). What is done with the endpoint, and what becomes of a failure, is `calls`' business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, EndpointState
from henslowe.actors.health import HealthBoard
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import Arm, Route, RouteTable
from henslowe.transport.gateway.spreading import Absence, Spreading
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.visitors import pick

Target = str
"""A service's name, or `service@range`."""


def service_of(target: Target) -> ServiceName:
    """The service of a target."""
    return ServiceName(target.partition("@")[0])


@dataclass(slots=True)
class Choice:
    """Where one attempt goes. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    route: Route
    arm: Arm | None
    """None for what is no evidence for either arm: a version that the route has left, or that was asked for by name."""
    endpoint: Endpoint


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
        self._spreading = Spreading(directory, health)
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
        endpoint = self._spreading.pick(version, unit)
        if isinstance(endpoint, Absence):
            return endpoint
        return Choice(route, None if "@" in target else arm, endpoint)

    def other(self, endpoint: Endpoint, unit: Unit) -> Endpoint | None:
        """Another instance of the same version that could take the unit's call as well; None for one with a home."""
        return self._spreading.other(endpoint, unit)

    def sessions_at(self, instance: InstanceId) -> int:
        """How many sessions are at home at an instance."""
        return self._spreading.sessions_at(instance)

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
        up = self._directory.of(version)
        if len(up) == 1:
            return up[0] if up[0].state is EndpointState.READY else None
        found: Endpoint | None = None
        for endpoint in up:
            if endpoint.state is EndpointState.READY and (found is None or endpoint.in_flight < found.in_flight):
                found = endpoint
        return found
