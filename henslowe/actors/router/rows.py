"""The router's table: what a trial has learned, so that a restart of the router or of the node goes on with it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import ServiceName
from henslowe.storage import TableSpec


class EvidenceRow(BaseModel):
    """The evidence of one service's trial under way; of another epoch it is history and ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    epoch: int
    """In which the trial began."""
    new: int
    """Number of the version that is judged."""
    learned: dict[str, Any]
    """As `Evidence.dump` gives it."""
    saved_s: float


EVIDENCE: Final = TableSpec(name="evidence", row_type=EvidenceRow, key="service", rows_max=10_000)
