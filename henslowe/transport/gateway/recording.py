"""What finished attempts say about versions, handed on: to the router as evidence, to the metrics, to the capture."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from henslowe.actors.capturing import CallCapture, Exchange
from henslowe.actors.endpoints import Endpoint, JsonObject
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.routes import NO_INSTANCE, Arm, CallRecord, Observations, Outcome, Route
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.metrics import GatewayMetrics
from henslowe.transport.gateway.mirroring import Mirror
from henslowe.transport.gateway.selection import Choice
from henslowe.transport.gateway.visitors import counted
from henslowe.transport.mcp import large_json


@dataclass(slots=True)
class Ended:
    """How one attempt ended, or why there was none. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    outcome: Outcome
    took_s: float
    error: str = ""


@dataclass(slots=True, frozen=True)
class Recording:
    """Each attempt that says something about a version becomes exactly one `CallRecord`."""

    observations: Observations
    metrics: GatewayMetrics
    clock: Callable[[], float]
    """Unix seconds."""
    capture: CallCapture | None = None
    """Where exchanges are recorded as they were, if anywhere."""
    mirror: Mirror | None = None
    """Copies calls of the routes that say so."""

    def attempt(
        self,
        ask: Ask,
        choice: Choice,
        began_s: float,
        outcome: Outcome,
        error: str,
        *,
        answer: JsonObject | None = None,
    ) -> None:
        """An attempt ended that began at `began_s` (monotonic), with an answer or without one."""
        ended = Ended(outcome, max(0.0, time.monotonic() - began_s), error)
        endpoint, route, capture = choice.endpoint, choice.route, self.capture
        version = endpoint.version
        if capture is not None and capture.wants(version.service, ask.method, ask.unit.key):
            told = None if answer is None else large_json.excerpts(answer)
            capture.record(_exchange(ask, endpoint, told, ended))
        if route.mirror and answer is not None and self.mirror is not None:
            self.mirror.offer(ask, choice, large_json.plain(answer), ended.took_s)
        if choice.arm is None:
            self.metrics.call(version, outcome, ended.took_s)
        else:
            self.observe(ask, route, choice.arm, version, ended, instance=endpoint.instance)

    def observe(
        self,
        ask: Ask,
        route: Route,
        arm: Arm,
        version: VersionKey,
        ended: Ended,
        *,
        instance: InstanceId = NO_INSTANCE,
    ) -> None:
        """An attempt ended, or could not begin."""
        self.metrics.call(version, ended.outcome, ended.took_s)
        unit, stays, chosen = counted(route, ask.unit)
        tool, outcome, took_s, error = (
            evidence.subject_of(ask.method, ask.params),
            ended.outcome,
            ended.took_s,
            ended.error,
        )
        now_s, epoch, principal = self.clock(), route.epoch, ask.principal
        self.observations.record(  # by position: one is made per call, and names would cost it three times as much
            CallRecord(
                version, arm, unit, stays, tool, outcome, took_s, now_s, epoch, error, principal, instance, chosen
            )
        )


def _exchange(ask: Ask, endpoint: Endpoint, answer: JsonObject | None, ended: Ended) -> Exchange:
    return Exchange(
        service=endpoint.version.service,
        version=endpoint.version.number,
        instance=endpoint.instance,
        unit=ask.unit.key,
        unit_is_session=ask.unit.is_session,
        era=ask.era.value,
        method=ask.method,
        params=ask.params,
        answer=answer,
        outcome=ended.outcome.value,
        latency_s=ended.took_s,
        read_only=evidence.reads_only(ask.method, ask.params, endpoint.contract),
        request_id=ask.request_id,
        error=ended.error,
    )
