"""Which instance of a version a call goes to: the one with the least in flight, or where its session is at home.

A server of the handshake era may keep something between the calls of a session, so a session stays with the instance
that had its first call for as long as that one is up and answers. Calls without a session, and all calls to stateless
servers, go wherever there is least to do. A version with one instance, as most have, costs three look-ups.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, EndpointState, Era
from henslowe.actors.health import HealthBoard
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.transport.gateway.sticky import Unit

HOMES_MAX: Final = 50_000
"""Sessions whose instance is remembered; the one unused longest finds a new one."""


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


class Spreading:
    """Spreads calls over instances. Runs in: the node's loop.

    Args:
        directory: The endpoints that are up.
        health: How they do.
    """

    def __init__(self, directory: EndpointDirectory, health: HealthBoard) -> None:
        self._directory = directory
        self._health = health
        self._homes: OrderedDict[tuple[str, VersionKey], InstanceId] = OrderedDict()
        self._guests: Counter[InstanceId] = Counter()

    def pick(self, version: VersionKey, unit: Unit) -> Endpoint | Absence:
        """The instance for a call of this unit, or why there is none."""
        up, health = self._directory.of(version), self._health
        if len(up) != 1:
            return self._one_of(version, up, unit)
        only = up[0]
        if only.state is not EndpointState.READY:
            return Absence(version, Why.DOWN)
        if health.is_well(only):
            return only
        if not health.allows(only):
            return Absence(version, Why.OPEN, health.retry_s(only))
        return only if health.has_room(only) else Absence(version, Why.FULL)

    def other(self, endpoint: Endpoint, unit: Unit) -> Endpoint | None:
        """Another instance that does well and has room, for a call of this unit; None for a session with a home."""
        if _has_home(endpoint, unit):
            return None
        others = tuple(each for each in self._directory.of(endpoint.version) if each.instance != endpoint.instance)
        well = tuple(each for each in others if not self._health.is_doubtful(each))
        found = self._least_busy(endpoint.version, well)
        return None if isinstance(found, Absence) else found

    def sessions_at(self, instance: InstanceId) -> int:
        """How many sessions are at home at an instance."""
        return self._guests[instance]

    def _one_of(self, version: VersionKey, up: tuple[Endpoint, ...], unit: Unit) -> Endpoint | Absence:
        if not up or not _has_home(up[0], unit):
            return self._least_busy(version, up)
        key = (unit.key, version)
        home = self._homes.get(key)
        for each in up:
            if each.instance == home and each.state is EndpointState.READY and self._health.allows(each):
                self._homes.move_to_end(key)
                # Another one would not know what this one does.
                return each if self._health.has_room(each) else Absence(version, Why.FULL)
        found = self._least_busy(version, up, homes=True)
        if not isinstance(found, Absence):
            self._settle(key, found.instance)
        return found

    def _least_busy(self, version: VersionKey, up: tuple[Endpoint, ...], *, homes: bool = False) -> Endpoint | Absence:
        """Of those whose breakers let a call through and that have room; one on trial only where there is no other."""
        health, why, retry_s = self._health, Why.DOWN, 0.0
        for doubtful in (False, True):
            best: Endpoint | None = None
            least = (0, 0)
            for each in up:
                if each.state is not EndpointState.READY or health.is_doubtful(each) is not doubtful:
                    continue
                if doubtful and not health.allows(each):
                    left_s = health.retry_s(each)
                    why, retry_s = Why.OPEN, left_s if why is Why.DOWN else min(left_s, retry_s)
                elif not health.has_room(each):
                    why = Why.FULL
                else:
                    load = (each.in_flight, self._guests[each.instance] if homes else 0)
                    if best is None or load < least:
                        best, least = each, load
            if best is not None:
                return best
            if why is Why.FULL:
                break  # those that answer will have room before one that does not is to be trusted
        return Absence(version, why, retry_s)

    def _settle(self, key: tuple[str, VersionKey], instance: InstanceId) -> None:
        before = self._homes.pop(key, None)
        if before is not None:
            self._leave(before)
        self._homes[key] = instance
        self._guests[instance] += 1
        if len(self._homes) > HOMES_MAX:
            self._leave(self._homes.popitem(last=False)[1])

    def _leave(self, instance: InstanceId) -> None:
        self._guests[instance] -= 1
        if not self._guests[instance]:
            del self._guests[instance]


def _has_home(endpoint: Endpoint, unit: Unit) -> bool:
    """Whether a server may keep something between the calls of a unit."""
    return unit.is_session and endpoint.facts.era is Era.LEGACY
