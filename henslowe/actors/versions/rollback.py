"""Transitions that go back: a canary that is taken back, an active version that is followed by an older one. Pure.

They ask nobody and wait for nothing but the instance that is to serve: no hold, no gate and no freeze keeps them.
Going back means to a version whose instance is up; where it is not, it is started first (`rollback_to`), and the swap
follows.
"""

from __future__ import annotations

from henslowe.actors.versions import contracts
from henslowe.actors.versions.births import collect
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import NO_STEP, NOTHING_COLD, EffectKind, VersionState
from henslowe.actors.vocabulary import EventType, Status


def roll_back_canary(change: Change, why: str, by: str = "auto") -> None:
    """The canary is taken back; the active version, which serves anyway, serves everybody."""
    number = change.service.canary
    change.set_version(number, state=VersionState.ROLLED_BACK, reason=why)
    change.set_service(canary=0, exposure=change.version(change.service.active).exposure, **NO_STEP)
    change.next_epoch()
    change.effect(EffectKind.RELEASE, number)
    change.say(EventType.ROLLBACK, Status.SUCCESS, number, why=why, by=by, to_version=change.service.active)
    collect(change)


def roll_back_active(change: Change, target: int, why: str, by: str = "auto") -> None:
    """The active version is followed by an older one: at once if that is up, else as soon as it is."""
    active = change.service.active
    change.set_version(active, reason=why)
    if target in change.facts.ready:
        swap_back(change, target, by=by)
        return
    waiting = change.service.rollback_to
    change.set_service(rollback_to=target)
    if waiting not in (0, target) and waiting not in change.service.wanted:
        change.effect(EffectKind.RELEASE, waiting)
    change.effect(EffectKind.ENSURE, target)
    change.say(EventType.ROLLBACK, Status.PENDING, active, why=why, by=by, to_version=target)


def swap_back(change: Change, target: int, by: str = "auto") -> None:
    """An older version serves instead of the active one, which was given a reason."""
    service = change.service
    bad, why = service.active, change.version(service.active).reason
    change.effect(EffectKind.ENSURE, target)
    for other in service.wanted - {target, service.staged, service.canary}:
        change.effect(EffectKind.RELEASE, other)
    change.set_version(bad, state=VersionState.ROLLED_BACK, probation=False)
    change.set_version(target, state=VersionState.ACTIVE, probation=False, reason="")
    change.set_service(
        active=target,
        previous=0,
        permanent=target,
        rollback_to=0,
        probation_until_s=0.0,
        holdback=0,
        exposure=change.version(service.canary or target).exposure,
        # A canary beside it has another control from here on: what was learned against the other says nothing.
        weights=((service.epoch + 1, service.canary_weight),) if service.canary else (),
        **NOTHING_COLD,
    )
    change.next_epoch()
    contracts.swapped(change, bad, target)
    change.say(EventType.ROLLBACK, Status.SUCCESS, bad, why=why, by=by, to_version=target)
    change.say(EventType.DEPLOY_COMPLETE, Status.SUCCESS, target, why=f"{change.key(bad)} was taken back")
    collect(change)


def way_back(change: Change) -> int:
    """Where to go back to: the warm previous version, else the permanent one; 0 where there is none."""
    service = change.service
    for number in (service.previous, service.permanent):
        if number and number != service.active and number in change.versions:
            return number
    return 0
