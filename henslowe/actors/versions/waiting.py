"""What a rollout waits for, besides its verdict: the end of a freeze, a person who holds it, a gate, a time. Pure.

The version machine asks before it takes a step forward; whoever shows the service asks the same and gets the words. Of
several things that it waits for the first is told that no time and no other approval would end. Going back asks nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from henslowe.actors.versions.change import Change, Halts
from henslowe.actors.versions.rows import Kind, ServiceRow, VersionRow
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.freeze import window_at
from henslowe.config.ramp import FOREVER, Step


class Cause(StrEnum):
    """What keeps a rollout."""

    STOPPED = "stopped"
    """The line was stopped, for all services."""
    FROZEN = "frozen"
    """It is no time for anything new."""
    HELD = "held"
    """A person holds the service."""
    TIME = "time"
    """The step lasts longer."""
    RESUME = "resume"
    """The step lasts until a person resumes it."""
    CHOICE = "choice"
    """It is an A/B test, or a version that gets nothing but copies: a person decides."""
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


def frozen(service: ServiceRow, row: VersionRow | None, halts: Halts) -> Wait | None:
    """The stopped line, or of all freezes the one that ends last; None where there is none for this version.

    A declared service has none, it follows the configuration; a restart has none, it brings nothing new.

    Args:
        service: The service.
        row: The version that wants to go on; None for any that might come.
        halts: What stops all of them.
    """
    if service.kind is Kind.DECLARED or (row is not None and row.restart_of):
        return None
    line, now_s = halts.line, halts.now_s
    if line.stopped is not None:
        return Wait(Cause.STOPPED, f"`henslowe start-the-line`{_because(line.stopped.why)}")
    if row is not None and row.thawed:
        return None
    waits = [
        Wait(Cause.FROZEN, f"the end of the freeze{_because(halt.why)}", halt.until_s)
        for halt in (line.frozen, service.freeze)
        if halt is not None and halt.holds(now_s)
    ]
    window = window_at((*halts.windows, *service.windows), now_s)
    if window is not None:
        found, end_s = window
        words = f"the end of the freeze at {found.end} {found.zone}{_because(found.why)}"
        waits.append(Wait(Cause.FROZEN, words, end_s))
    return max(waits, key=lambda wait: wait.until_s or math.inf, default=None)


def _because(why: str) -> str:
    return f" ({why})" if why else ""


def kept(service: ServiceRow, row: VersionRow, halts: Halts) -> Wait | None:
    """What keeps a version from any step forward, until somebody says otherwise or the time has come."""
    wait = frozen(service, row, halts)
    if wait is None and service.held:
        wait = Wait(Cause.HELD, f"`henslowe resume {service.service}`")
    return wait


def before_traffic(service: ServiceRow, row: VersionRow, halts: Halts, *, canary: bool) -> Wait | None:
    """What a staged version waits for whose instance is up; None when it may meet traffic.

    A restart of what serves anyway waits for nothing, and a declared service has no gates.

    Args:
        service: The service.
        row: The version.
        halts: What stops all of them.
        canary: Whether it is to become one. Else it takes all the traffic at once, and both gates are the same one.
    """
    if row.restart_of:
        return None
    gate = gate_before(row, canary=canary)
    gated = service.kind is Kind.DEVELOPED and gate and not row.approved
    return kept(service, row, halts) or (_at(gate) if gated else None)


def gate_before(row: VersionRow, *, canary: bool) -> str:
    """The gate before a version's first traffic, "" for none."""
    return row.plan.gate_first if canary else row.plan.gate_last or row.plan.gate_first


def at_step(service: ServiceRow, row: VersionRow, step: Step, halts: Halts) -> Wait | None:
    """What a canary waits for at its step, beside its calls; None when it may go on."""
    if (wait := kept(service, row, halts)) is not None:
        return wait
    if row.exposure.by_person:
        return Wait(Cause.CHOICE, f"`henslowe promote {service.service}`, or abort")
    if step.gate and not row.approved:
        return _at(step.gate)
    if service.step_until_s is None:
        return Wait(Cause.RESUME, f"`henslowe resume {service.service}`")
    if halts.now_s < service.step_until_s:
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
        step = change.service.step if number == change.service.canary else 0
        change.say(EventType.GATE_REACHED, Status.PENDING, number, gate=wait.gate, step=step)
