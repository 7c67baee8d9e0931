"""What a rollout is at and what it waits for, in words and figures: pure functions from rows and snapshots.

The reasons to wait are the version machine's own (`henslowe.actors.versions.waiting`): what is shown is what is obeyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from henslowe.actors.traffic import ServiceTraffic
from henslowe.actors.versions import ServiceRow, VersionRow
from henslowe.actors.versions.waiting import Cause, Wait, at_step
from henslowe.transport.admin.models import RolloutReply


def rollout_reply(
    row: ServiceRow, versions: Mapping[int, VersionRow], traffic: ServiceTraffic | None, now_s: float
) -> RolloutReply | None:
    """The canary at its step, else the staged version that waits; None where nothing is rolled out."""
    canary = versions.get(row.canary)
    if canary is not None:
        return _canary(row, canary, traffic, now_s)
    staged = versions.get(row.staged)
    if staged is None:
        return None
    if staged.gate:
        return _staged(staged, Wait(Cause.GATE, f"the gate `{staged.gate}`", gate=staged.gate))
    if row.held:
        return _staged(staged, Wait(Cause.HELD, f"`henslowe resume {row.service}`"))
    return None


def _staged(staged: VersionRow, wait: Wait) -> RolloutReply:
    return RolloutReply(
        version=staged.number,
        waits_for=wait.cause.value,
        gate=wait.gate,
        until_s=wait.until_s,
        words=f"built, waits for {wait.words}",
    )


def _canary(row: ServiceRow, canary: VersionRow, traffic: ServiceTraffic | None, now_s: float) -> RolloutReply:
    numbers = _numbers(row, traffic)
    step = canary.plan.steps_of(row.canary_weight)[max(1, row.step) - 1]
    calls, needed = int(numbers.get("step_calls", 0)), row.step_calls
    wait = at_step(row, canary, step, now_s)
    parts = [f"{row.canary_weight / 100:g} %"]
    if needed:
        parts.append(f"{calls} of {needed} calls")
    if wait is not None:
        parts.append(f"waits for {wait.words}{_left(wait.until_s, now_s)}")
    cause = wait.cause.value if wait is not None else "calls" if calls < needed else "verdict"
    if cause == "verdict":
        parts.append("waits for the verdict")
    words = ", ".join(parts)
    return RolloutReply(
        version=canary.number,
        step=max(1, row.step),
        steps=max(1, row.steps),
        percent=row.canary_weight / 100,
        calls=calls,
        calls_needed=needed,
        waits_for=cause,
        gate=wait.gate if wait is not None else "",
        until_s=wait.until_s if wait is not None else 0.0,
        words=f"step {row.step} of {row.steps}: {words}" if row.steps > 1 else words,
    )


def _numbers(row: ServiceRow, traffic: ServiceTraffic | None) -> Mapping[str, Any]:
    """The evidence's figures, where they are of this step."""
    trial = traffic.trial if traffic is not None else None
    if trial is None or trial.new.number != row.canary or trial.numbers.get("step") != row.step:
        return {}
    return trial.numbers


def _left(until_s: float, now_s: float) -> str:
    if not until_s:
        return ""
    left_s = max(0.0, until_s - now_s)
    return f" ({left_s:.0f} s left)" if left_s < 120 else f" ({left_s / 60:.0f} min left)"
