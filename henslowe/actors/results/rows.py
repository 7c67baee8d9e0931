"""The results table: one frozen row per answer that is good for some time."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import ServiceName
from henslowe.storage import TableSpec


class ResultRow(BaseModel):
    """One answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """A digest of what was asked, of whom, in which era, and by whom where that matters."""
    service: ServiceName
    version: int
    method: str
    name: str
    """Of the tool, or the resource's URI."""
    owner: str
    """Whose it is; "" for everybody's."""
    stored_s: float
    expires_s: float
    """Unix times."""
    answer: bytes
    """JSON."""


RESULTS: Final = TableSpec(name="results", row_type=ResultRow, key="key", rows_max=50_000)
