"""What a rollout waits for, besides its verdict: a person who holds it, the end of a step's time, a gate. Pure.

The version machine asks before it takes a step forward; whoever shows the service asks the same and gets the words. Of
several things that it waits for the first is told that no time and no other approval would end. Going back asks nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import Kind, ServiceRow, VersionRow
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.ramp import FOREVER, Step


class Cause(StrEnum):
    """What keeps a rollout."""

    HELD = "held"
    """A person holds the service."""
    TIME = "time"
    """The step lasts longer."""
    RESUME = "resume"
    """The step lasts until a person resumes it."""
    GATE = "gate"
    """A person has to approve."""


@dataclass(slots=True, frozen=True)
class Wait:
    """One thing that a rollout waits for."""

    cause: Cause
    words: str
    """Follows "waits for"."""
    until_s: float = 0.0
    """Unix time at which it ends by itself, 0 for never."""
    gate: str = ""


def before_traffic(service: ServiceRow, row: VersionRow, *, canary: bool) -> Wait | None:
    """What a staged version waits for whose instance is up; None when it may meet traffic.

    A restart of what serves anyway waits for nothing, and a declared service has no gates.

    Args:
        service: The service.
        row: The version.
        canary: Whether it is to become one. Else it takes all the traffic at once, and both gates are the same one.
    """
    if row.restart_of:
        return None
    if service.held:
        return Wait(Cause.HELD, f"`henslowe resume {service.service}`")
    gate = gate_before(row, canary=canary)
    if service.kind is Kind.DEVELOPED and gate and not row.approved:
        return _at(gate)
    return None


def gate_before(row: VersionRow, *, canary: bool) -> str:
    """The gate before a version's first traffic, "" for none."""
    return row.plan.gate_first if canary else row.plan.gate_last or row.plan.gate_first


def at_step(service: ServiceRow, row: VersionRow, step: Step, now_s: float) -> Wait | None:
    """What a canary waits for at its step, beside its calls; None when it may go on."""
    if service.held:
        return Wait(Cause.HELD, f"`henslowe resume {service.service}`")
    if step.gate and not row.approved:
        return _at(step.gate)
    if service.step_until_s is None:
        return Wait(Cause.RESUME, f"`henslowe resume {service.service}`")
    if now_s < service.step_until_s:
        return Wait(Cause.TIME, f"the end of its {step.hold:g} s", service.step_until_s)
    return None


def _at(gate: str) -> Wait:
    return Wait(Cause.GATE, f"the gate `{gate}`", gate=gate)


def until_s(step: Step, now_s: float) -> float | None:
    """When a step that begins now may end by its time; None for not before a person resumes it."""
    if step.hold == FOREVER:
        return None
    return now_s + step.hold if step.hold else 0.0


def stop_at(change: Change, number: int, wait: Wait) -> None:
    """Remembers the gate that a version has come to, and says so the first time."""
    if wait.cause is Cause.GATE and change.version(number).gate != wait.gate:
        change.set_version(number, gate=wait.gate)
        change.say(EventType.GATE_REACHED, Status.PENDING, number, gate=wait.gate, step=change.service.step)
