"""The gateway's figures for Prometheus, in the registry that the node passes in.

| metric | labels | what |
|---|---|---|
| henslowe_gateway_calls_total | service, version, outcome | attempts at a server that ended |
| henslowe_gateway_call_seconds | service | how long they took |
| henslowe_gateway_retries_total | service | attempts made again after a lost connection |
| henslowe_gateway_breaker_changes_total | service, state | breakers of instances that opened, half-opened or closed |
| henslowe_gateway_refused_total | status | requests that ended at the gateway |
| henslowe_gateway_in_flight | | calls under way |
| henslowe_gateway_waiting | | of these, the ones that wait for an instance or for room at one |
| henslowe_gateway_cache_hits | | calls that were answered from results that are still good |
| henslowe_gateway_sessions | | open handshake-era sessions |
| henslowe_gateway_streams | | open change streams |
| henslowe_gateway_private_connections | | connections that belong to one client each |
| henslowe_gateway_mirrored | outcome | copies of live calls since the start: `made`, `dropped` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from henslowe.actors.health import InstanceHealth
from henslowe.actors.ids import VersionKey
from henslowe.actors.routes import Outcome

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""From a stdio round trip to the longest call that is allowed."""
LABELS_MAX: Final = 2_000
"""Version and outcome pairs kept; a node that has shipped more forgets the oldest, which a scraper has long seen."""


class GatewayMetrics:
    """Counters with their label lookups remembered: `labels()` costs more than counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "henslowe_gateway_calls", "Attempts that ended.", ("service", "version", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "henslowe_gateway_call_seconds", "Duration of attempts.", ("service",), registry=registry, buckets=BUCKETS_S
        )
        self._retries = Counter("henslowe_gateway_retries", "Attempts made again.", ("service",), registry=registry)
        self._breakers = Counter(
            "henslowe_gateway_breaker_changes", "Breakers that changed.", ("service", "state"), registry=registry
        )
        self._refused = Counter(
            "henslowe_gateway_refused", "Requests that ended at the gateway.", ("status",), registry=registry
        )
        self._in_flight = Gauge("henslowe_gateway_in_flight", "Calls under way.", registry=registry)
        self._waiting = Gauge("henslowe_gateway_waiting", "Calls that wait.", registry=registry)
        self._cache_hits = Gauge("henslowe_gateway_cache_hits", "Calls answered without the server.", registry=registry)
        self._sessions = Gauge("henslowe_gateway_sessions", "Open handshake-era sessions.", registry=registry)
        self._streams = Gauge("henslowe_gateway_streams", "Open change streams.", registry=registry)
        self._private = Gauge(
            "henslowe_gateway_private_connections", "Connections that belong to one client each.", registry=registry
        )
        self._mirrored = Gauge("henslowe_gateway_mirrored", "Copies of live calls.", ("outcome",), registry=registry)
        self._call_of: dict[tuple[VersionKey, Outcome], Counter] = {}
        self._seconds_of: dict[str, Histogram] = {}

    def watch(
        self,
        *,
        in_flight: Callable[[], float],
        waiting: Callable[[], float],
        cache_hits: Callable[[], float],
        sessions: Callable[[], float],
        streams: Callable[[], float],
        private: Callable[[], float],
        mirrored: Callable[[], float],
        mirror_dropped: Callable[[], float],
    ) -> None:
        """Read these at each scrape."""
        self._in_flight.set_function(in_flight)
        self._waiting.set_function(waiting)
        self._cache_hits.set_function(cache_hits)
        self._sessions.set_function(sessions)
        self._streams.set_function(streams)
        self._private.set_function(private)
        self._mirrored.labels("made").set_function(mirrored)
        self._mirrored.labels("dropped").set_function(mirror_dropped)

    def call(self, version: VersionKey, outcome: Outcome, seconds: float) -> None:
        """Count one attempt that ended."""
        counter = self._call_of.get((version, outcome))
        if counter is None:
            if len(self._call_of) >= LABELS_MAX:
                (old, old_outcome), _ = next(iter(self._call_of.items()))
                del self._call_of[old, old_outcome]
                self._calls.remove(old.service, str(old.number), old_outcome.value)
            counter = self._calls.labels(version.service, str(version.number), outcome.value)
            self._call_of[version, outcome] = counter
        counter.inc()
        histogram = self._seconds_of.get(version.service)
        if histogram is None:
            histogram = self._seconds_of[version.service] = self._seconds.labels(version.service)
        histogram.observe(seconds)

    def retry(self, service: str) -> None:
        """Count an attempt made again."""
        self._retries.labels(service).inc()

    def breaker(self, health: InstanceHealth) -> None:
        """Count a breaker that changed its state."""
        self._breakers.labels(health.version.service, health.breaker.state.value).inc()

    def refused(self, status: int) -> None:
        """Count a request that ended at the gateway."""
        self._refused.labels(str(status)).inc()
