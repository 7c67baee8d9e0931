"""How the running instances do, as their calls show it: circuit breakers, outliers, adaptive limits.

`breaker`, `outliers` and `limiter` are state machines without a clock; `board` holds them for all instances, is fed by
the data plane without a message, and read by whoever shows it; `settings` gives it thresholds and says its changes.
"""

from henslowe.actors.health.board import HealthBoard, HealthPolicy, InstanceHealth, Ticket
from henslowe.actors.health.breaker import Breaker, BreakerPolicy, BreakerState
from henslowe.actors.health.limiter import Limiter, LimiterPolicy
from henslowe.actors.health.outliers import OutlierPolicy, Tally, outliers
from henslowe.actors.health.settings import policy_of, say_breaker

__all__ = [
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "HealthBoard",
    "HealthPolicy",
    "InstanceHealth",
    "Limiter",
    "LimiterPolicy",
    "OutlierPolicy",
    "Tally",
    "Ticket",
    "outliers",
    "policy_of",
    "say_breaker",
]
