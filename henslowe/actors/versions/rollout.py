"""Transitions that decide who serves: deploy, canary, promotion, probation, going back. Pure.

    STAGED -(instance up)-> CANARY -(verdict)-> ACTIVE on probation -(time)-> permanent
       |                      |                    |
       +--------(immediate)---|--> ACTIVE          +-(verdict, crash)-> ROLLED_BACK, the previous one serves
       +-> FAILED             +-> ROLLED_BACK, SUPERSEDED

Two rules hold everywhere: a version serves only after its instance was up, and going back means to a version whose
instance is up. Where it is not, it is started first (`rollback_to`), and the swap follows.

**A node that died while a version was on probation.** Erlang's release handler boots the last permanent release then,
because the release *is* the node. Here a version is a child process, whose end its supervisor sees and this machine
records (`VersionRow.crashes`). So the death of the node is evidence against a version only if that version's instance
crashed as well while on probation: then the node boots the permanent one. A machine that loses power, or a developer
who kills the node between two edits, finds the version serving that served before.
"""

from __future__ import annotations

from henslowe.actors.messages import Decision, InstanceBroken, InstanceDown, InstanceUp, Strategy, Verdict
from henslowe.actors.routes import balanced_salt
from henslowe.actors.versions.births import REASON_MAX, collect, offers, stage, supersede
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import EffectKind, Kind, VersionRow, VersionState
from henslowe.actors.vocabulary import EventType, Status

# -- instances ----------------


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
        _swap_back(change, number)
    elif change.service.staged == number:
        if not change.service.held or row.restart_of:
            deploy(change, number)
    elif row.state is VersionState.ACTIVE and row.reason:
        change.set_version(number, reason="")
        change.say(EventType.SERVICE_UPDATED, Status.HEALTHY, number)


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
        change.set_version(number, state=VersionState.FAILED, stage="start", reason=reason)
        change.set_service(staged=0)
        change.effect(EffectKind.RELEASE, number)
        change.effect(EffectKind.LINKS)
        change.say(EventType.VERSION_FAILED, Status.FAILED, number, stage="start", reason=reason)
    elif service.canary == number:
        roll_back_canary(change, f"its instance cannot be kept running: {reason}")
    elif service.active == number:
        _active_broken(change, number, reason)
    elif service.rollback_to == number:
        change.set_service(rollback_to=0)
        change.effect(EffectKind.RELEASE, number)
        change.say(EventType.ROLLBACK, Status.FAILED, number, reason=reason)
    elif service.previous == number:
        change.set_service(previous=0, holdback=0)
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
    target = _target(change) if change.version(number).probation else 0
    if target and not change.service.rollback_to:
        roll_back_active(change, target, f"its instance cannot be kept running: {reason}")
        return
    change.set_version(number, reason=reason or "its instance cannot be kept running")
    change.say(EventType.SERVICE_UPDATED, Status.UNHEALTHY, number, reason=reason)


# -- forward ----------------


def deploy(change: Change, number: int) -> None:
    """A staged version whose instance is up meets traffic, the way the service's strategy says."""
    service, facts, row = change.service, change.facts, change.version(number)
    first = not service.active
    enough = row.strategy is Strategy.CANARY or (
        row.strategy is Strategy.AUTO and len(facts.units) >= facts.policy.units_min
    )
    if first or service.kind is Kind.DECLARED or row.restart_of or not enough:
        activate(change, number, why="first version" if first else "immediate")
        return
    if service.canary:
        replaced = service.canary
        supersede(change, replaced, f"{change.key(number)} is newer")
        change.effect(EffectKind.RELEASE, replaced)
    base = f"{change.name}:{service.epoch + 1}"
    weight = row.canary_weight or facts.policy.canary_weight
    salt, balance = balanced_salt(facts.units, weight, base)
    change.set_version(number, state=VersionState.CANARY)
    change.set_service(canary=number, canary_weight=weight, staged=0, salt=salt, balance=balance, holdback=0)
    change.next_epoch()
    change.say(EventType.CANARY_DEPLOY, Status.SUCCESS, number, weight=weight, active=service.active)


def activate(change: Change, number: int, *, why: str, by: str = "auto", judged: bool = False) -> None:
    """The version serves everybody; the one before it stays warm, the one before that is released.

    Args:
        change: The transition.
        number: A version whose instance is up.
        why: For people.
        by: Who said so.
        judged: Whether the verdict did: then a part of the traffic is held back as control of the probation.
    """
    service, facts, policy = change.service, change.facts, change.facts.policy
    old, restart_of = service.active, change.version(number).restart_of
    was_canary = change.version(number).state is VersionState.CANARY
    declared = service.kind is Kind.DECLARED
    restarts = bool(restart_of) and restart_of == old
    probation = bool(old) and not declared and not restarts and policy.probation_s > 0
    if restarts:
        probation = change.version(old).probation
    previous = service.previous if restarts else (0 if declared else old)
    holdback = policy.holdback if judged and probation and len(facts.units) >= policy.units_min else 0
    base = f"{change.name}:{service.epoch + 1}"
    salt, balance = balanced_salt(facts.units, holdback, base) if holdback else (base, 1.0)
    change.effect(EffectKind.ENSURE, number)  # it is up, or draining since this was decided: then it has to come back
    for other in service.wanted - {number, previous, service.staged}:
        change.effect(EffectKind.RELEASE, other)
    if service.canary not in (0, number):
        supersede(change, service.canary, f"{change.key(number)} serves instead")
    change.set_version(number, state=VersionState.ACTIVE, probation=probation, reason="", crashes=0)
    change.set_service(
        active=number,
        previous=previous,
        canary=0,
        staged=0 if service.staged == number else service.staged,
        rollback_to=0,
        permanent=service.permanent if probation else number,
        probation_until_s=0.0 if not probation else service.probation_until_s if restarts else _until(change),
        holdback=holdback,
        salt=salt,
        balance=balance,
    )
    change.next_epoch()
    if old:
        change.set_version(old, state=VersionState.ARCHIVED, probation=False)
        change.say(EventType.VERSION_ARCHIVED, Status.SUCCESS, old)
        _compare_contracts(change, old, number)
    event = EventType.PROMOTE if was_canary else EventType.DEPLOY_COMPLETE
    change.say(event, Status.SUCCESS, number, why=why, by=by, previous=old)
    collect(change)


def _until(change: Change) -> float:
    return change.facts.now_s + change.facts.policy.probation_s


def _compare_contracts(change: Change, old: int, new: int) -> None:
    before, after = change.version(old), change.version(new)
    if before.contract_digest and after.contract_digest and before.contract_digest != after.contract_digest:
        change.say(
            EventType.CONTRACT_CHANGED,
            Status.INFO,
            0,
            from_version=old,
            to_version=new,
            tools_added=sorted(set(after.tools) - set(before.tools)),
            tools_removed=sorted(set(before.tools) - set(after.tools)),
            step=_step(after, old),
        )


def _step(row: VersionRow, against: int) -> str:
    """The semver step that was found when the version was built; "" where it was compared with another, or not."""
    found = row.metadata.get("contract", {})
    return str(found["step"]) if found.get("against") == against else ""


def verdict(change: Change, message: Verdict) -> None:
    """What the router concluded, if it concluded it about the routes of now."""
    number = message.version.number
    if not change.exists or message.epoch != change.service.epoch or number not in change.versions:
        return
    service = change.service
    match message.decision:
        case Decision.PROMOTE if service.canary == number and not service.held and number in change.facts.ready:
            activate(change, number, why=message.why, judged=True)
        case Decision.ROLL_BACK if service.canary == number:
            roll_back_canary(change, message.why)
        case Decision.ROLL_BACK if service.active == number and change.version(number).probation:
            target = _target(change)
            if target and not service.rollback_to:
                roll_back_active(change, target, message.why)
        case Decision.PROBATION_PASSED if service.active == number and change.version(number).probation:
            make_permanent(change, message.why)


def probation_over(change: Change) -> None:
    """Time is up: who is still there stays."""
    if not change.exists:
        return
    service = change.service
    if service.probation_until_s and change.facts.now_s >= service.probation_until_s and not service.rollback_to:
        make_permanent(change, "nothing spoke against it during its probation")


def make_permanent(change: Change, why: str, by: str = "auto") -> None:
    """The active version passes its probation; the previous one stays warm."""
    service = change.service
    change.set_version(service.active, probation=False)
    change.set_service(permanent=service.active, probation_until_s=0.0, holdback=0)
    if service.holdback:
        change.next_epoch()
    change.say(EventType.PROBATION_PASSED, Status.SUCCESS, service.active, why=why, by=by)


# -- back ----------------


def roll_back_canary(change: Change, why: str, by: str = "auto") -> None:
    """The canary is taken back; the active version, which serves anyway, serves everybody."""
    number = change.service.canary
    change.set_version(number, state=VersionState.ROLLED_BACK, reason=why)
    change.set_service(canary=0)
    change.next_epoch()
    change.effect(EffectKind.RELEASE, number)
    change.say(EventType.ROLLBACK, Status.SUCCESS, number, why=why, by=by, to_version=change.service.active)
    collect(change)


def roll_back_active(change: Change, target: int, why: str, by: str = "auto") -> None:
    """The active version is followed by an older one: at once if that is up, else as soon as it is."""
    active = change.service.active
    change.set_version(active, reason=why)
    if target in change.facts.ready:
        _swap_back(change, target, by=by)
        return
    waiting = change.service.rollback_to
    change.set_service(rollback_to=target)
    if waiting not in (0, target) and waiting not in change.service.wanted:
        change.effect(EffectKind.RELEASE, waiting)
    change.effect(EffectKind.ENSURE, target)
    change.say(EventType.ROLLBACK, Status.PENDING, active, why=why, by=by, to_version=target)


def _swap_back(change: Change, target: int, by: str = "auto") -> None:
    service = change.service
    bad, why = service.active, change.version(service.active).reason
    change.effect(EffectKind.ENSURE, target)
    for other in service.wanted - {target, service.staged, service.canary}:
        change.effect(EffectKind.RELEASE, other)
    change.set_version(bad, state=VersionState.ROLLED_BACK, probation=False)
    change.set_version(target, state=VersionState.ACTIVE, probation=False, reason="")
    change.set_service(active=target, previous=0, permanent=target, rollback_to=0, probation_until_s=0.0, holdback=0)
    change.next_epoch()
    _compare_contracts(change, bad, target)
    change.say(EventType.ROLLBACK, Status.SUCCESS, bad, why=why, by=by, to_version=target)
    change.say(EventType.DEPLOY_COMPLETE, Status.SUCCESS, target, why=f"{change.key(bad)} was taken back")
    collect(change)


def _target(change: Change) -> int:
    """Where to go back to: the warm previous version, else the permanent one; 0 where there is none."""
    service = change.service
    for number in (service.previous, service.permanent):
        if number and number != service.active and number in change.versions:
            return number
    return 0


# -- boot ----------------


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
        reason = f"its instance crashed {active.crashes} times on probation, then the node died"
        change.set_version(active.number, reason=reason)
        # Nothing is up yet, so nothing is served by either: swapping first costs no call.
        _swap_back(change, target)
