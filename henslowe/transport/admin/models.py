"""The admin API's JSON contract: requests are strict, replies are additive.

A reply never loses a field and never changes a field's meaning; a reader ignores what it does not know. Times are Unix
seconds (`_s`), durations end in their unit, weights are percent. No import but pydantic: the CLI reads these too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

EVENTS_PAGE_MAX = 1_000
REASON_CHARS_MAX = 500

ActionName = Literal[
    "promote", "promote-full", "approve", "rollback", "hold", "resume", "freeze", "unfreeze", "abort", "retry",
    "restart", "remove", "pin", "unpin",
]  # fmt: skip
LineName = Literal["stop", "start", "freeze", "unfreeze"]
StreamName = Literal["lifecycle", "activity", "output"]
Seq = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]


class Request(BaseModel):
    """Base of what clients send: a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


class Reply(BaseModel):
    """Base of what the node answers: a field that is not known is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, defer_build=True)


# -- what is where ----------------


class SlotReply(Reply):
    """A version in one place of its life."""

    version: int
    state: str
    """DEVELOPMENT, STAGED, CANARY, ACTIVE, ARCHIVED, FAILED, ROLLED_BACK or SUPERSEDED."""
    semver: str = ""
    detail: str = ""
    """What it is doing, in a few words: the running stage, `probation, 4 min left`, `permanent`."""


class WindowReply(Reply):
    """The calls of the last minutes (`health.window_s`)."""

    window_s: float
    calls: int
    failures: int
    """Of the calls: tool errors, internal errors, time-outs, lost connections and crashes."""
    success_rate: float
    error_rate: float
    """Parts of the calls, between 0 and 1."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    """Response times, to one per cent."""


class VersionHealthReply(Reply):
    """How a version did lately, all of its instances together."""

    version: int
    window: WindowReply
    passed: str = ""
    """Which limit of its `[health]` it is beyond, in words; only for a version that serves for good."""


class ScaleReply(Reply):
    """How many instances a version has."""

    version: int
    serving: int
    """So many take calls now."""
    wanted: int
    """So many should; 0 while it sleeps."""
    standby: int = 0
    """So many are up and take over where one of the others is lost."""
    min: int = 1
    max: int = 1
    asleep_since_s: float | None = None
    """Unix time since which it sleeps; the next call wakes it."""
    woken_s: float | None = None
    """When a call woke it last."""
    wake_failure: str = ""
    """Why it could not be woken, when that was tried last."""


class InstanceReply(Reply):
    """One running MCP server."""

    id: str
    """`hello@3#1`: service, version, and the number of its start."""
    version: int
    state: str
    """ready, standby, draining, starting or down."""
    pid: int | None = None
    """The server's process; none for a remote server."""
    era: str = ""
    """legacy or modern: which family of protocol revisions it speaks."""
    in_flight: int = 0
    """Calls that wait for its answer."""
    in_flight_limit: int | None = None
    """So many it gets now; the others wait. None before its first call."""
    breaker: str = "closed"
    """closed; open or half_open when it did not answer and is left alone, or tried again."""
    restarts: int = 0
    rss_bytes: int | None = None
    """Resident memory of its process and that one's children, a few seconds old."""
    window: WindowReply | None = None
    """Its calls of the last minutes; none where it had no calls."""
    uptime_s: float = 0.0


class CallsReply(Reply):
    """Calls that clients made since the node started, and how the last ten minutes were."""

    total: int = 0
    failed: int = 0
    """Of the total: tool errors, internal errors, time-outs, lost connections and crashes."""
    per_minute: float = 0.0
    p50_ms: float | None = None
    """Half of the calls were answered within this time; none before the first call."""
    p95_ms: float | None = None


class FailedTestReply(Reply):
    """One test that did not pass."""

    name: str
    message: str = ""


class TestsReply(Reply):
    """What the tests of a stage came to."""

    __test__ = False

    total: int
    failed: int
    """Failures and errors."""
    skipped: int = 0
    failures: tuple[FailedTestReply, ...] = ()
    """The first twenty of them."""


class FailureReply(Reply):
    """The last thing that went wrong with a service and has not been overcome since."""

    version: int
    stage: str
    """The pipeline's stage, `start` or `instance` for a server that does not come up, or `rollback`."""
    reason: str
    """The failing lines."""
    time_s: float = 0.0
    tests: TestsReply | None = None
    """Of the stage that failed, where it reports them."""


class HaltReply(Reply):
    """A time in which nothing new is deployed. Going back works."""

    by: str = ""
    """Who said so; "" for a window of the configuration."""
    why: str = ""
    since_s: float = 0.0
    until_s: float = 0.0
    """Unix time of its end, 0 for when somebody ends it."""


class RolloutReply(Reply):
    """A version on its way to all of the traffic: where it is, and what it waits for."""

    version: int
    step: int = 0
    """Which step of its canary it is at, from 1 on; 0 before its first traffic."""
    steps: int = 0
    percent: float = 0.0
    """Share of the units of traffic that meet it."""
    calls: int = 0
    """Calls that it answered at this step."""
    calls_needed: int = 0
    """Calls that the step asks for."""
    waits_for: str = ""
    """calls, verdict, choice, time, gate, resume, held, frozen or stopped."""
    gate: str = ""
    """The gate at which a person has to approve."""
    until_s: float = 0.0
    """Unix time at which the wait ends by itself, 0 where no time ends it."""
    words: str = ""
    """The same in words: "step 2 of 4: 25 %, 31 of 50 calls, waits for the gate `owner`"."""


class ReplayReply(Reply):
    """What captured calls showed of a version, beside the one that was active, before it met a client."""

    version: int
    against: int
    """The version that it was compared with."""
    found: str
    """`alike`, `differs`, `fails`, `unknown` (nothing to replay, or no time), or `running`."""
    words: str
    report: dict[str, Any] = {}
    """Counts (`calls`, `alike`, `failed_new`, `differing`, ...), `evidence`, `paths` that differ, `examples` without
    secrets, and what was `skipped`."""


class ArmReply(Reply):
    """One of two versions that are compared, since the rollout began."""

    arm: Literal["candidate", "stable"]
    version: int
    calls: int = 0
    failed: int = 0
    slow: int = 0
    chosen: int = 0
    """Of the calls, those whose clients chose the version by a header."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    """Latencies of the last calls or so."""


class ComparisonReply(Reply):
    """An A/B test or a mirror under way."""

    words: str
    """What `[ab]` and `[mirror]` say."""
    arms: tuple[ArmReply, ...]
    mirror: dict[str, Any] | None = None
    """What copies of live calls showed: counts, `evidence`, `paths` that differ, `examples`; null for none yet."""


class ServiceReply(Reply):
    """One service: what serves, what is on its way, why."""

    name: str
    state: str
    """One word for people: building, staged, canary, active, probation, held, starting, asleep, failed, unhealthy,
    empty."""
    healthy: bool
    """Whether calls can be answered now; a service that never had a version is not unhealthy, only empty."""
    kind: Literal["developed", "declared"] = "developed"
    """Developed from sources in the workspace, or declared in `henslowe.toml` and only run."""
    path: str
    """The MCP endpoint on this node: `/mcp/<service>`."""
    strategy: str = "auto"
    """How a staged version reaches traffic: auto, immediate, canary or blue-green."""
    held: bool = False
    """Whether a person keeps the rollout as it is."""
    epoch: int = 0
    """Counts the changes of its state; `expected_epoch` of a command is compared with it."""
    building: SlotReply | None = None
    """In the pipeline now."""
    staged: SlotReply | None = None
    """Built, its instance not ready yet."""
    canary: SlotReply | None = None
    """Meets a share of the traffic and is judged."""
    active: SlotReply | None = None
    """Serves."""
    previous: SlotReply | None = None
    """Kept warm: where a rollback goes."""
    canary_percent: float = 0.0
    """Share of the units of traffic that meet the canary."""
    freeze: HaltReply | None = None
    """Its own freeze; see the node's, too."""
    rollout: RolloutReply | None = None
    replay: ReplayReply | None = None
    """Of the version on its way, or of the active one on probation; null where no captured calls were replayed."""
    comparison: ComparisonReply | None = None
    """The canary, or the staged version that waits."""
    evidence: str = ""
    """What the canary analysis knows, in words."""
    hooks: str = ""
    """Which hooks the version on its way waits for, or was refused by, in words."""
    tools: int = 0
    """How many tools the active version offers."""
    instances: tuple[InstanceReply, ...] = ()
    scale: ScaleReply | None = None
    """How many instances its active version has."""
    health: tuple[VersionHealthReply, ...] = ()
    """How the versions that run did in the last minutes, those that had calls."""
    calls: CallsReply = CallsReply()
    failure: FailureReply | None = None
    sources_gone: bool = False
    """Whether it is developed and its folder is not there: it serves on until it is removed."""


class ServicesReply(Reply):
    """All services, by name."""

    services: tuple[ServiceReply, ...]


class HealthCheckReply(Reply):
    """One thing that must be well."""

    name: str
    ok: bool
    detail: str = ""
    """What is wrong, or with which restriction it works."""
    degrades: bool = False
    """Whether the node works on without it, within limits."""


class HealthReply(Reply):
    """Whether all is well. `/readyz` is 200 where `ok`, `/livez` unless `state` is failed; else they are 503."""

    ok: bool
    state: Literal["ok", "degraded", "failed"] = "ok"
    """`degraded`: calls are answered, but what must be stored is refused."""
    checks: tuple[HealthCheckReply, ...] = ()


class NodeReply(Reply):
    """The node and everything it serves."""

    name: str
    version: str
    pid: int
    url: str
    """Where clients connect: `http://HOST:PORT`."""
    workspace: str
    data: str
    """The data directory."""
    uptime_s: float
    health: HealthReply
    stopped: HaltReply | None = None
    """The line stands still: no service gets anything new."""
    freeze: HaltReply | None = None
    """All services are frozen."""
    services: tuple[ServiceReply, ...] = ()
    sessions: int = 0
    """Open sessions of handshake-era clients."""
    actors: int = 0
    last_seq: int = 0
    """Sequence number of the newest event."""
    captures: int = 0
    """Recorded exchanges."""


class ActorReply(Reply):
    """One actor and, for a supervisor, its children in start order."""

    id: str
    name: str = ""
    kind: str
    """supervisor, dynamic, loop, thread or process."""
    state: str
    actor_class: str = ""
    pid: int | None = None
    """Number of the actor in the node."""
    os_pid: int | None = None
    """The operating system's process, for actors that own one."""
    restarts: int = 0
    mailbox_depth: int = 0
    """Messages that wait."""
    strategy: str = ""
    """Of a supervisor: one_for_one, one_for_all or rest_for_one."""
    children: tuple[ActorReply, ...] = ()


class StageReply(Reply):
    """One stage of a version's pipeline run."""

    name: str
    status: str
    took_s: float | None = None
    tests: TestsReply | None = None
    """As its JUnit report says."""
    coverage_percent: float | None = None
    """Lines that its tests reached, as its report says."""

    @classmethod
    def of(cls, name: str, report: Mapping[str, Any]) -> StageReply:
        """A stage as the facts of a version have it."""
        return cls(
            name=name,
            status=report["status"],
            took_s=report["duration_ms"] / 1000,
            tests=report.get("tests"),
            coverage_percent=report.get("coverage", {}).get("percent"),
        )


class ContractChangeReply(Reply):
    """One difference between the contracts of two versions."""

    step: str
    """major, risky, minor or patch."""
    subject: str
    """What it is about: `tool 'add'`."""
    text: str


class ContractReply(Reply):
    """What a version changes for clients."""

    against: int
    """The version that it was compared with."""
    step: str
    """The gravest of the changes; `none` without one."""
    changes: tuple[ContractChangeReply, ...] = ()
    more: int = 0
    """Changes that are not listed."""


class VersionReply(Reply):
    """One version of a service."""

    version: int
    state: str
    """DEVELOPMENT, STAGED, CANARY, ACTIVE, ARCHIVED, FAILED, ROLLED_BACK or SUPERSEDED."""
    semver: str = ""
    build: str = ""
    """Digest of its content; equal builds are the same files."""
    created_s: float = 0.0
    changed_s: float = 0.0
    """When it came into its state."""
    permanent: bool = False
    pinned: bool = False
    """Kept by a person's wish, however many newer ones there are."""
    """Whether it passed its probation and is what the node boots after a crash."""
    tools: int = 0
    stages: tuple[StageReply, ...] = ()
    reason: str = ""
    """Why it failed, was rolled back or superseded."""
    contract: ContractReply | None = None
    """What it changes for the clients of the version that was active when it was built; null for the first one."""
    replay: ReplayReply | None = None
    """What captured calls showed of it; null where none were replayed."""


class VersionsReply(Reply):
    """The versions of a service, newest first."""

    service: str
    versions: tuple[VersionReply, ...]


class SettingReply(Reply):
    """One setting; values that may be secrets are shown as `***`."""

    key: str
    """Dotted: `delivery.drain_s`."""
    value: Any
    source: str
    """default, file, environment or flag."""
    where: str = ""
    """`henslowe.toml:12`, the variable, or the flag."""


class ConfigReply(Reply):
    """What the node was told, and by whom."""

    file: str = ""
    """The `henslowe.toml` that was read, "" for none."""
    settings: tuple[SettingReply, ...]


# -- what happened ----------------


class EventReply(Reply):
    """One event of the log. (`node`, `incarnation`, `seq`) is its identity."""

    seq: int
    """Counts all events of the node; the id on the live stream."""
    time_s: float
    stream: str
    """lifecycle, activity or output."""
    type: str
    """A word of the vocabulary: see the reference of events."""
    status: str
    service: str = ""
    """"" where it concerns none."""
    version: int = 0
    """0 where it concerns none."""
    node: str = ""
    incarnation: int = 0
    """Which life of the node: counts its starts."""
    data: dict[str, Any] = {}
    """What belongs to this type."""


class EventsReply(Reply):
    """A page of events, oldest first."""

    events: tuple[EventReply, ...]
    next_since: int
    """Give it as `since` for what comes after this page."""
    more: bool = False
    """Whether the log already holds more after this page."""


class LineReply(Reply):
    """One line that a stage or a server printed."""

    seq: int
    time_s: float
    version: int
    source: str
    """The stage's or the instance's name."""
    channel: str
    """stdout or stderr."""
    line: str


class LinesReply(Reply):
    """A page of lines, oldest first."""

    lines: tuple[LineReply, ...]
    next_since: int
    more: bool = False


class EventFilter(Request):
    """Which events; every part that is given must match."""

    type: tuple[str, ...] = ()
    """Patterns with `*` and `?` over the event's type."""
    service: tuple[str, ...] = ()
    """Names of services."""
    stream: tuple[StreamName, ...] = ("lifecycle", "activity")
    version: Annotated[int, Field(ge=0)] | None = None
    source: str = ""
    """Of lines: the stage or the instance that printed them."""


class EventsQuery(EventFilter):
    """A page of the log: the newest `limit` events, or with `since` the first ones after it."""

    since: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=EVENTS_PAGE_MAX)] = 100


class ExportQuery(Request):
    """Events for other programs: all that match, oldest first."""

    format: Literal["jsonl", "csv"] = "jsonl"
    since: Annotated[str, Field(max_length=40)] = ""
    """After this number, or from this time (ISO 8601, or how long ago: `2h`)."""
    until: Annotated[str, Field(max_length=40)] = ""
    """With this number, or before this time."""
    type: tuple[str, ...] = ()
    """Patterns with `*` and `?` over the event's type."""
    service: tuple[str, ...] = ()
    stream: tuple[StreamName, ...] = ("lifecycle", "activity", "output")
    bom: bool = False
    """Begin CSV with a byte order mark."""


class FollowQuery(EventFilter):
    """The live stream. A `Last-Event-ID` header wins over `since`; without both it starts now."""

    since: Seq | None = None


class LogsQuery(Request):
    """The lines of one service: the newest `limit`, or with `since` the first ones after it."""

    version: Annotated[int, Field(ge=0)] | None = None
    stage: str = ""
    """The stage, or the instance, that printed them."""
    since: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=EVENTS_PAGE_MAX)] = 200


# -- what to do ----------------


class CommandRequest(Request):
    """A person's command on a service."""

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Kept in the log with the command."""
    to_version: Annotated[int, Field(ge=1)] | None = None
    """For rollback: which archived version, else the previous one. For retry, pin and unpin: which version."""
    expected_epoch: Annotated[int, Field(ge=0)] | None = None
    """Do nothing when the service has moved on since it was looked at."""
    until_s: Annotated[float, Field(gt=0, le=1e11)] | None = None
    """For freeze: Unix time at which it ends by itself, else when somebody ends it."""
    override_freeze: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """For what leads a version on: why it may go through a freeze."""


class AllServicesRequest(Request):
    """A person's command on all services at once."""

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Kept in the log with the command."""
    until_s: Annotated[float, Field(gt=0, le=1e11)] | None = None
    """For freeze: Unix time at which it ends by itself, else when somebody ends it."""


class AllServicesReply(Reply):
    """What the command led to, and what holds for all services now."""

    action: str
    changed: bool = False
    message: str = ""
    """The same in a sentence."""
    stopped: HaltReply | None = None
    freeze: HaltReply | None = None


class CommandReply(Reply):
    """What the command led to."""

    service: str
    action: str
    state: str = ""
    """The state of the version after it."""
    version: int | None = None
    """The version that it was about."""
    message: str = ""
    """The same in a sentence."""


class BuildReply(Reply):
    """The version that the new pipeline run will make."""

    service: str
    version: int


class TokenReply(Reply):
    """A token of this node, without the token itself."""

    id: str
    name: str
    scopes: tuple[str, ...]
    state: str
    """`good` or `expired`."""
    created_s: float
    created_by: str
    expires_s: float | None = None
    """None for never."""
    last_used_s: float = 0.0
    """To the minute; 0 for never."""
    rotated_s: float = 0.0
    old_secret_until_s: float = 0.0
    """After a rotation: how long the secret before it is good, too."""


class TokensReply(Reply):
    """The tokens of this node."""

    tokens: tuple[TokenReply, ...]


class MintedReply(TokenReply):
    """A token with its text, which is shown this once."""

    token: str


class CreateTokenRequest(Request):
    """A token to be made."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    scopes: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    """`mcp`, `mcp:SERVICE`, `admin`, `admin:read`, `admin:write`, `admin:services`, `admin:tokens`."""
    expires_in_s: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)] | None = None
    """None for never."""


class RotateTokenRequest(Request):
    """How a token gets its new secret."""

    grace_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 0.0
    """How long the old one is good, too."""


# -- what is kept ----------------


class MigrationReply(Reply):
    """The newest migration of one table. Times are 0 for not yet."""

    table: str
    from_schema: int
    to_schema: int
    """Lower than `from_schema` for a rollback after the old form was dropped."""
    phase: str
    """The last one that is complete: expand, backfill, verify, flip, drop or rolled_back."""
    goal: str
    """The last one that was asked for."""
    running: bool
    """Whether both forms of the table are kept."""
    rows_done: int = 0
    """Rows of the phase that is under way."""
    started_s: float = 0.0
    changed_s: float = 0.0
    """When `phase` was completed."""
    flipped_s: float = 0.0
    by: str = ""
    problem: str = ""
    """Why it stands still."""


class PlannedMigrationReply(Reply):
    """What is to be done for one table."""

    table: str
    from_schema: int
    to_schema: int
    phases: tuple[str, ...]
    """Those that are left, in order."""
    rows: int
    size_bytes: int
    reversible: bool
    """Whether an older Henslowe can take over again, with the rows that are written meanwhile."""
    estimate_s: float
    """Until the flip, at the rate of `storage.migration_rows_per_s`."""
    problem: str = ""


class MigrationsReply(Reply):
    """The migrations of the node's tables."""

    migrations: tuple[MigrationReply, ...] = ()
    planned: tuple[PlannedMigrationReply, ...] = ()
    """Under way, or to be begun."""


class MigrateRequest(Request):
    """Which tables are to be migrated how far, or back."""

    table: str = ""
    """"" for all that wait."""
    to: Literal["expand", "backfill", "verify", "flip", "drop"] = "flip"
    """After `flip` the old form is dropped when `storage.rollback_window_s` is over."""
    rollback: bool = False
    """Instead: back to what `table` was before its migration."""


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class SecretReply(Reply):
    """A secret, without its value: that is never in an answer."""

    name: str
    created_s: float
    changed_s: float
    by: str
    """Who set it last."""
    key: str
    """Id of the key that it is sealed with."""
    services: tuple[str, ...] = ()
    """Declared services that refer to it."""


class SecretsReply(Reply):
    """The secrets of the node, and the keys that seal them."""

    secrets: tuple[SecretReply, ...] = ()
    key_file: str
    key_source: str
    """credential, setting or default."""
    keys: tuple[str, ...] = ()
    """Ids of the keys in the file, the one that seals first; none before the first secret."""
    rotating: bool = False
    """Whether everything is being sealed anew."""
    rows_done: int = 0


class SetSecretRequest(Request):
    """A secret to be kept."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: SecretName
    value: Annotated[SecretStr, Field(min_length=1, max_length=32 * 1024)]


class StopReply(Reply):
    """The node will stop: it drains first."""

    stopping: bool = True


class ErrorBody(Reply):
    """What went wrong, as `henslowe.errors` has it."""

    code: str
    """Stable: programs may match on it."""
    message: str
    hint: str = ""
    """The command to run or the key to change."""
    details: dict[str, Any] = {}


class ErrorReply(Reply):
    """The body of every reply with a status of 400 or more."""

    error: ErrorBody
