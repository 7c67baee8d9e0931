"""Commands of people that were answered "waits": a row each, from that answer until they are done or end. Pure.

    answered "waits" --row--> hooks agree, instance up --the transition's commit--> done, row gone
                              refused, impossible, overtaken --commit--> an event that says so, row gone

A service has one at most: the latest word counts, and the one before ends. The row is deleted by the very commit that
does what it says, so no crash does it twice; whoever starts finds the row and goes on. What other messages wait for
is in no row: instances report again, and the verdict comes again.

When a gate is open: `henslowe.actors.versions.gates`. Who reads, writes and carries out: `ledger` and `actor`.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Command
from henslowe.actors.versions.births import REASON_MAX
from henslowe.actors.versions.change import State
from henslowe.actors.versions.gates import Gate
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.hooks import HookPoint
from henslowe.storage import EventDraft, TableSpec


class PendingRow(BaseModel):
    """A command and the gate at which it waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    version: int
    epoch: int
    point: HookPoint
    """The gate: which version wanted to take which step, in which epoch."""
    command: Command
    """What was said, word for word."""
    since_s: float
    """Unix time at which it came to this gate."""
    round: int = 1
    """Which question about the gate it waits for: what was said to an earlier one is not meant for it."""

    @classmethod
    def of(cls, gate: Gate, message: Command, now_s: float, round_: int = 1) -> PendingRow:
        """The row of a command that came to a gate."""
        return cls(
            service=message.service,
            version=gate.version.number,
            epoch=gate.epoch,
            point=gate.point,
            command=message,
            since_s=now_s,
            round=round_,
        )

    @property
    def key(self) -> VersionKey:
        """The version that waits at the gate."""
        return VersionKey(self.service, self.version)

    @property
    def gate(self) -> Gate:
        """Where it waits."""
        return Gate(self.key, self.epoch, self.point)


def overtaken(row: PendingRow, state: State) -> str:
    """Why there is nothing left to do for a command in this state of its service, "" while there is.

    What a person wanted of one version in one epoch is not done to another, nor a second time.
    """
    version = state.versions.get(row.version)
    if state.service is None or version is None:
        return f"{row.key} is gone"
    if row.version not in (state.service.staged, state.service.canary):
        return f"{row.key} is {version.state.value}" + (f": {version.reason}" if version.reason else "")
    if row.epoch != state.service.epoch:
        return f"the rollout of {row.key} went on meanwhile (epoch {state.service.epoch})"
    return ""


def refused_by_hooks(row: PendingRow) -> str:
    """Why a command ends whose hooks refused, where nobody heard which of them did."""
    return f"its hooks refused ({row.point.value})"


def began(row: PendingRow) -> EventDraft:
    """The event that a command waits."""
    return _event(row, Status.PENDING, f"waits for hooks ({row.point.value})")


def ended(row: PendingRow, status: Status, why: str) -> EventDraft:
    """The event that a command will not be done."""
    return _event(row, status, why[:REASON_MAX])


def _event(row: PendingRow, status: Status, message: str) -> EventDraft:
    said = row.command
    data = {"command": said.action.value, "by": said.by, "reason": said.reason, "epoch": row.epoch, "message": message}
    return EventDraft(Stream.LIFECYCLE.value, EventType.COMMAND.value, status.value, row.service, row.version, data)


def _with_command(fields: dict[str, Any]) -> dict[str, Any]:
    """What was said had no field of its own at first."""
    own = {name: fields[name] for name in PendingRow.model_fields if name in fields}
    return {**own, "command": {name: fields[name] for name in fields if name == "service" or name not in own}}


PENDING: Final = TableSpec(
    name="pending", row_type=PendingRow, key="service", schema=2, upcast={1: _with_command}, rows_max=10_000
)
