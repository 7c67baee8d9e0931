"""What the traffic of each service is like: a published snapshot, made by the canary router, read by whoever wants to.

Like the route table it is an object shared by reference, and outlives the actor that fills it. The version machine asks
it how many units there are (which decides between a canary and an immediate swap) and which, the admin API shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from henslowe.actors.health.thresholds import Breach
from henslowe.actors.health.windows import WindowFigures
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey


@dataclass(slots=True, frozen=True)
class VersionTraffic:
    """Calls of one version since the node started."""

    version: VersionKey
    calls: int = 0
    failures: int = 0
    tool_errors: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    """Latencies over the last 500 calls or so."""
    last_call_s: float = 0.0
    """Unix time, 0 before the first call."""
    window: WindowFigures = field(default_factory=WindowFigures)
    """The calls of the last minutes (`health.window_s`)."""


@dataclass(slots=True, frozen=True)
class TrialStatus:
    """A rollout or a probation under way, as its verdict stands."""

    new: VersionKey
    old: VersionKey | None
    probation: bool
    decision: str
    why: str
    """"31 of about 58 calls; evidence 3.2x, rolls back at 100x"."""
    healthy: bool
    numbers: Mapping[str, Any]


@dataclass(slots=True, frozen=True)
class ServiceTraffic:
    """One service's traffic."""

    service: ServiceName
    units: tuple[str, ...] = ()
    """Names of the different units (sessions, stateless clients by epoch) seen in the window, at most 2,000."""
    versions: Mapping[VersionKey, VersionTraffic] = field(default_factory=lambda: MappingProxyType({}))
    trial: TrialStatus | None = None
    calls_per_minute: float = 0.0
    """Over the last minute."""
    instances: Mapping[InstanceId, WindowFigures] = field(default_factory=lambda: MappingProxyType({}))
    """The same window for each instance that had calls in it."""
    passed: Mapping[VersionKey, Breach] = field(default_factory=lambda: MappingProxyType({}))
    """Versions that serve and are beyond a limit of their `[health]`."""


_EMPTY: Mapping[ServiceName, ServiceTraffic] = MappingProxyType({})


@dataclass(slots=True)
class TrafficStats:
    """The holder of the current snapshot. `current` is replaced as a whole, at most once a second per publisher."""

    current: Mapping[ServiceName, ServiceTraffic] = field(default_factory=lambda: _EMPTY)

    def publish(self, traffic: Mapping[ServiceName, ServiceTraffic]) -> None:
        """Replace the snapshot."""
        self.current = MappingProxyType(dict(traffic))

    def units_of(self, service: ServiceName) -> tuple[str, ...]:
        """The units seen in the window, empty for a service without traffic."""
        found = self.current.get(service)
        return found.units if found is not None else ()
