"""The two tables of delivery, and the outbox: which versions a service has, and which of them serve.

`ServiceRow` points at versions by number; `VersionRow` says what a version is and how far it came. Routes, links and
running instances follow from these rows and from nothing else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import Strategy
from henslowe.config.exposure import Exposure
from henslowe.config.freeze import Window
from henslowe.config.hooks import Hook
from henslowe.config.ramp import Plan
from henslowe.config.upkeep import Health, Scale
from henslowe.storage import TableSpec


class Kind(StrEnum):
    """Where a service comes from."""

    DEVELOPED = "developed"
    """A folder under `dev/`."""
    DECLARED = "declared"
    """A table `[services.NAME]` in `henslowe.toml`."""


class VersionState(StrEnum):
    """How far a version came. At most one of a service is CANARY, at most one ACTIVE."""

    DEVELOPMENT = "DEVELOPMENT"
    """In the pipeline."""
    STAGED = "STAGED"
    """Built; its instance is starting, or it waits: for a gate, the end of a freeze, a person who holds it."""
    CANARY = "CANARY"
    """Serves a share of the traffic beside the active version."""
    ACTIVE = "ACTIVE"
    """Serves; on probation at first."""
    ARCHIVED = "ARCHIVED"
    """Served, was followed by another; the latest of them stays warm."""
    FAILED = "FAILED"
    """Did not build, never started, or was aborted before it met any traffic."""
    ROLLED_BACK = "ROLLED_BACK"
    """Served, and was taken back; or failed the calls that were replayed before it would have."""
    SUPERSEDED = "SUPERSEDED"
    """A newer version came before it served everybody."""

    @property
    def live(self) -> bool:
        """Whether the version still has something before it."""
        return self in _LIVE

    @property
    def served(self) -> bool:
        """Whether it is over, after having served: worth going back to."""
        return self in _SERVED


_LIVE: Final = frozenset({VersionState.DEVELOPMENT, VersionState.STAGED, VersionState.CANARY, VersionState.ACTIVE})
_SERVED: Final = frozenset({VersionState.ARCHIVED, VersionState.ROLLED_BACK})


class Rehearsal(BaseModel):
    """What became of the replay of captured calls before a version met traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    against: int
    """Number of the version that it was compared with."""
    short: bool = False
    """It goes live at once after it, so there is little time."""
    found: str = ""
    """A `Resemblance`, "" while it is under way."""
    why: str = ""
    """In words."""
    report: dict[str, Any] = {}
    """Counts, places that differ, examples without secrets."""


class Halt(BaseModel):
    """A person's word that nothing new is deployed for now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    why: str = ""
    since_s: float
    until_s: float = 0.0
    """Unix time at which it ends by itself, 0 for when somebody ends it."""

    def holds(self, now_s: float) -> bool:
        """Whether it has not ended by itself."""
        return not self.until_s or now_s < self.until_s


class LineRow(BaseModel):
    """What holds for all services of the node: there is one row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "line"
    stopped: Halt | None = None
    """The line stands still: no service gets anything new, and nobody can override it."""
    frozen: Halt | None = None


class VersionRow(BaseModel):
    """One version: (service, number) -> build, how to run it, what it offers, and its state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    number: int
    state: VersionState = VersionState.DEVELOPMENT
    semver: str = ""
    """Unique in the service; "" before it is built."""
    source_digest: str = ""
    build: str = ""
    env_digest: str = ""
    launch: LaunchSpec | None = None
    folder: str = ""
    """Where its build lies under `archive/<service>/` of the workspace; "" for nowhere."""
    contract_digest: str = ""
    tools: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_templates: tuple[str, ...] = ()
    """Names (and URIs) of what it offers; the whole objects are in its endpoint's contract."""
    created_s: float = 0.0
    changed_s: float = 0.0
    reason: str = ""
    """Why it failed, was taken back, or is not healthy."""
    stage: str = ""
    """The pipeline stage that failed."""
    metadata: dict[str, Any] = {}
    strategy: Strategy = Strategy.AUTO
    canary_weight: int = 0
    """How it is to reach traffic; the weight in ten-thousandths, 0 for the node's default."""
    probation: bool = False
    """ACTIVE, and not permanent yet."""
    crashes: int = 0
    """Unexpected ends of its instance while on probation."""
    pinned: bool = False
    """Kept by a person's wish, however many newer ones there are."""
    restart_of: int = 0
    """The version that this one starts again, or 0."""
    health: Health = Health()
    scale: Scale = Scale()
    """What its `service.toml` said of how it is looked after (`henslowe.actors.upkeep`)."""
    hooks: tuple[Hook, ...] = ()
    """Of its `service.toml`; the node's own come on top."""
    exposure: Exposure = Exposure()
    """How it is shown to traffic beside that: replay, stickiness, A/B, mirror."""
    rehearsal: Rehearsal | None = None
    """None where no captured calls were replayed."""
    plan: Plan = Plan()
    """How it is to come to its traffic: steps and gates."""
    gate: str = ""
    """The gate that it waits at: a person has to approve."""
    approved: bool = False
    """Somebody did, for the gate before its traffic or at the end of its step."""
    thawed: bool = False
    """Somebody lets it go on through any freeze."""

    @property
    def key(self) -> VersionKey:
        """Its identity."""
        return VersionKey(self.service, self.number)


class ServiceRow(BaseModel):
    """One service: which versions serve, and how the next one will reach traffic. A number of 0 means none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    kind: Kind = Kind.DEVELOPED
    epoch: int = 0
    """Counts the changes of who serves; commands, routes, calls and verdicts carry it."""
    last_number: int = 0
    """Numbers are never used again, also not after a version was removed."""
    active: int = 0
    previous: int = 0
    """Kept warm, for going back."""
    cold: bool = False
    """The previous version was let go: going back to it means starting it first."""
    warm_until_s: float = 0.0
    """Unix time from which on that happens, 0 for never."""
    canary: int = 0
    permanent: int = 0
    """The last active version that passed its probation."""
    staged: int = 0
    rollback_to: int = 0
    """A version that is started so that it can take over again."""
    strategy: Strategy = Strategy.AUTO
    """As of the newest version."""
    canary_weight: int = 0
    """The canary's share of the units, in ten-thousandths."""
    step: int = 0
    """Which step of its plan the canary is at, from 1 on."""
    steps: int = 0
    """How many there are."""
    step_calls: int = 0
    """Calls that the canary has to answer before the step ends."""
    step_until_s: float | None = 0.0
    """Unix time before which the step does not end; None: not before a person resumes it."""
    weights: tuple[tuple[int, int], ...] = ()
    """Epochs from which on the canary had which weight, since it became one: what its evidence is weighed with."""
    exposure: Exposure = Exposure()
    """As of the version that last became canary or active."""
    held: bool = False
    """No promotion until a person says so; going back is always allowed."""
    freeze: Halt | None = None
    """Set by a person; the windows of its newest version and of the node come on top."""
    windows: tuple[Window, ...] = ()
    salt: str = ""
    balance: float = 1.0
    """Probability of a salt like this one (`henslowe.actors.routes.balanced_salt`)."""
    probation_until_s: float = 0.0
    """Unix time, 0 when the active version is permanent."""
    holdback: int = 0
    """Share of the traffic that stays with the previous version during probation, in ten-thousandths."""
    semvers: tuple[str, ...] = ()
    """Semvers that were given to versions, without `+N`: a name is not used again."""
    retired: bool = False
    """Removed, or declared no more: nothing of it runs until it comes back with another version."""
    updated_s: float = 0.0

    @property
    def wanted(self) -> frozenset[int]:
        """The versions whose instances should be running."""
        warm = 0 if self.cold else self.previous
        return frozenset({self.active, warm, self.canary, self.staged, self.rollback_to}) - {0}

    def key_of(self, number: int) -> VersionKey:
        """The identity of one of its versions."""
        return VersionKey(self.service, number)


NO_STEP: Final[dict[str, Any]] = {"step": 0, "steps": 0, "step_calls": 0, "step_until_s": 0.0, "weights": ()}
"""Fields of a service without a canary."""
NOTHING_COLD: Final[dict[str, Any]] = {"cold": False, "warm_until_s": 0.0}
"""Fields of a service whose previous version, if any, is kept warm until the next swap."""


class EffectKind(StrEnum):
    """What follows from a commit, outside of the store."""

    ROUTES = "routes"
    LINKS = "links"
    ENSURE = "ensure"
    RELEASE = "release"
    DISCARD = "discard"
    REHEARSE = "rehearse"


class OutboxRow(BaseModel):
    """An effect that was committed and is not known to be done. Effects look at the rows of their own time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    epoch: int
    effect: str
    """`kind:version`, unique in its epoch: the same effect twice is the same effect."""
    kind: EffectKind
    version: int = 0
    folder: str = ""
    """For DISCARD, under `archive/<service>/`: the row is gone by then."""


SERVICES: Final = TableSpec(name="services", row_type=ServiceRow, key="service", rows_max=10_000)
VERSIONS: Final = TableSpec(
    name="versions",
    row_type=VersionRow,
    key=("service", "number"),
    kind="ordered_set",
    indexes={"service": lambda row: row.service},
)
LINE: Final = TableSpec(name="line", row_type=LineRow, key="name", rows_max=1)
OUTBOX: Final = TableSpec(name="outbox", row_type=OutboxRow, key=("service", "epoch", "effect"), kind="ordered_set")
