"""What the domain actors say to each other: frozen data, one class per message, sent to names.

Reading this file top to bottom is reading the life of an edit: a source changes, a version is created, staged,
started, routed, judged, and kept or rolled back. "call" messages get a reply (its type is in the docstring), "cast"
messages do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from henslowe.actors.endpoints import Contract, SoleClient
from henslowe.actors.ids import BuildId, InstanceId, ServiceName, VersionKey
from henslowe.actors.kernel import Ref
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.pairing import Asked
from henslowe.config.exposure import Exposure
from henslowe.config.hooks import Hook, HookPoint
from henslowe.config.ramp import Plan
from henslowe.config.upkeep import Health, Scale
from henslowe.storage import Event, EventDraft

# -- everyone -> bus ----------------


@dataclass(slots=True, frozen=True)
class Publish:
    """Cast to BUS (best effort, in order), or call (reply: the stored events, durable).

    `henslowe.actors.journal.say` is the short way.
    """

    events: tuple[EventDraft, ...]


@dataclass(slots=True, frozen=True)
class Subscribe:
    """Call to BUS. Reply: the subscription's number (int), which `Delivery` and `Confirm` carry.

    With `cursor` the subscription is durable: the subscriber confirms with `Confirm`, and after a crash it gets again
    what it did not confirm (at least once). Without, it is live: from now on, or from `after_seq`.
    Events arrive at `subscriber` as `Delivery` casts, in order, at most `window` unconfirmed ones at a time.
    """

    subscriber: Ref
    streams: tuple[str, ...] = ("lifecycle", "activity")
    types: tuple[str, ...] = ()
    """Patterns as of fnmatch over the event type (`CANARY_*`); empty for all."""
    services: tuple[str, ...] = ()
    cursor: str = ""
    after_seq: int | None = None
    window: int = 256


@dataclass(slots=True, frozen=True)
class Delivery:
    """Cast by BUS to a subscriber: events in order of their sequence numbers."""

    subscription: int
    events: tuple[Event, ...]


@dataclass(slots=True, frozen=True)
class Confirm:
    """Cast to BUS: everything of this subscription up to `seq` is done."""

    subscription: int
    seq: int


@dataclass(slots=True, frozen=True)
class Unsubscribe:
    """Call to BUS. Reply: None. A durable cursor stays for the next `Subscribe` with its name."""

    subscription: int


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


@dataclass(slots=True, frozen=True)
class RetireService:
    """Call to VERSIONS: a declared service left the configuration; its instances stop. Reply: None."""

    service: ServiceName


# -- version machine -> instances ----------------

DELIVERY: Final = "delivery"
"""The holder on whose behalf instances run that serve, or are about to."""


@dataclass(slots=True, frozen=True)
class EnsureInstance:
    """Cast to INSTANCES: a version must be running (idempotent). Answered by `InstanceUp` or `InstanceBroken`."""

    version: VersionKey
    launch: LaunchSpec
    root: Path | None
    """The materialised build, or None for a declared service."""
    holder: str = DELIVERY
    """On whose behalf: it runs until each holder has released it."""
    scale: Scale = field(default_factory=Scale)
    """What the version says of how many instances it should have."""


@dataclass(slots=True, frozen=True)
class ReleaseInstance:
    """Cast to INSTANCES: a holder wants a version no longer; after the last one: drain, then stop (idempotent)."""

    version: VersionKey
    drain_s: float = 30.0
    holder: str = DELIVERY


# -- gateway, scaler -> instances ----------------


@dataclass(slots=True, frozen=True)
class ScaleVersion:
    """Cast to INSTANCES: so many instances of a version should serve. Ignored while it sleeps."""

    version: VersionKey
    serving: int
    why: str = ""


@dataclass(slots=True, frozen=True)
class SleepVersion:
    """Cast to INSTANCES: nobody uses this version: end its instances, and keep what wakes it."""

    version: VersionKey
    why: str = ""


@dataclass(slots=True, frozen=True)
class WakeVersion:
    """Cast to INSTANCES: somebody calls a version that sleeps (idempotent)."""

    version: VersionKey


@dataclass(slots=True, frozen=True)
class ReplaceInstance:
    """Cast to INSTANCES: start another instance, and once it is up let this one finish and end (idempotent)."""

    version: VersionKey
    instance: InstanceId
    why: str


# -- gateway -> holds -> instances ----------------


@dataclass(slots=True, frozen=True)
class HoldVersion:
    """Cast to HOLDS, again and again: clients need this version for `hold_s` from now, whether or not it serves."""

    version: VersionKey
    hold_s: float


# -- gateway -> instances ----------------


@dataclass(slots=True, frozen=True)
class OpenPrivate:
    """Call to INSTANCES: a connection of a running version for one client. Reply: its `Endpoint`, in no directory.

    Fails with `Unavailable` (the version is not up, or on its way out), `LimitReached`, `InstanceFailed`.
    """

    version: VersionKey
    client: SoleClient


@dataclass(slots=True, frozen=True)
class ClosePrivate:
    """Cast to INSTANCES: a private connection is not wanted any more: finish its calls, and end it."""

    instance: InstanceId
    drain_s: float = 30.0


# -- instances -> version machine, router ----------------


@dataclass(slots=True, frozen=True)
class InstanceUp:
    """Cast to VERSIONS and ROUTER: an instance answered its handshake and listing; its endpoint is in the directory.

    A version that begins with several instances is announced once all of them are up.
    """

    version: VersionKey
    instance: InstanceId
    contract: Contract
    era: str
    took_s: float


@dataclass(slots=True, frozen=True)
class InstanceDown:
    """Cast to VERSIONS and ROUTER: an instance ended. `expected` when it was released, or its version sleeps."""

    version: VersionKey
    instance: InstanceId
    reason: str
    expected: bool
    left: int = 0
    """Instances of the version that serve on."""


@dataclass(slots=True, frozen=True)
class InstanceBroken:
    """Cast to VERSIONS and ROUTER: a version cannot be kept running (first start failed, or restarts exhausted)."""

    version: VersionKey
    reason: str
    """With the last lines of its standard error."""


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

    `HooksAgreed` or `HooksRefused` follows, also after a restart.
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


# -- people (CLI, admin API) -> version machine ----------------


class Action(StrEnum):
    """Commands of a person on a service."""

    PROMOTE = "promote"
    """One step further; of a version without steps, all of the traffic."""
    PROMOTE_FULL = "promote-full"
    """All of the traffic now."""
    APPROVE = "approve"
    """The gate that it waits at, or comes to in this step."""
    ROLLBACK = "rollback"
    HOLD = "hold"
    RESUME = "resume"
    FREEZE = "freeze"
    """Nothing new until a time, or until UNFREEZE."""
    UNFREEZE = "unfreeze"
    ABORT = "abort"
    """End the rollout: what is on its way is given up, what serves goes on serving."""
    RETRY = "retry"
    """Roll the newest build out again that was taken back, aborted or never started."""
    RESTART = "restart"
    REMOVE = "remove"
    PIN = "pin"
    UNPIN = "unpin"


@dataclass(slots=True, frozen=True)
class Command:
    """Call to VERSIONS. Reply: a dict for people (`{"service", "action", "state", "version", "message"}`).

    Raises:
        Conflict: The transition table does not have it now (the message says what state the service is in).
        NotFound: No such service.
    """

    service: ServiceName
    action: Action
    by: str
    reason: str = ""
    expected_epoch: int | None = None
    to_version: int | None = None
    """For ROLLBACK: which archived version, else the previous one. For RETRY, PIN and UNPIN: which one."""
    until_s: float | None = None
    """For FREEZE: Unix time, else until somebody ends it."""
    override_freeze: str = ""
    """Why the version on its way may go on through a freeze."""


class LineAction(StrEnum):
    """Commands of a person on all services at once."""

    STOP = "stop"
    START = "start"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


@dataclass(slots=True, frozen=True)
class LineCommand:
    """Call to VERSIONS. Reply: a dict for people (`{"action", "changed", "message"}`)."""

    action: LineAction
    by: str
    reason: str = ""
    until_s: float | None = None
    """For FREEZE: Unix time, else until somebody ends it."""


# -- people (CLI, admin API) -> keeper of tokens ----------------


@dataclass(slots=True, frozen=True)
class CreateToken:
    """Call to ACCESS. Reply: `Minted`, the one time that the token's text is known.

    Raises:
        ConfigError: A scope or the name is not what was expected.
        Forbidden: The maker does not hold the scopes himself.
        Conflict: There is a token of that name.
    """

    name: str
    scopes: tuple[str, ...]
    by: str
    may: frozenset[str]
    """The scopes of the maker."""
    expires_s: float | None = None
    """Unix time; None for never."""


@dataclass(slots=True, frozen=True)
class RotateToken:
    """Call to ACCESS: a new secret for a token. Reply: `Minted`. Raises what `CreateToken` does, and NotFound."""

    token: str
    """Its name or id."""
    by: str
    may: frozenset[str]
    grace_s: float = 0.0
    """How long the old secret is good, too."""


@dataclass(slots=True, frozen=True)
class RevokeToken:
    """Call to ACCESS: end a token now, and what it opened. Reply: its last row. Raises NotFound."""

    token: str
    """Its name or id."""
    by: str


# -- gateway -> session manager ----------------


@dataclass(slots=True, frozen=True)
class OpenSession:
    """Call to SESSION_MANAGER: a handshake-era client opened a session. Reply: the durable row."""

    session_id: str
    scope: str
    """"" for the aggregate endpoint, else the service's name."""
    protocol_version: str
    client_info: dict[str, Any]
    capabilities: dict[str, Any]
    principal: str = ""
    """Whose it is; nobody else can use it."""


@dataclass(slots=True, frozen=True)
class UpdateSession:
    """Call to SESSION_MANAGER: subscriptions or log level changed. Reply: the durable row."""

    session_id: str
    log_level: str | None = None
    subscribe: str | None = None
    unsubscribe: str | None = None


@dataclass(slots=True, frozen=True)
class CloseSession:
    """Call to SESSION_MANAGER: the client ended its session, or it expired. Reply: bool, whether it existed."""

    session_id: str
    reason: str = "deleted"


@dataclass(slots=True, frozen=True)
class SessionsSeen:
    """Cast to SESSION_MANAGER, at most once a second: sessions that were used since, for expiry."""

    last_seen_s: dict[str, float]


# -- gateway -> task keeper ----------------


@dataclass(slots=True, frozen=True)
class KeepTask:
    """Call to TASKS: a server made a task for a client. Reply: None, once it is durable."""

    row: dict[str, Any]
    """The fields of a `henslowe.actors.tasks.TaskRow`."""


@dataclass(slots=True, frozen=True)
class TaskSeen:
    """Cast to TASKS, or call (reply: None, once it is written): what a server said of a task."""

    id: str
    status: str
    expires_s: float
    final: dict[str, Any] | None = None
    """All that was said, once it is final."""


# -- gateway -> replay keeper ----------------


@dataclass(slots=True, frozen=True)
class ReplayChanged:
    """Cast to REPLAY: events to keep, and streams to forget."""

    added: tuple[dict[str, Any], ...]
    """The fields of `henslowe.actors.replay.ReplayRow`s."""
    dropped: tuple[tuple[str, str], ...]
    """Session and stream."""


# -- gateway -> result keeper ----------------


@dataclass(slots=True, frozen=True)
class ResultsChanged:
    """Cast to RESULTS: answers to keep, and keys of those to forget."""

    added: tuple[dict[str, Any], ...]
    """The fields of `henslowe.actors.results.ResultRow`s."""
    dropped: tuple[str, ...]
