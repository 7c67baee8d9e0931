"""What finished attempts say about versions, handed on: to the canary router as evidence, and to the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from henslowe.actors.ids import VersionKey
from henslowe.actors.routes import Arm, CallRecord, Observations, Outcome, Route
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.metrics import GatewayMetrics
from henslowe.transport.gateway.selection import Choice


@dataclass(slots=True, frozen=True)
class Ended:
    """How one attempt ended, or why there was none."""

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

    def attempt(self, ask: Ask, choice: Choice, outcome: Outcome, began_s: float, error: str) -> None:
        """An attempt ended that began at `began_s` (monotonic)."""
        ended = Ended(outcome, time.monotonic() - began_s, error)
        if choice.arm is None:
            self.metrics.call(choice.endpoint.version, ended.outcome, ended.took_s)
        else:
            self.observe(ask, choice.route, choice.arm, choice.endpoint.version, ended)

    def observe(self, ask: Ask, route: Route, arm: Arm, version: VersionKey, ended: Ended) -> None:
        """An attempt ended, or could not begin."""
        self.metrics.call(version, ended.outcome, ended.took_s)
        self.observations.record(
            CallRecord(
                version=version,
                arm=arm,
                unit=ask.unit.key,
                unit_is_session=ask.unit.is_session,
                tool=evidence.subject_of(ask.method, ask.params),
                outcome=ended.outcome,
                latency_s=ended.took_s,
                time_s=self.clock(),
                epoch=route.epoch,
                error=ended.error,
            )
        )
