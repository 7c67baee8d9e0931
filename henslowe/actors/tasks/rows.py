"""The tasks table: one frozen row per task that some client may still ask for, found by the id that the client has."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.storage import TableSpec

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
"""Statuses after which a task changes no more."""


class TaskRow(BaseModel):
    """Where a task is, and what is known of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """As its client knows it: minted by the gateway, never guessable."""
    service: ServiceName
    version: int
    instance: InstanceId
    own: str
    """As its server knows it."""
    era: str
    """Of its server, whose clients alone can have tasks there."""
    owner: str
    """The principal that made it; "" where nobody has one, and the id alone is the key."""
    unit: str
    """The session or client that made it, as units of routing are named."""
    created_s: float
    expires_s: float
    """Unix times. After the second nobody is told of it any more."""
    status: str = "working"
    final: dict[str, Any] | None = None
    """What its server last said of it, once that is final: answered also when the server is gone."""

    @property
    def key(self) -> VersionKey:
        """The version that made it."""
        return VersionKey(self.service, self.version)

    @property
    def open(self) -> bool:
        """Whether its server is still at it, as far as is known."""
        return self.status not in TERMINAL


TASKS: Final = TableSpec(
    name="tasks",
    row_type=TaskRow,
    key="id",
    indexes={"service": lambda row: row.service, "unit": lambda row: row.unit},
)
