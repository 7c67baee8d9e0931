"""The replay table: one frozen row per event that a client may ask for again, by session, stream and number."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.storage import TableSpec


class ReplayRow(BaseModel):
    """One event of one stream; number 0 is the stream itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str
    stream: str
    number: int
    """Counted up from 1."""
    time_s: float
    """Unix time."""
    message: bytes = b""
    """The JSON-RPC message; empty for the stream itself."""
    last: bool = False
    """Whether it is the answer that the stream was for."""
    request: dict[str, Any] | None = None
    """Of the stream itself: what it answers, to be made again if the node dies meanwhile."""


REPLAY: Final = TableSpec(
    name="replay", row_type=ReplayRow, key=("session", "stream", "number"), kind="ordered_set", rows_max=200_000
)
