"""The router's tables: what outlives it and the node, so that a restart goes on with what was learned.

What is in the rows is made by the parts themselves (`dump` and `load`). Who writes: `henslowe.actors.router.keeping`.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import ServiceName
from henslowe.storage import TableSpec

SERVICES_MAX: Final = 10_000


class EvidenceRow(BaseModel):
    """The evidence of one service's trial under way; of another epoch it is history and ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    epoch: int
    """In which the trial began."""
    new: int
    """Number of the version that is judged."""
    learned: dict[str, Any]
    """As `Evidence.dump` makes it."""
    copies: dict[str, Any] = {}
    """As `Mirrorings.dump` does; empty where no live calls are mirrored."""
    saved_s: float


class TrafficRow(BaseModel):
    """A service's traffic of the last minutes, in short: who called, and how calls ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    counted: dict[str, Any]
    """As `ServiceCounter.dump` gives it, packed in pieces."""
    windows: list[Any]
    """As `ServiceWindows.dump` makes it."""
    saved_s: float


EVIDENCE: Final = TableSpec(name="evidence", row_type=EvidenceRow, key="service", rows_max=SERVICES_MAX)
TRAFFIC: Final = TableSpec(name="traffic", row_type=TrafficRow, key="service", rows_max=SERVICES_MAX)
