"""What a rollout is at and what it waits for, in words and figures: pure functions from rows and snapshots.

The reasons to wait are the version machine's own (`henslowe.actors.versions.waiting`): what is shown is what is obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from henslowe.actors.hooks import HookRow
from henslowe.actors.hooks.plan import of_gate, standing_of
from henslowe.actors.traffic import ServiceTraffic
from henslowe.actors.versions import Halt, Halts, PendingRow, ServiceRow, VersionRow
from henslowe.actors.versions.gates import Standing
from henslowe.actors.versions.waiting import Cause, Wait, at_step, kept
from henslowe.config.freeze import window_at
from henslowe.transport.admin.models.services import HaltReply, RolloutReply, WaitingCommandReply
from henslowe.words import counted


def rollout_reply(
    row: ServiceRow, versions: Mapping[int, VersionRow], traffic: ServiceTraffic | None, halts: Halts
) -> RolloutReply | None:
    """The canary at its step, else the staged version that waits; None where nothing is rolled out."""
    canary, staged = versions.get(row.canary), versions.get(row.staged)
    if canary is not None:
        return _canary(row, canary, traffic, halts)
    wait = _staged_wait(row, staged, halts)
    if staged is None or wait is None:
        return None
    return RolloutReply(
        version=staged.number,
        waits_for=wait.cause.value,
        gate=wait.gate,
        until_s=wait.until_s,
        words=f"built, waits for {wait.words}{_left(wait.until_s, halts.now_s)}",
    )


def _staged_wait(row: ServiceRow, staged: VersionRow | None, halts: Halts) -> Wait | None:
    if staged is None:
        return None
    wait = kept(row, staged, halts)
    if wait is None and staged.gate:
        wait = Wait(Cause.GATE, f"the gate `{staged.gate}`", gate=staged.gate)
    return wait


def waiting_detail(row: ServiceRow, staged: VersionRow | None, halts: Halts, *, up: bool) -> str:
    """What a staged version waits for whose instance is up, in few words; "" where it does not wait."""
    wait = _staged_wait(row, staged, halts) if up else None
    words = {Cause.STOPPED: "the line", Cause.FROZEN: "the end of a freeze", Cause.HELD: "resume"}
    return f"waits for {words.get(wait.cause, wait.words)}" if wait is not None else ""


def _canary(row: ServiceRow, canary: VersionRow, traffic: ServiceTraffic | None, halts: Halts) -> RolloutReply:
    numbers = _numbers(row, traffic)
    step = canary.plan.steps_of(row.canary_weight)[max(1, row.step) - 1]
    calls, needed = int(numbers.get("step_calls", 0)), row.step_calls
    wait = at_step(row, canary, step, halts)
    parts = [f"{row.canary_weight / 100:g} %"]
    if needed:
        parts.append(f"{calls} of {counted(needed, 'call')}" if calls < needed else counted(calls, "call"))
    if wait is not None:
        parts.append(f"waits for {wait.words}{_left(wait.until_s, halts.now_s)}")
    elif calls >= needed:
        parts.append("waits for the verdict")
    words = ", ".join(parts)
    return RolloutReply(
        version=canary.number,
        step=max(1, row.step),
        steps=max(1, row.steps),
        percent=row.canary_weight / 100,
        calls=calls,
        calls_needed=needed,
        waits_for=wait.cause.value if wait is not None else "calls" if calls < needed else "verdict",
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
    units = ((172_800, 86_400, "days"), (7_200, 3_600, "h"), (120, 60, "min"), (0, 1, "s"))
    size, unit = next((size, unit) for least, size, unit in units if left_s >= least)
    return f" ({left_s / size:.0f} {unit} left)"


def command_reply(row: PendingRow | None, hooks: Iterable[HookRow]) -> WaitingCommandReply | None:
    """A person's command that is not done yet: hooks are asked, or they agreed and its instance is not up."""
    if row is None:
        return None
    agreed = standing_of(of_gate(hooks, row.version, row.epoch, row.point)) is Standing.OPEN
    said = row.command
    what = "an instance that is up" if agreed else f"its hooks ({row.point.value})"
    return WaitingCommandReply(
        version=row.version,
        command=said.action.value,
        by=said.by,
        reason=said.reason,
        since_s=row.since_s,
        waits_for="instance" if agreed else "hooks",
        words=f"{said.action.value} of v{row.version} by {said.by} waits for {what}",
    )


# -- freezes ----------------


def freeze_reply(row: ServiceRow, halts: Halts) -> HaltReply | None:
    """The freeze of one service, by a person or by its own windows, that ends last; not the node's."""
    if row.freeze is not None and row.freeze.holds(halts.now_s):
        return halt_reply(row.freeze)
    window = window_at(row.windows, halts.now_s)
    return HaltReply(why=window[0].why, until_s=window[1]) if window is not None else None


def node_freeze_reply(halts: Halts) -> HaltReply | None:
    """The freeze of all services, by a person or by the node's windows."""
    line = halts.line.frozen
    if line is not None and line.holds(halts.now_s):
        return halt_reply(line)
    window = window_at(halts.windows, halts.now_s)
    return HaltReply(why=window[0].why, until_s=window[1]) if window is not None else None


def halt_reply(halt: Halt) -> HaltReply:
    """A person's word, as the API shows it."""
    return HaltReply(by=halt.by, why=halt.why, since_s=halt.since_s, until_s=halt.until_s)
