"""Gates: who has to agree before a transition may happen. Which gates there are follows from the rows alone.

A transition is computed first and looked at: where it would bring a version into traffic, or more of it, its hooks are
asked, and until they agree the rows stay as they are. So no transition knows of gates, and none can go around them.
Going back passes no gate, nor does a restart of what serves anyway. A person may go through without asking (`skipped`).

Asking is a port: the hooks of `henslowe.actors.hooks` are behind it. That a gate is open is remembered there, by epoch,
so that an answer is good for the state of things that it was asked about and for no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from henslowe.actors.ids import VersionKey
from henslowe.actors.messages import Command, HooksAgreed, HooksRefused
from henslowe.actors.versions.births import REASON_MAX, fail_staged
from henslowe.actors.versions.change import Change, State
from henslowe.actors.versions.rows import VersionRow, VersionState
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.hooks import HookPoint
from henslowe.storage import EventDraft

_BEFORE_ACTIVE: Final = frozenset({VersionState.STAGED, VersionState.CANARY})


@dataclass(slots=True, frozen=True)
class Gate:
    """One question: may this version take this step, as things are in this epoch?"""

    version: VersionKey
    epoch: int
    point: HookPoint


class Standing(StrEnum):
    """How a gate stands."""

    OPEN = "open"
    WAITING = "waiting"
    """It is being asked; `HooksAgreed` or `HooksRefused` follows."""
    CLOSED = "closed"
    """It was refused, in this epoch."""


class Gates(Protocol):
    """Who knows how gates stand. Runs in: the node's loop; never waits."""

    def ask(self, gate: Gate, row: VersionRow, *, again: bool) -> Standing:
        """How a gate stands now. One that was not asked is being asked from here on, `again` one that was refused."""
        ...

    def guarded(self, gate: Gate, row: VersionRow) -> bool:
        """Whether there is anybody to ask."""
        ...

    def round(self, gate: Gate) -> int:
        """Which question about a gate is the last one, counted from 1; of one that was refused, which would be next."""
        ...


class NoGates:
    """Nobody is asked."""

    def ask(self, gate: Gate, row: VersionRow, *, again: bool) -> Standing:  # noqa: ARG002 - of the port
        """All of them are open."""
        return Standing.OPEN

    def guarded(self, gate: Gate, row: VersionRow) -> bool:  # noqa: ARG002 - of the port
        """None of them is."""
        return False

    def round(self, gate: Gate) -> int:  # noqa: ARG002 - of the port
        """The first."""
        return 1


def gate_of(answer: HooksAgreed | HooksRefused) -> Gate:
    """The gate that was asked about."""
    return Gate(answer.version, answer.epoch, answer.point)


def gates_of(before: State, after: State) -> list[Gate]:
    """The gates that lie between two states of a service, in the order in which they are passed. Pure."""
    if before.service is None or after.service is None:
        return []
    gates: list[Gate] = []
    for number in dict.fromkeys((after.service.canary, after.service.active)):
        was, row = before.versions.get(number), after.versions.get(number)
        if was is None or row is None or row.restart_of:
            continue
        more = after.service.canary_weight > before.service.canary_weight
        points = {
            HookPoint.DEPLOY_START: was.state is VersionState.STAGED and row.state is not VersionState.STAGED,
            HookPoint.STEP: was.state is row.state is VersionState.CANARY and more,
            HookPoint.PROMOTE_BEFORE: was.state in _BEFORE_ACTIVE and row.state is VersionState.ACTIVE,
        }
        gates += [Gate(row.key, before.service.epoch, point) for point, lies_there in points.items() if lies_there]
    return gates


def skipped(gates: list[Gate], message: Command) -> EventDraft:
    """The event that a person goes through gates without asking, with who and why. There is at least one gate."""
    version, epoch = gates[0].version, gates[0].epoch
    data = {
        "on": [gate.point.value for gate in gates],
        "command": message.action.value,
        "by": message.by,
        "reason": message.skip_hooks[:REASON_MAX],
        "epoch": epoch,
    }
    said = (Stream.LIFECYCLE.value, EventType.HOOKS_SKIPPED.value, Status.INFO.value)
    return EventDraft(*said, version.service, version.number, data)


def refused(change: Change, message: HooksRefused) -> None:
    """A staged version that was refused FAILED; a canary stays what it is. An answer about another epoch is none."""
    number = message.version.number
    if not change.exists or message.epoch != change.service.epoch or change.service.staged != number:
        return
    fail_staged(change, stage=message.point.value, reason=message.reason[:REASON_MAX])


def waiting_reply(gate: Gate, message: Command, state: State) -> dict[str, Any]:
    """What a person hears whose command has to wait for hooks; it is carried out once they agree."""
    row = state.versions[gate.version.number]
    return {
        "service": message.service,
        "action": message.action.value,
        "state": row.state.value,
        "version": row.number,
        "semver": row.semver,
        "epoch": gate.epoch,
        "changed": False,
        "message": f"{row.key} waits for its hooks ({gate.point.value}); see `henslowe hooks {message.service}`",
    }
