"""Services as the admin API tells them: who serves, what is rolled out, and what stands against it."""

from __future__ import annotations

from typing import Literal

from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.figures import (
    CallsReply,
    ComparisonReply,
    InstanceReply,
    ReplayReply,
    ScaleReply,
    SlotReply,
    VersionHealthReply,
)


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


class WaitingCommandReply(Reply):
    """A person's command that was answered "waits": it is done once hooks agree and the instance is up."""

    version: int
    command: str
    """promote, promote-full, approve, resume or unfreeze."""
    by: str
    reason: str = ""
    since_s: float
    """Unix time at which it came to the gate that it waits at."""
    waits_for: Literal["hooks", "instance"]
    words: str
    """The same in words: "promote of v4 by ann waits for its hooks (promote:before)"."""


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
    waiting: WaitingCommandReply | None = None
    """What a person has said of it, and is not done yet."""
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
