"""What is slow for a tool: a bound that is fixed before it judges, so that "slow" is a failure like any other.

    usual = Usual(((tool, 0.120),), factor=1.5)
    usual.is_slow("search", 0.4)     # None while nothing is known of the tool

Slow is what takes longer than `factor` times the third quartile of the calls before the rollout. A quartile, because it
moves with the whole version and not with one slow call; a factor, because with enough traffic any difference is certain
and few matter. Of a tool without a past, the first calls of the rollout are taken, whatever version answered: a bound
that were learned from the stable arm alone would depend on the coins, and the comparison would not be valid.

Not here: what slow calls mean (`randomised`, `verdict`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

CALLS_MIN: Final = 40
"""Calls from which a bound is made."""
TOOLS_MAX: Final = 50
"""Tools with a bound of their own."""
QUARTILE: Final = 0.75
SLACK_S: Final = 0.005
"""What the machine's own noise may add: a tool of a millisecond is not slow at two."""

Bounds = tuple[tuple[str, float], ...]


def bound_of(latencies_s: Sequence[float], factor: float) -> float | None:
    """From which latency on a call is slow, in seconds; None with too few calls to say."""
    if len(latencies_s) < CALLS_MIN:
        return None
    quartile = sorted(latencies_s)[int(QUARTILE * (len(latencies_s) - 1))]
    return max(factor * quartile, quartile + SLACK_S)


class Usual:
    """The bounds of one rollout. Runs in: the loop."""

    def __init__(self, bounds: Bounds = (), *, factor: float) -> None:
        self.factor = factor
        self._bounds = dict(bounds)
        self._learning: dict[str, list[float]] = {}

    def is_slow(self, tool: str, latency_s: float) -> bool | None:
        """Whether a call that succeeded was slow; None where that is not known yet."""
        bound = self._bounds.get(tool)
        if bound is not None:
            return latency_s > bound
        if len(self._bounds) + len(self._learning) < TOOLS_MAX or tool in self._learning:
            self._learn(tool, latency_s)
        return None

    def _learn(self, tool: str, latency_s: float) -> None:
        seen = self._learning.setdefault(tool, [])
        seen.append(latency_s)
        bound = bound_of(seen, self.factor)
        if bound is not None:
            self._bounds[tool] = bound
            del self._learning[tool]

    def dump(self) -> dict[str, Any]:
        """The bounds, as plain data for `load`; what is being learned begins anew."""
        return {"bounds": list(self._bounds.items())}

    def load(self, dumped: dict[str, Any]) -> None:
        """The bounds that `dump` gave."""
        self._bounds = dict(dumped["bounds"])


def past_bounds(calls: Iterable[tuple[str, float]], factor: float) -> tuple[Bounds, int, int]:
    """Bounds by tool from calls that succeeded (tool, seconds), and how many of those were slow, of how many."""
    by_tool: dict[str, list[float]] = {}
    for tool, latency_s in calls:
        if tool in by_tool or len(by_tool) < TOOLS_MAX:
            by_tool.setdefault(tool, []).append(latency_s)
    bounds = {tool: bound for tool, seen in by_tool.items() if (bound := bound_of(seen, factor)) is not None}
    judged = [latency_s > bounds[tool] for tool, seen in by_tool.items() if tool in bounds for latency_s in seen]
    return tuple(bounds.items()), sum(judged), len(judged)
