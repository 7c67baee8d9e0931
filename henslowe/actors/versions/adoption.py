"""What `service.toml` says of shipping, taken over without a build: the sources are the same, the words about them new.

How a version is looked after (`health`, `scale`, `hooks`) holds for every version that is up, at once. How it comes to
its traffic (`strategy`, steps, exposure) holds from the next rollout on: one that is under way ends as it began. Pure.

The epoch goes on only where routes change, or the hooks of a version on its way: what other hooks have answered, and
what a person said, is about things that are the same still.
"""

from __future__ import annotations

from typing import Any, Final

from henslowe.actors.messages import CreateVersion
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import VersionRow, VersionState
from henslowe.actors.vocabulary import EventType, Status

_UNDER_WAY: Final = frozenset({VersionState.STAGED, VersionState.CANARY})


def adopt(change: Change, number: int, message: CreateVersion) -> None:
    """Take over what is new; says one event per version that it concerns, and nothing where nothing is new.

    Args:
        change: Of the service.
        number: The version that is made of these sources.
        message: What they say now.
    """
    service = change.service
    change.set_service(strategy=message.strategy, windows=message.plan.windows)
    upkeep = {"health": message.health, "scale": message.scale, "hooks": message.hooks}
    shipping = {
        "strategy": message.strategy,
        "canary_weight": message.canary_weight,
        "plan": message.plan,
        "exposure": message.exposure,
    }
    concerned: dict[int, dict[str, Any]] = {}
    for each in sorted({number, service.active, service.canary, service.staged} & change.versions.keys()):
        row = change.version(each)
        given = upkeep | (shipping if each == number and row.state not in _UNDER_WAY else {})
        new = [key for key, value in given.items() if getattr(row, key) != value]
        if new:
            change.set_version(each, **given)
            concerned[each] = {"changed": new, "later": _later(row, shipping)}
    if number == service.active and not service.canary:
        change.set_service(exposure=message.exposure)
    if not concerned and service == change.service:
        return
    asked_anew = any("hooks" in concerned.get(each, {}).get("changed", ()) for each in (service.canary, service.staged))
    if asked_anew or change.service.exposure != service.exposure:  # routes look at that
        change.next_epoch()
    for each, facts in (concerned or {number: {"changed": ["freeze"], "later": []}}).items():
        change.say(EventType.VERSION_CONFIGURED, Status.SUCCESS, each, **facts)


def _later(row: VersionRow, shipping: dict[str, Any]) -> list[str]:
    """What waits for the end of a rollout that is under way."""
    if row.state not in _UNDER_WAY:
        return []
    return [key for key, value in shipping.items() if getattr(row, key) != value]
