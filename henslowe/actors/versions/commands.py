"""Transitions that a person asks for: promote, roll back, hold, resume, restart, remove, pin. Pure.

A command that carries the epoch it was decided on is a no-op when the service has moved on since: clicking twice does
not promote twice. What cannot be done at all is a `Conflict` that says which state the service is in.
"""

from __future__ import annotations

from typing import Any

from henslowe.actors.messages import Action, Command
from henslowe.actors.versions.births import end, existing, stage
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rollout import activate, deploy, roll_back_active, roll_back_canary
from henslowe.actors.versions.rows import Kind, VersionRow, VersionState
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


def _heard(change: Change, message: Command, number: int) -> None:
    change.say(
        EventType.COMMAND, Status.SUCCESS, number, command=message.action.value, by=message.by, reason=message.reason
    )


def _why(message: Command) -> str:
    return message.reason or f"{message.action.value} by {message.by}"


def _promote(change: Change, message: Command) -> str:
    service = change.service
    number = service.canary or service.staged
    if not number:
        if not service.active:
            raise Conflict(f"cannot promote {change.name}: it has no version that is built")
        return f"nothing to promote: {change.key(service.active)} is active"
    if number not in change.facts.ready:
        raise Conflict(
            f"cannot promote {change.key(number)}: its instance is not up",
            hint=f"see `henslowe logs {change.name}`, then promote again",
        )
    _heard(change, message, number)
    change.set_service(held=False)
    activate(change, number, why=_why(message), by=message.by)
    return f"{change.key(number)} is active"


def _rollback(change: Change, message: Command) -> str:
    service = change.service
    if message.to_version is None and service.canary:
        number = service.canary
        _heard(change, message, number)
        roll_back_canary(change, _why(message), by=message.by)
        return f"{change.key(number)} was taken back, {change.key(service.active)} serves everybody"
    if not service.active:
        raise Conflict(f"cannot roll back {change.name}: no version is active")
    target = _rollback_target(change, message.to_version)
    if target.number == service.active:
        return f"nothing to do: {target.key} is active"
    if target.number == service.rollback_to and target.number not in change.facts.ready:
        return f"{target.key} is starting and takes over once it is up"
    _heard(change, message, service.active)
    roll_back_active(change, target.number, _why(message), by=message.by)
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


def _hold(change: Change, message: Command) -> str:
    if change.service.held:
        return f"{change.name} is held already"
    change.set_service(held=True)
    change.say(EventType.CANARY_HOLD, Status.SUCCESS, change.service.canary, by=message.by, reason=message.reason)
    return f"{change.name} is held: nothing is promoted until `henslowe resume {change.name}`"


def _resume(change: Change, message: Command) -> str:
    if not change.service.held:
        return f"{change.name} is not held"
    change.set_service(held=False)
    _heard(change, message, change.service.staged or change.service.canary)
    staged = change.service.staged
    if staged and staged in change.facts.ready:
        deploy(change, staged)
    return f"{change.name} goes on"


def _restart(change: Change, message: Command) -> str:
    """Runs the same build again under a new number: as with any version, the old instance serves until it is up."""
    service = change.service
    if service.canary or service.staged or service.rollback_to:
        raise Conflict(
            f"cannot restart {change.name}: a rollout is under way",
            hint="promote it or roll it back first",
        )
    row = change.versions.get(service.active) or _newest_startable(change)
    number = service.last_number + 1
    change.set_service(last_number=number)
    again = {"number": number, "state": VersionState.STAGED, "reason": "", "stage": "", "crashes": 0}
    change.add_version(
        row.model_copy(update={**again, "probation": False, "restart_of": row.number if service.active else 0})
    )
    _heard(change, message, number)
    stage(change, number)
    return f"{change.key(number)} is starting and takes over from {row.key} once it is up"


def _newest_startable(change: Change) -> VersionRow:
    rows = [row for row in change.versions.values() if row.launch is not None]
    if not rows:
        raise Conflict(f"cannot restart {change.name}: none of its versions was built")
    return max(rows, key=lambda row: row.number)


def _remove(change: Change, message: Command) -> str:
    """Ends a developed service. That its sources are gone is for the caller to see: no row says so."""
    service = change.service
    if service.retired:
        return f"nothing to do: {change.name} was removed already"
    if service.kind is Kind.DECLARED:
        raise Conflict(
            f"cannot remove {change.name}: it is declared in henslowe.toml",
            hint=f"take [services.{change.name}] out of henslowe.toml, then restart the node",
        )
    _heard(change, message, service.active)
    end(change, _why(message))
    return f"{change.name} is removed: it serves no more, its versions stay in `henslowe versions {change.name}`"


def _pin(change: Change, message: Command) -> str:
    row = existing(change, message.to_version or change.service.active)
    if not row.build:
        raise Conflict(
            f"cannot pin {row.key}: it has no build in the archive", hint=f"see `henslowe versions {change.name}`"
        )
    return _set_pinned(change, message, row, pinned=True)


def _unpin(change: Change, message: Command) -> str:
    return _set_pinned(change, message, existing(change, message.to_version or change.service.active), pinned=False)


def _set_pinned(change: Change, message: Command, row: VersionRow, *, pinned: bool) -> str:
    if row.pinned is pinned:
        return f"nothing to do: {row.key} is {'' if pinned else 'not '}pinned"
    change.set_version(row.number, pinned=pinned)
    _heard(change, message, row.number)
    return f"{row.key} {'is kept until it is unpinned' if pinned else 'goes when there are enough newer ones'}"


_OF_THE_PAST = frozenset({Action.REMOVE, Action.PIN, Action.UNPIN})
"""Can be done to a service that is not wanted any more."""
_ACTIONS = {
    Action.PROMOTE: _promote,
    Action.ROLLBACK: _rollback,
    Action.HOLD: _hold,
    Action.RESUME: _resume,
    Action.RESTART: _restart,
    Action.REMOVE: _remove,
    Action.PIN: _pin,
    Action.UNPIN: _unpin,
}
"""What each action does; returns a sentence for people."""
