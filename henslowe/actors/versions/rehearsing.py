"""The rehearsal of a staged version, as the version machine sees it: asked for, answered, acted upon. Pure.

A version whose instance is up is rehearsed once, where there is an active version to compare it with and something was
captured (`henslowe.actors.rehearsal` makes the calls). Until the answer comes it stays STAGED. No answer stops it but
the one that it fails what the active version answers, or differs from it, where its exposure says that this matters.
A person who promotes it does not wait.
"""

from __future__ import annotations

from henslowe.actors.messages import Rehearsed, Resemblance
from henslowe.actors.versions.births import REASON_MAX, collect
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import EffectKind, Kind, Rehearsal, VersionState
from henslowe.actors.vocabulary import EventType, Status

STAGE = "replay"
_STATUS = {
    Resemblance.ALIKE: Status.SUCCESS,
    Resemblance.DIFFERS: Status.INFO,
    Resemblance.FAILS: Status.FAILED,
    Resemblance.UNKNOWN: Status.SKIPPED,
}


def comes_first(change: Change, number: int, *, canary: bool) -> bool:
    """Whether a staged version has to be rehearsed before it meets traffic; then it is asked for.

    Args:
        change: The transition.
        number: A staged version whose instance is up.
        canary: Whether it is to become one. Else somebody may be waiting for their edit, and the rehearsal is short.
    """
    service, row, active = change.service, change.version(number), change.service.active
    if row.rehearsal is not None and row.rehearsal.found:
        return False
    if (
        row.exposure.replay == "off"
        or service.kind is not Kind.DEVELOPED
        or row.restart_of
        or active not in change.facts.ready
        or not change.facts.captured
    ):
        return False
    asked = Rehearsal(against=active, short=not canary)
    if row.rehearsal != asked:
        change.set_version(number, rehearsal=asked)
        change.say(EventType.REPLAY_START, Status.PENDING, number, against=active)
    change.effect(EffectKind.REHEARSE, number)
    return True


def rehearsed(change: Change, message: Rehearsed) -> bool:
    """What a rehearsal found is kept with its version; whether that one may go on to its traffic."""
    number = message.version.number
    row = change.versions.get(number) if change.exists else None
    if row is None or row.rehearsal is None or row.rehearsal.found or row.rehearsal.against != message.against:
        return False
    found = Rehearsal(
        against=message.against,
        short=row.rehearsal.short,
        found=message.found.value,
        why=message.why[:REASON_MAX],
        report=message.report,
    )
    change.set_version(number, rehearsal=found)
    change.say(
        EventType.REPLAY_COMPLETE,
        _STATUS[message.found],
        number,
        against=message.against,
        found=message.found.value,
        why=found.why,
    )
    if change.service.staged != number:
        return False
    policy = {Resemblance.FAILS: row.exposure.replay, Resemblance.DIFFERS: row.exposure.replay_differences}
    match policy.get(message.found):
        case "gate":
            _take_back(change, number, found.why)
            return False
        case "hold" if not change.service.held:
            change.set_service(held=True)
            change.say(EventType.CANARY_HOLD, Status.SUCCESS, number, by=STAGE, reason=found.why)
    return number in change.facts.ready


def _take_back(change: Change, number: int, why: str) -> None:
    change.set_version(number, state=VersionState.ROLLED_BACK, stage=STAGE, reason=why)
    change.set_service(staged=0)
    change.effect(EffectKind.RELEASE, number)
    change.effect(EffectKind.LINKS)
    change.say(EventType.ROLLBACK, Status.SUCCESS, number, why=why, by=STAGE, to_version=change.service.active)
    collect(change)
