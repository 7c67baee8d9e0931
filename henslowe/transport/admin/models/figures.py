"""A version's traffic as the admin API tells it: health, instances, calls, comparisons."""

from __future__ import annotations

from typing import Any, Literal

from henslowe.transport.admin.models.base import Reply


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
