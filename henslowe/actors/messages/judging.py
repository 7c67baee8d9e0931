"""The second half of an edit's life: a version is rehearsed, asked about, routed, judged, kept or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.pairing import Asked
from henslowe.config.hooks import HookPoint

# -- gateway -> router ----------------


@dataclass(slots=True, frozen=True)
class Mirrored:
    """Cast to ROUTER: a copy of a live call was answered by the candidate and by the stable version."""

    version: VersionKey
    """The candidate."""
    epoch: int
    asked: Asked
    dropped: int
    """Copies that were not made, since the gateway's start."""


# -- version machine -> router ----------------


@dataclass(slots=True, frozen=True)
class RoutesChanged:
    """Cast or call to ROUTER: the service rows changed; derive the routes again. Reply: None, once published."""

    services: tuple[ServiceName, ...]


# -- router -> version machine ----------------


class Decision(StrEnum):
    """What the evidence says."""

    PROMOTE = "promote"
    ROLL_BACK = "rollback"
    HOLD = "hold"
    ADVANCE = "advance"
    """The step has seen its calls, and nothing speaks against the next one."""
    PROBATION_PASSED = "probation_passed"


@dataclass(slots=True, frozen=True)
class Verdict:
    """Cast to VERSIONS: what the canary router concluded. Ignored when `epoch` is not the service's own."""

    service: ServiceName
    version: VersionKey
    epoch: int
    decision: Decision
    why: str
    """In words, as `status` shows them."""
    numbers: dict[str, Any] = field(default_factory=dict)


# -- version machine -> rehearsal -> version machine ----------------


@dataclass(slots=True, frozen=True)
class Rehearse:
    """Cast to REHEARSAL: send captured calls to a version and to the active one. `Rehearsed` follows.

    Asked again for the same two versions it goes on; another version of the service ends the one before.
    """

    version: VersionKey
    against: int
    """Number of the active version."""
    budget_s: float
    short: bool = False
    """Somebody waits for their edit: fewer calls will do."""
    on_pipes: bool = True
    """Whether another connection of the active version is another process, which remembers nothing."""


class Resemblance(StrEnum):
    """What a replay of captured calls has shown of a version, beside the active one."""

    ALIKE = "alike"
    DIFFERS = "differs"
    """It answers, but not the same."""
    FAILS = "fails"
    """It fails what the active version answers, beyond what chance explains."""
    UNKNOWN = "unknown"
    """Nothing was captured that can be replayed, or there was no time."""


@dataclass(slots=True, frozen=True)
class Rehearsed:
    """Cast to VERSIONS: what became of a `Rehearse`."""

    version: VersionKey
    against: int
    found: Resemblance
    why: str
    """In words."""
    report: dict[str, Any] = field(default_factory=dict)
    """Counts, places that differ, examples without secrets; kept with the version."""


# -- version machine -> hooks -> version machine ----------------


@dataclass(slots=True, frozen=True)
class AskHooks:
    """Cast to HOOKS: a version is about to take a step; ask its hooks whether it may. Once per epoch is enough.

    `HooksAgreed` or `HooksRefused` follows, also after a restart, and once more where they have answered already.
    """

    version: VersionKey
    epoch: int
    point: HookPoint
    again: bool = False
    """Whether to ask once more where they refused: a person wants it."""


@dataclass(slots=True, frozen=True)
class HooksAgreed:
    """Cast to VERSIONS: all hooks of a moment agreed; what waits for them can go on."""

    version: VersionKey
    epoch: int
    point: HookPoint


@dataclass(slots=True, frozen=True)
class HooksRefused:
    """Cast to VERSIONS: a hook refused, failed or did not answer in time."""

    version: VersionKey
    epoch: int
    point: HookPoint
    reason: str
    """Which hook, and why, with the last lines of its output."""
    round: int = 1
    """Which question about this gate it answers: people may have it asked again."""
