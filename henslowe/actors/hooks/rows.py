"""The table of hooks: who is to be asked or told of what, and what became of it. Durable before anything is run."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.config.hooks import HookBase, HookPoint
from henslowe.storage import TableSpec


class HookState(StrEnum):
    """What became of one question or piece of news."""

    WAITING = "waiting"
    """It is to be run, is being run, or will be tried again."""
    DONE = "done"
    """It agreed, or heard the news."""
    FAILED = "failed"
    """It refused, or was never reached; what it was about did not happen, or did all the same."""


class Origin(StrEnum):
    """Where a hook comes from; they are run in this order."""

    MODULE = "module"
    """An interceptor inside the node."""
    NODE = "node"
    """`[hooks.NAME]` of `henslowe.toml`."""
    SERVICE = "service"
    """`[[hooks]]` of the version's own `service.toml`."""


class HookRow(BaseModel):
    """One hook at one moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """The idempotency key: the same however often it is run, another for each moment."""
    service: ServiceName
    version: int
    epoch: int
    point: HookPoint
    name: str
    origin: Origin
    place: int = 0
    """Its turn among those that are asked the same."""
    round: int = 1
    """Counts how often a person wanted the same question asked."""
    gate: bool = False
    state: HookState = HookState.WAITING
    attempts: int = 0
    created_s: float = 0.0
    ended_s: float = 0.0
    took_ms: int = 0
    reason: str = ""
    """Why it failed, in words."""
    output: str = ""
    """The last lines of what it said."""
    spec: HookBase | None = None
    """What to run; None for an interceptor."""
    facts: dict[str, Any] = {}
    """What it is told, as JSON."""

    @property
    def key(self) -> VersionKey:
        """The version that it is about."""
        return VersionKey(self.service, self.version)


HOOKS: Final = TableSpec(
    name="hooks",
    row_type=HookRow,
    key="id",
    indexes={"service": lambda row: row.service},
    rows_max=200_000,
)
