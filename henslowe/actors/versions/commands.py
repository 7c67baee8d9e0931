"""Transitions that a person asks for about who serves: promote, approve, freeze, roll back, hold, resume, abort. Pure.

A command that carries the epoch it was decided on is a no-op when the service has moved on since: clicking twice does
not promote twice. What cannot be done at all is a `Conflict` that says which state the service is in. What is done to
versions outside of a rollout (retry, restart, pin, remove) is in `repairs`.
"""

from __future__ import annotations

from typing import Any

from henslowe.actors.messages import Action, Command
from henslowe.actors.versions import repairs
from henslowe.actors.versions.births import ABORTED, existing, fail_staged
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.repairs import heard, why
from henslowe.actors.versions.rollback import roll_back_active, roll_back_canary
from henslowe.actors.versions.rollout import activate, advance, deploy, go_on, makes_canary, step_of, steps_of
from henslowe.actors.versions.rows import Halt, Kind, VersionRow, VersionState
from henslowe.actors.versions.waiting import Cause, frozen, gate_before
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import Conflict, NotFound


def command(change: Change, message: Command) -> dict[str, Any]:
    """The command's effect, and a reply for people."""
    if not change.exists:
        raise NotFound(f"cannot find service {message.service}", hint="see `henslowe status`")
    if message.expected_epoch is not None and message.expected_epoch != change.service.epoch:
        text = f"nothing done: {message.service} changed since (epoch {change.service.epoch})"
        return _reply(change, message, text, changed=False)
    if change.service.retired and message.action not in _OF_THE_PAST:
        how = "is declared no more" if change.service.kind is Kind.DECLARED else "was removed"
        raise Conflict(
            f"cannot {message.action.value} {message.service}: it {how}",
            hint=f"declare it in henslowe.toml, or make the folder dev/{message.service}",
        )
    before = change.service
    if message.override_freeze:
        _override(change, message)
    text = _ACTIONS[message.action](change, message)
    changed = change.service != before or dict(change.versions) != dict(change.before.versions)
    return _reply(change, message, text, changed=changed)


def _reply(change: Change, message: Command, text: str, *, changed: bool) -> dict[str, Any]:
    service = change.service
    number = service.canary or service.active or service.staged
    row = change.versions.get(number)
    return {
        "service": message.service,
        "action": message.action.value,
        "state": row.state.value if row is not None else "",
        "version": number,
        "semver": row.semver if row is not None else "",
        "epoch": service.epoch,
        "changed": changed,
        "message": text,
    }


# -- freezes ----------------


def _override(change: Change, message: Command) -> None:
    """The version on its way goes through any freeze from here on; the stopped line stops it all the same."""
    number = change.service.canary or change.service.staged
    wait = frozen(change.service, change.version(number), change.halts) if number else None
    if wait is not None and wait.cause is Cause.FROZEN:
        change.set_version(number, thawed=True)
        change.say(
            EventType.FREEZE_OVERRIDDEN,
            Status.INFO,
            number,
            freeze=wait.words,
            by=message.by,
            reason=message.override_freeze,
        )


def _freeze(change: Change, message: Command) -> str:
    freeze, now_s = change.service.freeze, change.facts.now_s
    until_s = message.until_s or 0.0
    if until_s and until_s <= now_s:
        raise Conflict(f"cannot freeze {change.name}: expected an end in the future, got one that is over")
    if freeze is not None and freeze.holds(now_s) and freeze.until_s == until_s:
        return f"{change.name} is frozen already"
    change.set_service(freeze=Halt(by=message.by, why=message.reason, since_s=now_s, until_s=until_s))
    change.say(EventType.FREEZE_START, Status.SUCCESS, by=message.by, reason=message.reason, until_s=until_s)
    return f"{change.name} is frozen: what is built waits, going back works"


def _unfreeze(change: Change, message: Command) -> str:
    service = change.service
    if service.freeze is None:
        wait = frozen(service, None, change.halts)
        return f"{change.name} is not frozen by hand" + (f"; it waits for {wait.words}" if wait is not None else "")
    change.set_service(freeze=None)
    change.say(EventType.FREEZE_END, Status.SUCCESS, by=message.by, reason=message.reason)
    if service.staged and service.staged in change.facts.ready:
        go_on(change, service.staged)
    return f"the freeze of {change.name} has ended"


# -- forward ----------------


def _promote(change: Change, message: Command) -> str:
    """One step further. A service that is held stays so: a person leads it on, step by step."""
    service = change.service
    number = service.canary or service.staged
    if not number or not _has_steps_left(change, number):
        return _promote_full(change, message)
    _must_be_free(change, number)
    heard(change, message, number)
    if service.staged == number:
        deploy(change, number)
    else:
        advance(change, why=why(message), by=message.by)
    steps, service = steps_of(change, change.version(number)), change.service
    return f"{change.key(number)} is at step {service.step} of {len(steps)}: {service.canary_weight / 100:g} %"


def _has_steps_left(change: Change, number: int) -> bool:
    row = change.version(number)
    if change.service.canary == number:
        return step_of(change.service) < len(steps_of(change, row))
    return bool(row.plan.steps) and makes_canary(change, number)


def _promote_full(change: Change, message: Command) -> str:
    service = change.service
    number = service.canary or service.staged
    if not number:
        if not service.active:
            raise Conflict(f"cannot promote {change.name}: it has no version that is built")
        return f"nothing to promote: {change.key(service.active)} is active"
    _must_be_free(change, number)
    heard(change, message, number)
    change.set_service(held=False)
    activate(change, number, why=why(message), by=message.by)
    return f"{change.key(number)} is active"


def _must_be_free(change: Change, number: int) -> None:
    """A person may lead a version on that is held or at a gate, but not one whose instance is down, nor in a freeze."""
    wait = frozen(change.service, change.version(number), change.halts)
    if wait is not None:
        stopped = wait.cause is Cause.STOPPED
        raise Conflict(
            f"cannot promote {change.key(number)}: it waits for {wait.words}",
            hint="henslowe start-the-line" if stopped else f"henslowe promote {change.name} --override-freeze WHY",
        )
    if number not in change.facts.ready:
        raise Conflict(
            f"cannot promote {change.key(number)}: its instance is not up",
            hint=f"see `henslowe logs {change.name}`, then promote again",
        )


def _approve(change: Change, message: Command) -> str:
    """Opens the gate of the canary's step, or the one before the traffic of a staged version; skips nothing else."""
    service = change.service
    number, gate = _gate(change)
    if not gate:
        raise Conflict(
            f"cannot approve {change.name}: it waits at no gate",
            hint=f"henslowe promote {change.name} goes one step further"
            if number
            else f"henslowe status {change.name}",
        )
    if change.version(number).approved:
        return f"nothing to do: the gate `{gate}` of {change.key(number)} was approved already"
    change.set_version(number, approved=True, gate="")
    change.say(
        EventType.GATE_APPROVED,
        Status.SUCCESS,
        number,
        gate=gate,
        step=service.step if number == service.canary else 0,
        by=message.by,
        reason=message.reason,
    )
    if service.staged == number and number in change.facts.ready:
        go_on(change, number)
    return f"the gate `{gate}` is open for {change.key(number)}"


def _gate(change: Change) -> tuple[int, str]:
    """The version whose gate is meant, and the gate: the canary's before the staged one's, an open one last."""
    service, found = change.service, []
    if service.canary:
        row = change.version(service.canary)
        step = steps_of(change, row)[step_of(service) - 1]
        found.append((row, step.gate or ""))
    if service.staged:
        row = change.version(service.staged)
        found.append((row, gate_before(row, canary=makes_canary(change, row.number))))
    closed = [(row.number, gate) for row, gate in found if gate and not row.approved]
    gated = [(row.number, gate) for row, gate in found if gate]
    return next(iter(closed or gated), (found[0][0].number if found else 0, ""))


def _hold(change: Change, message: Command) -> str:
    if change.service.held:
        return f"{change.name} is held already"
    change.set_service(held=True)
    change.say(EventType.CANARY_HOLD, Status.SUCCESS, change.service.canary, by=message.by, reason=message.reason)
    return f"{change.name} is held: nothing is promoted until `henslowe resume {change.name}`"


def _resume(change: Change, message: Command) -> str:
    service = change.service
    lasts = bool(service.canary) and service.step_until_s is None
    if not service.held and not lasts:
        return f"{change.name} is not held"
    change.set_service(held=False, step_until_s=0.0 if lasts else service.step_until_s)
    heard(change, message, service.staged or service.canary)
    if service.staged and service.staged in change.facts.ready:
        go_on(change, service.staged)
    return f"{change.name} goes on"


# -- back ----------------


def _rollback(change: Change, message: Command) -> str:
    service = change.service
    if message.to_version is None and service.canary:
        number = service.canary
        heard(change, message, number)
        roll_back_canary(change, why(message), by=message.by)
        return f"{change.key(number)} was taken back, {change.key(service.active)} serves everybody"
    if not service.active:
        raise Conflict(f"cannot roll back {change.name}: no version is active")
    target = _rollback_target(change, message.to_version)
    if target.number == service.active:
        return f"nothing to do: {target.key} is active"
    if target.number == service.rollback_to and target.number not in change.facts.ready:
        return f"{target.key} is starting and takes over once it is up"
    heard(change, message, service.active)
    roll_back_active(change, target.number, why(message), by=message.by)
    if change.service.active == target.number:
        return f"{target.key} is active"
    return f"{target.key} is starting and takes over once it is up"


def _rollback_target(change: Change, to_version: int | None) -> VersionRow:
    service = change.service
    number = to_version if to_version is not None else service.previous
    if not number:
        raise Conflict(
            f"cannot roll back {change.name}: there is no version before {change.key(service.active)}",
            hint=f"name one: `henslowe rollback {change.name} --to N`",
        )
    row = existing(change, number)
    if row.launch is None or (not row.state.served and row.state is not VersionState.ACTIVE):
        raise Conflict(
            f"cannot roll back to {row.key}: expected a version that served, got one that is {row.state.value}",
            hint=f"see `henslowe versions {change.name}`",
        )
    return row


def _abort(change: Change, message: Command) -> str:
    """What is on its way is given up, a canary and what waits behind it; what serves goes on serving."""
    service = change.service
    given_up = [change.key(number) for number in (service.canary, service.staged) if number]
    if not given_up:
        raise Conflict(
            f"cannot abort {change.name}: no rollout is under way",
            hint=f"henslowe rollback {change.name} goes back to the version before",
        )
    heard(change, message, service.canary or service.staged)
    if service.staged:
        fail_staged(change, stage=ABORTED, reason=why(message), status=Status.CANCELLED)
    if service.canary:
        roll_back_canary(change, why(message), by=message.by)
    serves = f"{change.key(service.active)} serves everybody" if service.active else "nothing serves"
    return f"{' and '.join(map(str, given_up))} {'was' if len(given_up) == 1 else 'were'} given up, {serves}"


_OF_THE_PAST = frozenset({Action.REMOVE, Action.PIN, Action.UNPIN})
"""Can be done to a service that is not wanted any more."""
_ACTIONS = {
    Action.PROMOTE: _promote,
    Action.PROMOTE_FULL: _promote_full,
    Action.APPROVE: _approve,
    Action.ROLLBACK: _rollback,
    Action.FREEZE: _freeze,
    Action.UNFREEZE: _unfreeze,
    Action.HOLD: _hold,
    Action.RESUME: _resume,
    Action.ABORT: _abort,
    Action.RETRY: repairs.retry,
    Action.RESTART: repairs.restart,
    Action.REMOVE: repairs.remove,
    Action.PIN: repairs.pin,
    Action.UNPIN: repairs.unpin,
}
"""What each action does; returns a sentence for people."""
