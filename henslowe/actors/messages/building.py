"""The first half of an edit's life: a source changes, its pipeline runs, a version is built or broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.config.exposure import Exposure
from henslowe.config.hooks import Hook
from henslowe.config.ramp import Plan
from henslowe.config.upkeep import Health, Scale


class Strategy(StrEnum):
    """How a staged version reaches traffic."""

    AUTO = "auto"
    """Canary where at least 20 units of traffic were seen in the last ten minutes, else immediate with probation."""
    IMMEDIATE = "immediate"
    """All traffic once it is up, with probation."""
    CANARY = "canary"
    """By steps, each a share of the traffic, judged all the time."""
    BLUE_GREEN = "blue-green"
    """Up beside the old one without traffic, then all of it in one swap; the old one stays warm for a time."""


class OnBreak(StrEnum):
    """What becomes of a version that breaks clients of the active one, and whose semver does not say so."""

    GO = "go"
    """It goes on; the difference is shown."""
    HOLD = "hold"
    """It waits, STAGED, until a person promotes or resumes it."""
    FAIL = "fail"
    """It fails."""


# -- watcher -> pipeline ----------------


@dataclass(slots=True, frozen=True)
class SourceChanged:
    """Cast to PIPELINE: the sources of a service settled in a new state (or were found at start)."""

    service: ServiceName
    path: Path
    digest: str
    """Content digest over the service's files, ignoring what gitignore and the node ignore."""
    changed: tuple[str, ...] = ()
    """Paths relative to `path` that changed, at most 50, for people."""


@dataclass(slots=True, frozen=True)
class AnnounceSources:
    """Cast to WATCHER, by a pipeline that starts: send `SourceChanged` for every service again."""

    removed: ServiceName | None = None
    """Only this one, which was removed a moment ago: its folder may be back before anybody saw that it was gone."""


@dataclass(slots=True, frozen=True)
class SourceRemoved:
    """Cast to PIPELINE: the folder of a service is gone. Its versions keep serving until told otherwise."""

    service: ServiceName


@dataclass(slots=True, frozen=True)
class Rebuild:
    """Call to PIPELINE, from a person: run the pipeline again though nothing changed. Reply: VersionKey."""

    service: ServiceName
    by: str = "admin"


# -- pipeline -> version machine ----------------


@dataclass(slots=True, frozen=True)
class CreateVersion:
    """Call to VERSIONS. Reply: `Created`. `unchanged` when this source digest is already staged, canary or active."""

    service: ServiceName
    source_digest: str
    strategy: Strategy
    canary_weight: int
    """In ten-thousandths."""
    force: bool = False
    plan: Plan = field(default_factory=Plan)
    hooks: tuple[Hook, ...] = ()
    """Those of its `service.toml`."""
    exposure: Exposure = field(default_factory=Exposure)
    health: Health = field(default_factory=Health)
    scale: Scale = field(default_factory=Scale)
    refused: bool = False
    """Its manifest cannot be used: what was said before of shipping stays."""


@dataclass(slots=True, frozen=True)
class Created:
    """Reply to `CreateVersion`."""

    version: VersionKey
    unchanged: bool = False


@dataclass(slots=True, frozen=True)
class NameVersion:
    """Call to VERSIONS, before a build is materialised. Reply: str, the semver that is this version's alone.

    It is the manifest's, with `+N` where another build of the service used that already. The folder of the version is
    `archive/<service>/v<reply>`.
    """

    version: VersionKey
    semver: str
    build: BuildId


@dataclass(slots=True, frozen=True)
class VersionBuilt:
    """Call to VERSIONS: the pipeline succeeded. Reply: None. DEVELOPMENT -> STAGED, then by strategy."""

    version: VersionKey
    build: BuildId
    semver: str
    launch: LaunchSpec
    contract: Contract
    env_digest: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Kept with the archived version: stages with durations, test summary, tool versions, isolation level."""
    on_break: OnBreak = OnBreak.GO
    health: Health = field(default_factory=Health)
    scale: Scale = field(default_factory=Scale)


@dataclass(slots=True, frozen=True)
class VersionBroken:
    """Call to VERSIONS: a stage failed, or a newer change cancelled the run. DEVELOPMENT -> FAILED or SUPERSEDED."""

    version: VersionKey
    stage: str
    reason: str
    """The failing lines, at most 4 kB, as `status` shows them."""
    superseded: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    """As far as the run came: see `VersionBuilt`."""


# -- declared services ----------------


@dataclass(slots=True, frozen=True)
class DeclareService:
    """Call to VERSIONS: a service that is run, not developed. Idempotent by launch digest. Reply: VersionKey."""

    service: ServiceName
    launch: LaunchSpec
    semver: str = "0.0.0"
    takes_over: bool = False
    """Whether it follows a developed service of this name, whose folder is gone."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Of a version that is made for it."""


@dataclass(slots=True, frozen=True)
class RetireService:
    """Call to VERSIONS: a declared service left the configuration; its instances stop. Reply: None."""

    service: ServiceName
