"""Counts and durations of finished calls, kept as plain numbers and put into Prometheus' form when it asks.

Its client library takes a lock for each number, which is more than half of what counting costs, and everything here
runs in one loop. Not here: the other figures, which change too rarely to matter (`metrics`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from henslowe.actors.ids import VersionKey
from henslowe.actors.routes import Outcome

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""From a stdio round trip to the longest call that is allowed."""
LABELS_MAX: Final = 2_000
"""Version and outcome pairs kept; a node that has shipped more forgets the oldest, which a scraper has long seen."""


@dataclass(slots=True)
class _Durations:
    """Of one service; the last bucket has no bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0


class CallFigures(Collector):
    """`henslowe_gateway_calls_total` and `henslowe_gateway_call_seconds`. Runs in: the node's loop."""

    def __init__(self) -> None:
        self._calls: dict[tuple[VersionKey, Outcome], int] = {}
        self._durations: dict[str, _Durations] = {}

    def ended(self, version: VersionKey, outcome: Outcome, seconds: float) -> None:
        """Count one attempt that ended."""
        calls, key = self._calls, (version, outcome)
        try:
            calls[key] += 1
        except KeyError:
            if len(calls) >= LABELS_MAX:
                del calls[next(iter(calls))]
            calls[key] = 1
        durations = self._durations.get(version.service)
        if durations is None:
            durations = self._durations[version.service] = _Durations()
        durations.counts[bisect_left(BUCKETS_S, seconds)] += 1
        durations.sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        """See `Collector.collect`. Runs in: any thread; numbers may be a moment apart."""
        calls = CounterMetricFamily(
            "henslowe_gateway_calls", "Attempts that ended.", labels=("service", "version", "outcome")
        )
        for (version, outcome), count in tuple(self._calls.items()):
            calls.add_metric((version.service, str(version.number), outcome.value), count)
        yield calls
        seconds = HistogramMetricFamily("henslowe_gateway_call_seconds", "Duration of attempts.", labels=("service",))
        bounds = [*map(floatToGoString, BUCKETS_S), "+Inf"]
        for service, durations in tuple(self._durations.items()):
            buckets = list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))
            seconds.add_metric((service,), buckets=buckets, sum_value=durations.sum_s)
        yield seconds
