"""An adaptive limit of calls in flight: additive increase, multiplicative decrease. Without a clock.

A server that answers is given one more after as many answers as its limit is, and only while the limit is felt; one
that shows overload (no answer in time, a connection that breaks, a refusal) is given less at once. Calls beyond the
limit wait at the gateway, where waiting is cheap and bounded, instead of at a server that is busy enough.

Source: Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance", 1989.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class LimiterPolicy:
    """Bounds of a limit.

    Attributes:
        start: The first limit.
        least: Never less.
        most: Never more.
        decrease: What is left of a limit after one sign of overload.
    """

    start: int = 200
    least: int = 4
    most: int = 1_000
    decrease: float = 0.8


@dataclass(slots=True)
class Limiter:
    """One limit."""

    policy: LimiterPolicy
    _limit: float = 0.0

    def __post_init__(self) -> None:
        policy = self.policy
        self._limit = float(min(max(policy.start, policy.least), policy.most))

    @property
    def limit(self) -> int:
        """Most calls in flight now."""
        return int(self._limit)

    def answered(self, in_flight: int) -> None:
        """A call was answered, of so many in flight."""
        if 2 * in_flight >= self._limit and self._limit < self.policy.most:
            self._limit = min(self.policy.most, self._limit + 1.0 / self._limit)

    def overloaded(self) -> None:
        """A call showed that the server has too much to do."""
        self._limit = max(self.policy.least, self._limit * self.policy.decrease)
