"""Instances and the figures of the last minutes for Prometheus, read at each scrape.

| metric | labels | what |
|---|---|---|
| henslowe_version_asleep | service, version | 1 while it sleeps and a call would wake it |
| henslowe_version_instances | service, version, duty | instances: `ready`, `standby`, `starting`, `draining`, `down` |
| henslowe_version_window_calls | service, version | calls in its window (`health.window_s`) |
| henslowe_version_error_rate | service, version | part of them that failed |
| henslowe_version_response_seconds | service, version, quantile | 0.5, 0.95 and 0.99 of their response times |
| henslowe_instance_window_calls | service, instance | the same for each instance |
| henslowe_instance_error_rate | service, instance | |
| henslowe_instance_response_seconds | service, instance, quantile | |
| henslowe_instance_resident_bytes | service, instance | memory of its process and that one's children |

The node's other figures are in `henslowe.node_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from henslowe.actors.health import WindowFigures
from henslowe.actors.instances import Duty, InstanceBoard
from henslowe.actors.traffic import TrafficStats

QUANTILES: Final = (("0.5", "p50_ms"), ("0.95", "p95_ms"), ("0.99", "p99_ms"))


class HealthCollector(Collector):
    """Reads the crews and the published traffic. Runs in: the node's loop."""

    def __init__(self, board: InstanceBoard, traffic: TrafficStats) -> None:
        self._board = board
        self._traffic = traffic

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All figures, now."""
        yield from _crews(self._board)
        versions: dict[tuple[str, str], WindowFigures] = {}
        instances: dict[tuple[str, str], WindowFigures] = {}
        for service, each in self._traffic.current.items():
            versions |= {(service, str(key.number)): seen.window for key, seen in each.versions.items()}
            instances |= {(service, instance): window for instance, window in each.instances.items()}
        yield from _windows("version", versions)
        yield from _windows("instance", instances)


def _crews(board: InstanceBoard) -> Iterator[Metric]:
    labels = ("service", "version")
    asleep = GaugeMetricFamily("henslowe_version_asleep", "Whether a call would wake it.", labels=labels)
    counts = GaugeMetricFamily("henslowe_version_instances", "Instances by duty.", labels=(*labels, "duty"))
    memory = GaugeMetricFamily(
        "henslowe_instance_resident_bytes", "Memory of its process tree.", labels=("service", "instance")
    )
    for version, crew in board.crews.items():
        of = (version.service, str(version.number))
        asleep.add_metric(of, float(crew.dormant is not None))
        for duty in Duty:
            counts.add_metric((*of, duty.value), crew.count(duty))
        for member in crew.members.values():
            if member.rss_bytes:
                memory.add_metric((version.service, member.instance), member.rss_bytes)
    yield from (asleep, counts, memory)


def _windows(what: str, windows: Mapping[tuple[str, str], WindowFigures]) -> Iterator[Metric]:
    labels = ("service", what)
    calls = GaugeMetricFamily(f"henslowe_{what}_window_calls", "Calls in the window.", labels=labels)
    errors = GaugeMetricFamily(f"henslowe_{what}_error_rate", "Part of them that failed.", labels=labels)
    times = GaugeMetricFamily(
        f"henslowe_{what}_response_seconds", "Their response times.", labels=(*labels, "quantile")
    )
    for of, window in windows.items():
        if window.error_rate is None:
            continue
        calls.add_metric(of, window.calls)
        errors.add_metric(of, window.error_rate)
        for quantile, field in QUANTILES:
            times.add_metric((*of, quantile), (getattr(window, field) or 0.0) / 1000)
    yield from (calls, errors, times)
