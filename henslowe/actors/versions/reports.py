"""Transitions by what was reported: instances that came up or ended, verdicts, time that passed, a start. Pure.

**A node that died while a version was on probation.** Erlang's release handler boots the last permanent release then,
because the release *is* the node. Here a version is a child process, whose end its supervisor sees and this machine
records (`VersionRow.crashes`). So the death of the node is evidence against a version only if that version's instance
crashed as well while on probation: then the node boots the permanent one. A machine that loses power, or a developer
who kills the node between two edits, finds the version serving that served before.
"""

from __future__ import annotations

from henslowe.actors.messages import (
    Decision,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    Rehearsed,
    Verdict,
    VersionOutgrown,
)
from henslowe.actors.versions import rehearsing
from henslowe.actors.versions.births import REASON_MAX, fail_staged, offers, stage, supersede
from henslowe.actors.versions.change import Change, Halts
from henslowe.actors.versions.rollback import roll_back_active, roll_back_canary, swap_back, way_back
from henslowe.actors.versions.rollout import go_on, let_go, make_permanent, step_shown
from henslowe.actors.versions.rows import NOTHING_COLD, EffectKind, Kind, ServiceRow, VersionRow, VersionState
from henslowe.actors.versions.waiting import frozen
from henslowe.actors.vocabulary import EventType, Status
from henslowe.words import counted


def instance_up(change: Change, message: InstanceUp) -> None:
    """A staged version goes on; a version that was started to go back to takes over; a sick one is well again."""
    number = message.version.number
    row = change.versions.get(number)
    if not change.exists or row is None:
        return
    found = offers(message.contract)
    if message.contract.digest and message.contract.digest != row.contract_digest:
        change.set_version(number, **found)
        change.say(EventType.CONTRACT_CHANGED, Status.INFO, number, digest=message.contract.digest)
    if change.service.rollback_to == number:
        swap_back(change, number)
    elif change.service.staged == number:
        go_on(change, number)
    elif row.state is VersionState.ACTIVE and row.reason:
        change.set_version(number, reason="")
        change.say(EventType.SERVICE_UPDATED, Status.HEALTHY, number)


def rehearsed(change: Change, message: Rehearsed) -> None:
    """Captured calls were replayed, or not: the version goes on, unless that speaks against it."""
    if rehearsing.rehearsed(change, message):
        go_on(change, message.version.number)


def instance_down(change: Change, message: InstanceDown) -> None:
    """A crash on probation is remembered: it decides what a node boots that dies afterwards."""
    number = message.version.number
    if message.expected or not change.exists or change.service.active != number:
        return
    row = change.version(number)
    if row.probation:
        change.set_version(number, crashes=row.crashes + 1)
        change.say(EventType.SERVICE_UPDATED, Status.DEGRADED, number, reason=message.reason[:REASON_MAX])


def instance_broken(change: Change, message: InstanceBroken) -> None:
    """A version that cannot be kept running: FAILED, taken back, or shown as unhealthy, by what it was."""
    number, reason = message.version.number, message.reason[:REASON_MAX]
    if not change.exists or number not in change.versions:
        return
    service = change.service
    if service.staged == number:
        fail_staged(change, stage="start", reason=reason)
    elif service.canary == number:
        roll_back_canary(change, f"its instance cannot be kept running: {reason}")
    elif service.active == number:
        _active_broken(change, number, reason)
    elif service.rollback_to == number:
        change.set_service(rollback_to=0)
        change.effect(EffectKind.RELEASE, number)
        change.say(EventType.ROLLBACK, Status.FAILED, number, reason=reason)
    elif service.previous == number:
        change.set_service(previous=0, holdback=0, **NOTHING_COLD)
        if service.holdback:
            change.next_epoch()
        change.effect(EffectKind.RELEASE, number)
        change.say(EventType.SERVICE_UPDATED, Status.DEGRADED, number, reason=f"not warm any more: {reason}")


def try_again(change: Change, number: int) -> None:
    """Starts once more what there is nothing better than: a broken active version, a declared one that never started.

    What broke it may be gone: a port in use, a remote server that was down. A developed version that never started is
    not tried again, its next edit is.
    """
    row = change.versions.get(number)
    if not change.exists or row is None:
        return
    service = change.service
    if service.active == number:
        change.effect(EffectKind.ENSURE, number)
    elif (
        service.kind is Kind.DECLARED
        and not service.retired
        and not service.wanted
        and number == service.last_number
        and row.state is VersionState.FAILED
    ):
        change.set_version(number, state=VersionState.STAGED, reason="", stage="")
        stage(change, number)


def _active_broken(change: Change, number: int, reason: str) -> None:
    target = way_back(change) if change.version(number).probation else 0
    if target and not change.service.rollback_to:
        roll_back_active(change, target, f"its instance cannot be kept running: {reason}")
        return
    change.set_version(number, reason=reason or "its instance cannot be kept running")
    change.say(EventType.SERVICE_UPDATED, Status.UNHEALTHY, number, reason=reason)


def verdict(change: Change, message: Verdict) -> None:
    """What the router concluded, if it concluded it about the routes of now."""
    number = message.version.number
    if not change.exists or message.epoch != change.service.epoch or number not in change.versions:
        return
    service = change.service
    match message.decision:
        case Decision.PROMOTE | Decision.ADVANCE if service.canary == number:
            step_shown(change, message.why, promotes=message.decision is Decision.PROMOTE)
        case Decision.ROLL_BACK:
            _take_back(change, number, message.why)
        case Decision.PROBATION_PASSED if service.active == number and change.version(number).probation:
            make_permanent(change, message.why)


def outgrown(change: Change, message: VersionOutgrown) -> None:
    """A version on trial whose instances grow beyond its limit of memory is taken back; others are only replaced."""
    number = message.version.number
    if change.exists and number in change.versions:
        _take_back(change, number, message.why)


def _take_back(change: Change, number: int, why: str) -> None:
    """A version on trial, if there is something to go back to; nothing for one that is not, or goes already."""
    service = change.service
    if service.canary == number:
        roll_back_canary(change, why)
        return
    on_trial = service.active == number and change.version(number).probation and not service.rollback_to
    if on_trial and (target := way_back(change)):
        roll_back_active(change, target, why)


def time_up(change: Change) -> None:
    """Something may be over that the rows gave a time: a probation, the warmth of the version before."""
    if not change.exists:
        return
    service, now_s = change.service, change.facts.now_s
    if service.probation_until_s and now_s >= service.probation_until_s and not service.rollback_to:
        make_permanent(change, "nothing spoke against it during its probation")
    service = change.service
    if service.warm_until_s and now_s >= service.warm_until_s and not service.probation_until_s:
        let_go(change)
    if service.freeze is not None and not service.freeze.holds(now_s):
        change.set_service(freeze=None)
        change.say(EventType.FREEZE_END, Status.SUCCESS, reason="its time is up")
    if service.staged and service.staged in change.facts.ready:
        go_on(change, service.staged)


def next_time_s(service: ServiceRow, staged: VersionRow | None, halts: Halts) -> float:
    """Unix time at which `time_up` should be asked, 0 for never.

    Args:
        service: The service.
        staged: The version that comes next.
        halts: What stops all new versions.
    """
    freeze = frozen(service, staged, halts) if staged is not None else None
    times = (
        service.probation_until_s,
        0.0 if service.probation_until_s else service.warm_until_s,
        service.freeze.until_s if service.freeze is not None else 0.0,
        freeze.until_s if freeze is not None else 0.0,
    )
    return min((one for one in times if one), default=0.0)


def boot(change: Change, *, unclean: bool) -> None:
    """The node starts: what was being built is over, and a version that crashed before the node died is taken back.

    That everything wanted is started is the actor's doing: it is no transition.
    """
    if not change.exists:
        return
    for row in list(change.versions.values()):
        if row.state is VersionState.DEVELOPMENT:
            supersede(change, row.number, "the node stopped while it was being built")
    service = change.service
    active = change.versions.get(service.active)
    target = service.permanent
    if unclean and active is not None and active.probation and active.crashes and target not in (0, active.number):
        reason = f"its instance crashed {counted(active.crashes, 'time')} on probation, then the node died"
        change.set_version(active.number, reason=reason)
        # Nothing is up yet, so nothing is served by either: swapping first costs no call.
        swap_back(change, target)
