"""The version machine: `(rows, message, facts) -> Transition`, a table of pure functions.

No clock and no I/O: the time, the instances that are up and the traffic come in as `Facts`, and what has to happen
outside leaves as effects. Invariants, for any sequence of messages in any order:

- at most one version of a service is ACTIVE and at most one CANARY, and the service's row points at them;
- a version becomes CANARY or ACTIVE only while its instance is up (or, at boot, while nothing is);
- numbers are never used again;
- a message that comes twice, or too late, changes nothing.

- a canary goes from step to step in order, with more weight each time, and none is skipped but by a person;
- while a rollout waits (`waiting`), no verdict takes it forward, and nothing keeps it from being taken back.

Where the transitions are: `births` (builds, declarations), `rollout` (forward), `rollback` (back), `reports` (what was
seen), `commands` and `repairs` (people). What becomes of a transition: `henslowe.actors.versions.actor`. The rows from
the events: `henslowe.actors.versions.replay`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors.ids import ServiceName
from henslowe.actors.messages import (
    Command,
    CreateVersion,
    DeclareService,
    HooksRefused,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    Rehearsed,
    RetireService,
    Verdict,
    VersionBroken,
    VersionBuilt,
    VersionOutgrown,
)
from henslowe.actors.versions import births, commands, gates, reports
from henslowe.actors.versions.change import Change, Facts, State, Transition


@dataclass(slots=True, frozen=True)
class Boot:
    """The node, or the version machine alone, starts."""

    service: ServiceName
    unclean: bool
    """Whether the node's last life ended without a shutdown."""


@dataclass(slots=True, frozen=True)
class TimeUp:
    """Some time that the rows gave may be up."""

    service: ServiceName


@dataclass(slots=True, frozen=True)
class TryAgain:
    """It is some time since a version could not be kept running."""

    service: ServiceName
    number: int


def _try_again(change: Change, message: TryAgain) -> None:
    reports.try_again(change, message.number)


def _boot(change: Change, message: Boot) -> None:
    reports.boot(change, unclean=message.unclean)


def _time_up(change: Change, _: TimeUp) -> None:
    reports.time_up(change)


_TRANSITIONS: Final[dict[type, Callable[[Change, Any], Any]]] = {
    CreateVersion: births.create,
    VersionBuilt: births.built,
    VersionBroken: births.broken,
    DeclareService: births.declare,
    RetireService: births.retire,
    InstanceUp: reports.instance_up,
    InstanceDown: reports.instance_down,
    InstanceBroken: reports.instance_broken,
    Verdict: reports.verdict,
    VersionOutgrown: reports.outgrown,
    Rehearsed: reports.rehearsed,
    HooksRefused: gates.refused,
    TimeUp: _time_up,
    TryAgain: _try_again,
    Boot: _boot,
    Command: commands.command,
}


def service_of(message: Any) -> ServiceName:
    """The service that a message is about."""
    service: ServiceName = message.service if hasattr(message, "service") else message.version.service
    return service


def transition(state: State, message: Any, facts: Facts) -> Transition:
    """What a message does to the rows of its service.

    Raises:
        Conflict: The state does not allow it; nothing changed.
        NotFound: The service or the version does not exist.
    """
    change = Change(service_of(message), state, facts)
    reply = _TRANSITIONS[type(message)](change, message)
    return change.done(reply)
