"""Transitions that a person asks for about versions: retry, restart, pin; and the end of a service. Pure."""

from __future__ import annotations

from typing import Final

from henslowe.actors.messages import Command
from henslowe.actors.versions.births import end, existing, stage
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import Kind, VersionRow, VersionState
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import Conflict

_RETRIED: Final = frozenset({VersionState.FAILED, VersionState.ROLLED_BACK, VersionState.SUPERSEDED})
_FATE: Final = ("reason", "stage", "probation", "crashes", "pinned", "gate", "approved", "thawed", "rehearsal")
"""Fields of a version that are about what became of it, and not about its build."""


def heard(change: Change, message: Command, number: int) -> None:
    """Says that a person's command was obeyed."""
    change.say(
        EventType.COMMAND, Status.SUCCESS, number, command=message.action.value, by=message.by, reason=message.reason
    )


def why(message: Command) -> str:
    """The person's reason, or that there was a person."""
    return message.reason or f"{message.action.value} by {message.by}"


def restart(change: Change, message: Command) -> str:
    """Runs the same build again under a new number: as with any version, the old instance serves until it is up."""
    service = change.service
    if service.canary or service.staged or service.rollback_to:
        raise Conflict(
            f"cannot restart {change.name}: a rollout is under way",
            hint="promote it or roll it back first",
        )
    row = change.versions.get(service.active) or _newest_startable(change)
    number = service.last_number + 1
    _again(change, message, row, number, restart_of=row.number if service.active else 0)
    return f"{change.key(number)} is starting and takes over from {row.key} once it is up"


def _again(change: Change, message: Command, row: VersionRow, number: int, *, restart_of: int = 0) -> None:
    """The same build under a new number, on its way from the beginning."""
    fresh = {name: VersionRow.model_fields[name].get_default() for name in _FATE}
    change.set_service(last_number=number)
    change.add_version(
        row.model_copy(update={**fresh, "number": number, "state": VersionState.STAGED, "restart_of": restart_of})
    )
    heard(change, message, number)
    stage(change, number)


def _newest_startable(change: Change) -> VersionRow:
    rows = [row for row in change.versions.values() if row.launch is not None]
    if not rows:
        raise Conflict(f"cannot restart {change.name}: none of its versions was built")
    return max(rows, key=lambda row: row.number)


def retry(change: Change, message: Command) -> str:
    """Rolls a build out again under a new number, from the beginning, without building it again."""
    row = existing(change, message.to_version or change.service.last_number)
    if row.state not in _RETRIED:
        raise Conflict(
            f"cannot retry {row.key}: expected a version that failed or was taken back, got one that is "
            f"{row.state.value}",
            hint=f"name one: `henslowe retry {change.name} --to N`",
        )
    if row.launch is None:
        raise Conflict(f"cannot retry {row.key}: it was never built", hint=f"henslowe build {change.name}")
    number = change.service.last_number + 1
    _again(change, message, row, number)
    return f"{change.key(number)} is {row.key} again: it is starting, and is rolled out once it is up"


def remove(change: Change, message: Command) -> str:
    """Ends a developed service. That its sources are gone is for the caller to see: no row says so."""
    service = change.service
    if service.retired:
        return f"nothing to do: {change.name} was removed already"
    if service.kind is Kind.DECLARED:
        raise Conflict(
            f"cannot remove {change.name}: it is declared in henslowe.toml",
            hint=f"take [services.{change.name}] out of henslowe.toml, then restart the node",
        )
    heard(change, message, service.active)
    end(change, why(message))
    return f"{change.name} is removed: it serves no more, its versions stay in `henslowe versions {change.name}`"


def pin(change: Change, message: Command) -> str:
    """Keeps a version and its build, however many newer ones come."""
    row = existing(change, message.to_version or change.service.active)
    if not row.build:
        raise Conflict(
            f"cannot pin {row.key}: it has no build in the archive", hint=f"see `henslowe versions {change.name}`"
        )
    return _set_pinned(change, message, row, pinned=True)


def unpin(change: Change, message: Command) -> str:
    """Lets a version go like any other."""
    return _set_pinned(change, message, existing(change, message.to_version or change.service.active), pinned=False)


def _set_pinned(change: Change, message: Command, row: VersionRow, *, pinned: bool) -> str:
    if row.pinned is pinned:
        return f"nothing to do: {row.key} is {'' if pinned else 'not '}pinned"
    change.set_version(row.number, pinned=pinned)
    heard(change, message, row.number)
    return f"{row.key} {'is kept until it is unpinned' if pinned else 'goes when there are enough newer ones'}"
