"""How the running instances do, as their calls show it: circuit breakers, outliers, adaptive limits.

`breaker`, `outliers` and `limiter` are state machines without a clock; `board` holds them for all instances, is fed by
the data plane without a message, and read by whoever shows it; `settings` gives it thresholds and says its changes.
`windows` are the figures of the last minutes, `thresholds` a person's own limits on them: the canary router keeps both.
"""

from henslowe.actors.health.board import HealthBoard, HealthPolicy, InstanceHealth, Ticket
from henslowe.actors.health.breaker import Breaker, BreakerPolicy, BreakerState
from henslowe.actors.health.limiter import Limiter, LimiterPolicy
from henslowe.actors.health.outliers import OutlierPolicy, Tally, outliers
from henslowe.actors.health.settings import policy_of, say_breaker
from henslowe.actors.health.thresholds import Breach, breach, has_limits
from henslowe.actors.health.windows import ServiceWindows, WindowFigures

__all__ = [
    "Breach",
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "HealthBoard",
    "HealthPolicy",
    "InstanceHealth",
    "Limiter",
    "LimiterPolicy",
    "OutlierPolicy",
    "ServiceWindows",
    "Tally",
    "Ticket",
    "WindowFigures",
    "breach",
    "has_limits",
    "outliers",
    "policy_of",
    "say_breaker",
]
