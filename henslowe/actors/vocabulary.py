"""The fixed vocabulary of events: what may be said in the log, and with which status.

Version 1. Additive only: a word is never removed or given another meaning; a reader shows the words it does not know.
An event is written as `TYPE STATUS`, for example `LINT_COMPLETE SUCCESS` or `DEPLOY_START PENDING`, and always carries
time, service (or "") and version number (or 0). What goes into `data` is said beside each type.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

VOCABULARY_VERSION: Final = 1


class Stream(StrEnum):
    """The three logs and their retention."""

    LIFECYCLE = "lifecycle"
    """Every transition and command. Never dropped; replaying it gives the rows."""
    ACTIVITY = "activity"
    """Calls' failures, sessions, health, instances: what the node lived through."""
    OUTPUT = "output"
    """Lines that stages and servers printed: data `{"source", "line", "channel"}`."""


class Status(StrEnum):
    """How it went."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    UNDECIDED = "UNDECIDED"
    INFO = "INFO"


class EventType(StrEnum):
    """What happened."""

    # node
    NODE_START = "NODE_START"
    """The node's tree stands and its listeners are open. `pid`, `version`, `url`."""
    NODE_STOP = "NODE_STOP"
    """Somebody asked the node to stop. `pid`."""
    NODE_RECOVERED = "NODE_RECOVERED"
    """The node's last life ended without a stop. `clean`, `swept_pids` (processes of that life that were ended)."""
    ACTOR_CRASHED = "ACTOR_CRASHED"
    """An actor ended by a failure and its supervisor acted. `supervisor`, `child`, `reason`, `restarts`, `next`."""
    STORAGE_RESTORED = "STORAGE_RESTORED"
    """The data directory is a restored backup from here on. `backup`, `created_s`, `last_seq`."""
    STORAGE_FULL = "STORAGE_FULL"
    """The disk was full, and the space that is kept for this was given up. `free_bytes`."""
    STORAGE_DEGRADED = "STORAGE_DEGRADED"
    """The disk refused writes; said when it takes them again. `cause`, `since_s` (Unix time)."""
    STORAGE_RECOVERED = "STORAGE_RECOVERED"
    """It takes writes again. `cause`, `lasted_s`, `full` (whether there was no space)."""
    STORAGE_READ_PINNED = "STORAGE_READ_PINNED"
    """A read is open for too long: the file grows meanwhile. `environment`, `pid` (0: the node), `age_s`, `site`."""
    STORAGE_DAMAGED = "STORAGE_DAMAGED"
    """Something stored is not what was written. `damage` (its kind), `place`, `problem`, `hint`, `versions`."""
    STORAGE_HEALED = "STORAGE_HEALED"
    """A damaged row was written again from memory or its history, an archived file from a folder. `place`, `problem`,
    `source`."""
    STORAGE_SCRUBBED = "STORAGE_SCRUBBED"
    """Everything stored was read and compared once. `findings`, `healed`, `size_bytes`, `took_s`, `counts`."""
    ROW_QUARANTINED = "ROW_QUARANTINED"
    """A damaged row was moved aside, so that the others of its table can be used. `table`, `row` (its key), `problem`,
    `id`."""
    # sources
    SERVICE_FOUND = "SERVICE_FOUND"
    """A folder under `dev/` is a service from now on. `path`, `digest`, `files`."""
    SERVICE_REMOVED = "SERVICE_REMOVED"
    """The folder of a service is gone; what serves goes on serving. `path`."""
    SOURCE_CHANGED = "SOURCE_CHANGED"
    """The files of a service settled in a new state. `path`, `digest`, `files`, `changed` (at most 50 paths)."""
    WATCHER_HEALTH = "WATCHER_HEALTH"
    """How files are watched changed. `mode`, `problems` (each with `kind`, `service`, `text`, `hint`)."""
    MANIFEST_CHECK = "MANIFEST_CHECK"
    """What a service says of itself was read. `origin`, or when it failed `message`, `hint`, `file`, `manifest_key`."""
    # pipeline; every stage has START and COMPLETE, a stage of the user's own is STAGE_* with data["stage"]
    PIPELINE_START = "PIPELINE_START"
    """The run of a version's pipeline began. `digest`, `stages`, `changed`."""
    PIPELINE_COMPLETE = "PIPELINE_COMPLETE"
    """It ended. `duration_ms`, `cached`, or when it failed `stage`, `message`."""
    DEPS_START = "DEPS_START"
    """Dependencies are being installed."""
    DEPS_COMPLETE = "DEPS_COMPLETE"
    """They are, or could not be. As `STAGE_COMPLETE`."""
    LINT_START = "LINT_START"
    """The linter began."""
    LINT_COMPLETE = "LINT_COMPLETE"
    """It ended. As `STAGE_COMPLETE`."""
    TEST_START = "TEST_START"
    """The service's tests began."""
    TEST_COMPLETE = "TEST_COMPLETE"
    """They ended. As `STAGE_COMPLETE`."""
    BUILD_START = "BUILD_START"
    """The build command began."""
    BUILD_COMPLETE = "BUILD_COMPLETE"
    """It ended. As `STAGE_COMPLETE`."""
    MCP_CHECK_START = "MCP_CHECK_START"
    """The built server is being started and asked for its lists."""
    MCP_CHECK_COMPLETE = "MCP_CHECK_COMPLETE"
    """It answered as a server must, or did not. As `STAGE_COMPLETE`."""
    STAGE_START = "STAGE_START"
    """A stage of the user's own began. `stage`."""
    STAGE_COMPLETE = "STAGE_COMPLETE"
    """It ended. `stage`, `duration_ms`, `cached`, or when it failed `message`."""
    ARCHIVE_COMPLETE = "ARCHIVE_COMPLETE"
    """The build is in the archive. `build` (its digest), `semver`, `path`."""
    # versions: one transition each; data["from"], data["to"], data["epoch"], data["row"] (the version row after it)
    # and, on the last event of a transition that changed it, data["service_row"] (the service row after it)
    VERSION_CREATED = "VERSION_CREATED"
    """A version has a number; its state is DEVELOPMENT. `source_digest`."""
    VERSION_CONFIGURED = "VERSION_CONFIGURED"
    """`service.toml` says something else of how it is shipped or looked after; nothing was built. `changed`, `later`
    (what waits for the end of the rollout)."""
    VERSION_STAGED = "VERSION_STAGED"
    """Its build is checked and archived, and it is being started. `build`."""
    VERSION_FAILED = "VERSION_FAILED"
    """It will not be deployed. `stage`, `reason`."""
    VERSION_SUPERSEDED = "VERSION_SUPERSEDED"
    """A newer change took its place before it was deployed."""
    VERSION_ARCHIVED = "VERSION_ARCHIVED"
    """It took traffic and does not any more."""
    VERSION_REMOVED = "VERSION_REMOVED"
    """Its row and its build are gone: more than `delivery.keep_versions` were kept."""
    SERVICE_UPDATED = "SERVICE_UPDATED"
    """Something of the service itself changed: its health, or whether it is wanted. `reason`."""
    # deployment
    DEPLOY_START = "DEPLOY_START"
    """A version was staged, and its instance is being started so that it can take traffic. `strategy`."""
    DEPLOY_COMPLETE = "DEPLOY_COMPLETE"
    """A version takes all traffic, without a canary before. `why`, `by`, `previous`."""
    REPLAY_START = "REPLAY_START"
    """Captured calls are being sent to a staged version and to the active one. `against`."""
    REPLAY_COMPLETE = "REPLAY_COMPLETE"
    """They were, or there were none (SKIPPED). FAILED: it fails what the active version answers; INFO: it answers
    differently. `against`, `found`, `why`; the numbers are in the row."""
    CANARY_DEPLOY = "CANARY_DEPLOY"
    """A version takes a share of the traffic. `weight` (ten-thousandths), `active`, `step`, `steps`."""
    CANARY_STEP = "CANARY_STEP"
    """A canary goes on to its next step. `step`, `steps`, `weight` (ten-thousandths), `why`, `by`."""
    GATE_REACHED = "GATE_REACHED"
    """A version waits until a person approves. `gate`, `step` (0 before its first traffic)."""
    GATE_APPROVED = "GATE_APPROVED"
    """A person did. `gate`, `step`, `by`, `reason`."""
    FREEZE_START = "FREEZE_START"
    """A person froze a service, or without one all of them: what is built waits. `until_s` (0: until somebody ends it),
    `reason`, `by`."""
    FREEZE_END = "FREEZE_END"
    """That ended. `by`, `reason`."""
    FREEZE_OVERRIDDEN = "FREEZE_OVERRIDDEN"
    """A person lets a version go on through a freeze. `freeze` (which one), `by`, `reason`."""
    LINE_STOPPED = "LINE_STOPPED"
    """No service gets anything new until somebody starts the line. `by`, `reason`, `line_row` (the row after it)."""
    LINE_STARTED = "LINE_STARTED"
    """They do again. `by`, `reason`, `line_row`."""
    CANARY_HEALTH = "CANARY_HEALTH"
    """How a canary, or a version on probation, does so far. `why`, and the evidence in numbers."""
    CANARY_VERDICT = "CANARY_VERDICT"
    """What the evidence says, or a limit of its `[health]` (`limit`, `allowed`, `seen`). `decision`, `why`, `epoch`,
    and the evidence in numbers; of a version that is taken back `failing_calls` and `log_tail`."""
    VERSION_HEALTH = "VERSION_HEALTH"
    """A version that serves for good passed a limit of its `[health]`, or is within it again. `why`, and as above."""
    CANARY_HOLD = "CANARY_HOLD"
    """A person stopped the verdict from deciding. `by`, `reason`."""
    PROMOTE = "PROMOTE"
    """A canary takes all traffic. `why`, `by`, `previous`."""
    ROLLBACK = "ROLLBACK"
    """A version was taken back; PENDING until the one before it is up. `why`, `by`, `to_version`."""
    PROBATION_PASSED = "PROBATION_PASSED"
    """The active version is permanent: what a node boots after a crash. `why`, `by`."""
    ROUTE_CHANGED = "ROUTE_CHANGED"
    """The route of a service changed to this stable version. `canary`, `canary_percent`, `epoch`."""
    CONTRACT_CHANGED = "CONTRACT_CHANGED"
    """The new version offers something else. `from_version`, `to_version`, `tools_added`, `tools_removed`, `step`."""
    HOOKS_SKIPPED = "HOOKS_SKIPPED"
    """A person did without the hooks that are asked at these moments. `on`, `command`, `by`, `reason`."""
    HOOK_START = "HOOK_START"
    """A hook of a version is run. `hook`, `on` (the moment), `id`."""
    HOOK_COMPLETE = "HOOK_COMPLETE"
    """It agreed or heard the news, or did not. `hook`, `on`, `id`, `duration_ms`, `attempts`; `message`, `excerpt`."""
    # instances
    INSTANCE_START = "INSTANCE_START"
    """A server is being started. `instance`; here and below `private` when it is for one client alone."""
    INSTANCE_READY = "INSTANCE_READY"
    """It answered handshake and lists, or did not. `instance`, `pid`, `era`, `protocol_version`, `standby` when it
    takes no calls yet, or `reason`."""
    INSTANCE_DOWN = "INSTANCE_DOWN"
    """It ended. `instance`, `reason`, `expected`, `left` (instances of the version that serve on)."""
    INSTANCE_TAKEOVER = "INSTANCE_TAKEOVER"
    """One that stood by takes the calls of one that ended. `instance`, `instead_of`."""
    INSTANCE_REPLACED = "INSTANCE_REPLACED"
    """Another instance is started (PENDING), so that this one can end. `instance`, `why`."""
    VERSION_SCALED = "VERSION_SCALED"
    """It has another number of instances from now on. `before`, `instances`, `why`; FAILED with one that did not
    start."""
    VERSION_ASLEEP = "VERSION_ASLEEP"
    """Nobody used it: its instances end, and the next call wakes it. `why`."""
    VERSION_WOKEN = "VERSION_WOKEN"
    """A call woke it: PENDING, then SUCCESS (`took_s`) or FAILED (`reason`)."""
    INSTANCE_DRAINED = "INSTANCE_DRAINED"
    """It takes no more calls and has finished those it had. `instance`, `calls_left`."""
    INSTANCE_BREAKER = "INSTANCE_BREAKER"
    """Its circuit breaker opened (UNHEALTHY), half-opened (DEGRADED) or closed (HEALTHY). `instance`, `state`,
    `open_s`."""
    INSTANCE_OUTPUT = "INSTANCE_OUTPUT"
    """A line that it printed. `source` (the instance), `channel`, `line`."""
    STAGE_OUTPUT = "STAGE_OUTPUT"
    """A line that a stage printed. `source` (the stage), `channel`, `line`."""
    # extensions
    MODULE_STATE = "MODULE_STATE"
    """How an extension of the node does changed. `module`, `kind`, `package`, `state`, `reason`."""
    # traffic
    SESSION_OPENED = "SESSION_OPENED"
    """A client of the handshake era opened a session. `session` (its beginning), `protocol_version`, `client`, `by`."""
    SESSION_CLOSED = "SESSION_CLOSED"
    """It ended. `reason` (`deleted`, `expired` or `crowded_out`), `open_s`."""
    CALL_FAILED = "CALL_FAILED"
    """A call failed; said a few times a second at most. `tool`, `outcome`, `arm`, `latency_ms`, `error`, `by`."""
    CAPTURE_DROPPED = "CAPTURE_DROPPED"
    """Traffic was not recorded: it came too fast (`count` exchanges), or the record was damaged (`reason`)."""
    # access; the tokens themselves are nowhere
    TOKEN_CREATED = "TOKEN_CREATED"  # noqa: S105 - a word
    """A token was made. `token` (its name), `token_id`, `scopes`, `by`."""
    TOKEN_ROTATED = "TOKEN_ROTATED"  # noqa: S105 - a word
    """It got a new secret; the old one is good for `grace_s`. `token`, `token_id`, `by`."""
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105 - a word
    """It is good for nothing any more. `token`, `token_id`, `by`."""
    # what is kept
    TABLE_MIGRATED = "TABLE_MIGRATED"
    """A phase of a table's migration is complete. `table`, `phase`, `from_schema`, `to_schema`, `rows`, `by`; or it
    stands still: `problem`."""
    SECRET_SET = "SECRET_SET"  # noqa: S105 - a word
    """A secret was set. `secret` (its name), `new`, `by`."""
    SECRET_REMOVED = "SECRET_REMOVED"  # noqa: S105 - a word
    """A secret was removed. `secret` (its name), `by`."""
    SECRETS_ROTATED = "SECRETS_ROTATED"
    """Everything is sealed with a new key. `key` (its id), `dropped` (ids), `rows`, `by`."""
    # commands of people: data["command"], data["by"]
    COMMAND = "COMMAND"
    """A person's command was obeyed. `command`, `by`, `reason`. PENDING: it waits for hooks; CANCELLED or FAILED: it
    waited, and will not be done. `message`."""


STAGE_EVENTS: Final[dict[str, tuple[EventType, EventType]]] = {
    "deps": (EventType.DEPS_START, EventType.DEPS_COMPLETE),
    "lint": (EventType.LINT_START, EventType.LINT_COMPLETE),
    "test": (EventType.TEST_START, EventType.TEST_COMPLETE),
    "build": (EventType.BUILD_START, EventType.BUILD_COMPLETE),
    "mcp-check": (EventType.MCP_CHECK_START, EventType.MCP_CHECK_COMPLETE),
}
"""Start and complete words of the built-in stages; any other stage uses STAGE_START and STAGE_COMPLETE."""


def stage_events(stage: str) -> tuple[EventType, EventType]:
    """The words for a stage's start and end."""
    return STAGE_EVENTS.get(stage, (EventType.STAGE_START, EventType.STAGE_COMPLETE))
