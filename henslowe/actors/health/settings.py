"""From settings to thresholds, and from changes to events: how the node has its instances' health."""

from __future__ import annotations

from typing import Final

from henslowe.actors.health.board import HealthPolicy, InstanceHealth
from henslowe.actors.health.breaker import BreakerPolicy, BreakerState
from henslowe.actors.health.limiter import LimiterPolicy
from henslowe.actors.health.outliers import OutlierPolicy
from henslowe.actors.journal import say
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.settings import BreakerSettings, InstanceSettings

_STATUS: Final = {
    BreakerState.OPEN: Status.UNHEALTHY,
    BreakerState.HALF_OPEN: Status.DEGRADED,
    BreakerState.CLOSED: Status.HEALTHY,
}


def policy_of(breaker: BreakerSettings, instances: InstanceSettings) -> HealthPolicy:
    """The thresholds that the settings say."""
    return HealthPolicy(
        BreakerPolicy(
            failures=breaker.failures,
            failure_rate=breaker.failure_percent / 100,
            window_s=breaker.window_s,
            calls_min=breaker.calls_min,
            open_s=breaker.open_s,
            open_max_s=max(breaker.open_s, breaker.open_max_s),
            probes=breaker.probes,
        ),
        OutlierPolicy(points=breaker.outlier_points, ejected_percent_max=breaker.ejected_percent_max),
        LimiterPolicy(
            start=instances.in_flight_start,
            least=min(instances.in_flight_min, instances.in_flight_max),
            most=instances.in_flight_max,
        ),
    )


def say_breaker(health: InstanceHealth) -> None:
    """Publish the change of a breaker."""
    breaker = health.breaker
    say(
        EventType.INSTANCE_BREAKER,
        _STATUS[breaker.state],
        key=health.version,
        instance=health.instance,
        state=breaker.state.value,
        **({"open_s": breaker.open_for_s} if breaker.state is BreakerState.OPEN else {}),
    )
