"""The gateway's figures for Prometheus, in the registry that the node passes in.

| metric | labels | what |
|---|---|---|
| henslowe_gateway_calls_total | service, version, outcome | attempts at a server that ended |
| henslowe_gateway_call_seconds | service | how long they took |
| henslowe_gateway_retries_total | service | attempts made again after a lost connection |
| henslowe_gateway_hedges_total | service | calls tried at a second instance while the first still worked on them |
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

from prometheus_client import CollectorRegistry, Counter, Gauge

from henslowe.actors.health import InstanceHealth
from henslowe.transport.gateway.call_figures import CallFigures


class GatewayMetrics:
    """All figures of the gateway; those of each call are `call_figures`'s."""

    def __init__(self, registry: CollectorRegistry) -> None:
        calls = CallFigures()
        registry.register(calls)
        self.call = calls.ended
        """Counts one attempt that ended: its version, its outcome, its seconds."""
        self._retries = Counter("henslowe_gateway_retries", "Attempts made again.", ("service",), registry=registry)
        self._hedges = Counter("henslowe_gateway_hedges", "Calls tried twice at once.", ("service",), registry=registry)
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

    def retry(self, service: str) -> None:
        """Count an attempt made again."""
        self._retries.labels(service).inc()

    def hedge(self, service: str) -> None:
        """Count a second try beside the first."""
        self._hedges.labels(service).inc()

    def breaker(self, health: InstanceHealth) -> None:
        """Count a breaker that changed its state."""
        self._breakers.labels(health.version.service, health.breaker.state.value).inc()

    def refused(self, status: int) -> None:
        """Count a request that ended at the gateway."""
        self._refused.labels(str(status)).inc()
