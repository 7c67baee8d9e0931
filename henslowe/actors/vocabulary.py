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
    NODE_STOP = "NODE_STOP"
    NODE_RECOVERED = "NODE_RECOVERED"
    ACTOR_CRASHED = "ACTOR_CRASHED"
    # sources
    SERVICE_FOUND = "SERVICE_FOUND"
    SERVICE_REMOVED = "SERVICE_REMOVED"
    SOURCE_CHANGED = "SOURCE_CHANGED"
    WATCHER_HEALTH = "WATCHER_HEALTH"
    MANIFEST_CHECK = "MANIFEST_CHECK"
    # pipeline; every stage has START and COMPLETE, a stage of the user's own is STAGE_* with data["stage"]
    PIPELINE_START = "PIPELINE_START"
    PIPELINE_COMPLETE = "PIPELINE_COMPLETE"
    DEPS_START = "DEPS_START"
    DEPS_COMPLETE = "DEPS_COMPLETE"
    LINT_START = "LINT_START"
    LINT_COMPLETE = "LINT_COMPLETE"
    TEST_START = "TEST_START"
    TEST_COMPLETE = "TEST_COMPLETE"
    BUILD_START = "BUILD_START"
    BUILD_COMPLETE = "BUILD_COMPLETE"
    MCP_CHECK_START = "MCP_CHECK_START"
    MCP_CHECK_COMPLETE = "MCP_CHECK_COMPLETE"
    STAGE_START = "STAGE_START"
    STAGE_COMPLETE = "STAGE_COMPLETE"
    ARCHIVE_COMPLETE = "ARCHIVE_COMPLETE"
    # versions: one transition each; data["from"], data["to"], data["epoch"], data["row"] (the version row after it)
    # and, on the last event of a transition that changed it, data["service_row"] (the service row after it)
    VERSION_CREATED = "VERSION_CREATED"
    VERSION_STAGED = "VERSION_STAGED"
    VERSION_FAILED = "VERSION_FAILED"
    VERSION_SUPERSEDED = "VERSION_SUPERSEDED"
    VERSION_ARCHIVED = "VERSION_ARCHIVED"
    VERSION_REMOVED = "VERSION_REMOVED"
    SERVICE_UPDATED = "SERVICE_UPDATED"
    # deployment
    DEPLOY_START = "DEPLOY_START"
    DEPLOY_COMPLETE = "DEPLOY_COMPLETE"
    CANARY_DEPLOY = "CANARY_DEPLOY"
    CANARY_HEALTH = "CANARY_HEALTH"
    CANARY_VERDICT = "CANARY_VERDICT"
    CANARY_HOLD = "CANARY_HOLD"
    PROMOTE = "PROMOTE"
    ROLLBACK = "ROLLBACK"
    PROBATION_PASSED = "PROBATION_PASSED"
    ROUTE_CHANGED = "ROUTE_CHANGED"
    CONTRACT_CHANGED = "CONTRACT_CHANGED"
    # instances
    INSTANCE_START = "INSTANCE_START"
    INSTANCE_READY = "INSTANCE_READY"
    INSTANCE_DOWN = "INSTANCE_DOWN"
    INSTANCE_DRAINED = "INSTANCE_DRAINED"
    INSTANCE_OUTPUT = "INSTANCE_OUTPUT"
    STAGE_OUTPUT = "STAGE_OUTPUT"
    # traffic
    SESSION_OPENED = "SESSION_OPENED"
    SESSION_CLOSED = "SESSION_CLOSED"
    CALL_FAILED = "CALL_FAILED"
    # commands of people: data["command"], data["by"]
    COMMAND = "COMMAND"


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
