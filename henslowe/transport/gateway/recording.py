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
        if self.capture is not None and self.capture.wants(choice.endpoint.version.service, ask.method, ask.unit.key):
            self.capture.record(_exchange(ask, choice.endpoint, answer, ended))
        if choice.route.mirror and answer is not None and self.mirror is not None:
            self.mirror.offer(ask, choice, answer, ended.took_s)
        if choice.arm is None:
            self.metrics.call(choice.endpoint.version, ended.outcome, ended.took_s)
        else:
            endpoint = choice.endpoint
            self.observe(ask, choice.route, choice.arm, endpoint.version, ended, instance=endpoint.instance)

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
        self.observations.record(
            CallRecord(
                version=version,
                arm=arm,
                unit=unit,
                unit_is_session=stays,
                tool=evidence.subject_of(ask.method, ask.params),
                outcome=ended.outcome,
                latency_s=ended.took_s,
                time_s=self.clock(),
                epoch=route.epoch,
                error=ended.error,
                principal=ask.principal,
                instance=instance,
                chosen=chosen,
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
