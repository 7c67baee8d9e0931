"""Transitions by which a version comes to its traffic: deploy, canary step by step, promotion, probation. Pure.

    STAGED -(instance up)-> CANARY 5 % -> 25 % -> ... -(verdict)-> ACTIVE on probation -(time)-> permanent
       |                      |                                       |
       +-----(immediate, blue-green)--> ACTIVE                        +-(verdict, crash)-> ROLLED_BACK
       +-> FAILED             +-> ROLLED_BACK, SUPERSEDED

A version serves only after its instance was up, and takes a step forward only where nothing keeps it (`waiting`). All
steps of a canary are one rollout with one salt: more weight moves units from the stable version to the canary and none
back. Which weight it had from which epoch on stays in the row, because the evidence is weighed with it.

Not here: the way back (`rollback`), what instances and the router report (`reports`), people (`commands`).
"""

from __future__ import annotations

from henslowe.actors.messages import Strategy
from henslowe.actors.routes import balanced_salt
from henslowe.actors.versions import contracts, rehearsing
from henslowe.actors.versions.births import collect, supersede
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import (
    NO_STEP,
    EffectKind,
    Kind,
    ServiceRow,
    VersionRow,
    VersionState,
)
from henslowe.actors.versions.waiting import at_step, before_traffic, stop_at, until_s
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.ramp import Step


def go_on(change: Change, number: int) -> None:
    """A staged version whose instance is up meets traffic, unless it has to be rehearsed first, or has to wait."""
    canary = makes_canary(change, number)
    if rehearsing.comes_first(change, number, canary=canary):
        return
    wait = before_traffic(change.service, change.version(number), change.halts, canary=canary)
    if wait is None:
        deploy(change, number)
    else:
        stop_at(change, number, wait)


def makes_canary(change: Change, number: int) -> bool:
    """Whether a staged version would meet a share of the traffic first; else it takes all of it at once."""
    service, facts, row = change.service, change.facts, change.version(number)
    enough = row.strategy is Strategy.CANARY or (
        row.strategy is Strategy.AUTO and len(facts.units) >= facts.policy.units_min
    )
    enough = enough or row.exposure.beside
    return bool(service.active) and service.kind is Kind.DEVELOPED and not row.restart_of and enough


def deploy(change: Change, number: int) -> None:
    """A staged version whose instance is up meets traffic, the way its strategy says."""
    service, facts, row = change.service, change.facts, change.version(number)
    if not makes_canary(change, number):
        swap = "blue-green" if row.strategy is Strategy.BLUE_GREEN else "immediate"
        activate(change, number, why=swap if service.active else "first version")
        return
    if service.canary:
        replaced = service.canary
        supersede(change, replaced, f"{change.key(number)} is newer")
        change.effect(EffectKind.RELEASE, replaced)
    steps = steps_of(change, row)
    weight = row.exposure.share(steps[0].parts)
    salt, balance = balanced_salt(facts.units, weight, f"{change.name}:{service.epoch + 1}")
    change.set_version(number, state=VersionState.CANARY, approved=False)
    change.set_service(
        canary=number, staged=0, salt=salt, balance=balance, holdback=0, exposure=row.exposure, **NO_STEP
    )
    _begin(change, 1, steps)
    change.say(
        EventType.CANARY_DEPLOY, Status.SUCCESS, number, weight=weight, active=service.active, step=1, steps=len(steps)
    )


def steps_of(change: Change, row: VersionRow) -> tuple[Step, ...]:
    """The steps of a version, at least one."""
    return row.plan.steps_of(row.canary_weight or change.facts.policy.canary_weight)


def step_of(service: ServiceRow) -> int:
    """The step that the canary is at; one that an earlier Henslowe began is at its only one."""
    return max(1, service.step)


def _begin(change: Change, number: int, steps: tuple[Step, ...]) -> None:
    """From the next epoch on the canary is at this step."""
    epoch, step = change.service.epoch + 1, steps[number - 1]
    parts = change.service.exposure.share(step.parts)
    change.set_service(
        canary_weight=parts,
        step=number,
        steps=len(steps),
        step_calls=step.min_calls,
        step_until_s=until_s(step, change.facts.now_s),
        weights=(*change.service.weights, (epoch, parts)),
    )
    change.next_epoch()


def step_shown(change: Change, why: str, *, promotes: bool) -> None:
    """The canary has shown what it had to at its step: it goes on, unless it has to wait.

    Args:
        change: The transition.
        why: For people.
        promotes: Whether the verdict on the whole rollout is that it is good; asked for after the last step.
    """
    service = change.service
    row = change.version(service.canary)
    steps, at = steps_of(change, row), step_of(service)
    last = at >= len(steps)
    if row.number not in change.facts.ready or (last and not promotes):
        return
    wait = at_step(service, row, steps[min(at, len(steps)) - 1], change.halts)
    if wait is not None:
        stop_at(change, row.number, wait)
    elif last:
        activate(change, row.number, why=why, judged=True)
    else:
        advance(change, why=why)


def advance(change: Change, *, why: str, by: str = "auto") -> None:
    """The canary goes on to the next of its steps, which it has."""
    service = change.service
    steps, number = steps_of(change, change.version(service.canary)), step_of(service) + 1
    step = steps[number - 1]
    change.set_version(service.canary, gate="", approved=False)
    _begin(change, number, steps)
    change.say(
        EventType.CANARY_STEP,
        Status.SUCCESS,
        service.canary,
        weight=step.parts,
        step=number,
        steps=len(steps),
        why=why,
        by=by,
    )


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
        exposure=change.version(number).exposure,
        **NO_STEP,
    )
    if not restarts:
        warm_s = change.version(number).plan.warm_s
        change.set_service(cold=False, warm_until_s=change.facts.now_s + warm_s if old and warm_s is not None else 0.0)
    change.next_epoch()
    if old:
        change.set_version(old, state=VersionState.ARCHIVED, probation=False)
        change.say(EventType.VERSION_ARCHIVED, Status.SUCCESS, old)
        contracts.swapped(change, old, number)
    event = EventType.PROMOTE if was_canary else EventType.DEPLOY_COMPLETE
    change.say(event, Status.SUCCESS, number, why=why, by=by, previous=old)
    collect(change)


def _until(change: Change) -> float:
    return change.facts.now_s + change.facts.policy.probation_s


def make_permanent(change: Change, why: str, by: str = "auto") -> None:
    """The active version passes its probation; the previous one stays warm."""
    service = change.service
    change.set_version(service.active, probation=False)
    change.set_service(permanent=service.active, probation_until_s=0.0, holdback=0)
    if service.holdback:
        change.next_epoch()
    change.say(EventType.PROBATION_PASSED, Status.SUCCESS, service.active, why=why, by=by)


def let_go(change: Change) -> None:
    """The previous version was kept warm for long enough: its instance ends, the way back begins with starting it."""
    service = change.service
    change.set_service(cold=True, warm_until_s=0.0)
    change.effect(EffectKind.RELEASE, service.previous)
    change.say(EventType.SERVICE_UPDATED, Status.INFO, service.previous, reason="not kept warm any more")
