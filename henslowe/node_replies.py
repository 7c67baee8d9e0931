"""From rows and published snapshots to the replies of the admin API: pure functions, one per part of a reply.

Gathering what they are given is `henslowe.node_view`'s; the shapes are `henslowe.transport.admin.models`'.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from henslowe.actors.hooks import HookRow, HookState
from henslowe.actors.traffic import ServiceTraffic
from henslowe.actors.versions import ServiceRow, VersionRow, VersionState
from henslowe.node_exposures import replay_reply
from henslowe.supervisors import TreeNode
from henslowe.transport.admin.models.figures import CallsReply, SlotReply
from henslowe.transport.admin.models.node import ActorReply, HealthCheckReply, HealthReply
from henslowe.transport.admin.models.services import FailureReply
from henslowe.transport.admin.models.versions import ContractReply, StageReply, VersionReply

REASON_CHARS = 200
"""Of the reason why a service has no active version, for those who call it; `status` has more."""
ROLLBACK = "rollback"
"""As the stage of a failure: the version had served, and was taken back."""
_BROKEN = frozenset({VersionState.FAILED, VersionState.ROLLED_BACK})


def number_of(version: VersionRow) -> int:
    """For sorting by age."""
    return version.number


def unserved(row: ServiceRow, newest: VersionRow | None) -> str:
    """Why a service has no active version, by its newest one."""
    text = f"{row.service} has no active version"
    if newest is None:
        return text
    if newest.state is VersionState.DEVELOPMENT:
        return f"{text}: v{newest.number} is being built"
    if newest.state is VersionState.STAGED:
        return f"{text}: v{newest.number} is {'held' if row.held else 'starting'}"
    if newest.state is VersionState.FAILED:
        reason = newest.reason.strip().partition("\n")[0][:REASON_CHARS]
        return f"{text}: v{newest.number} failed at {newest.stage or 'start'}" + (f" ({reason})" if reason else "")
    return f"{text}: v{newest.number} is {newest.state.value}"


def health_reply(*checks: HealthCheckReply) -> HealthReply:
    """Well when every check is; degraded when those that are not only degrade."""
    bad = [check for check in checks if not check.ok]
    state: Literal["ok", "degraded", "failed"] = "ok"
    if bad:
        state = "degraded" if all(check.degrades for check in bad) else "failed"
    return HealthReply(ok=not bad, state=state, checks=checks)


def slot_reply(version: VersionRow | None, detail: str = "") -> SlotReply | None:
    """A version in one place of its life, if there is one."""
    if version is None:
        return None
    return SlotReply(version=version.number, state=version.state.value, semver=version.semver, detail=detail)


def standing_of(row: ServiceRow) -> str:
    """How firmly the active version sits."""
    if row.active and row.active == row.permanent:
        return "permanent"
    if row.probation_until_s:
        left_s = max(0, round(row.probation_until_s - time.time()))
        return f"probation, {left_s} s left" if left_s < 120 else f"probation, {round(left_s / 60)} min left"
    return ""


def state_word(
    row: ServiceRow, building: VersionRow | None, failure: FailureReply | None, *, healthy: bool, asleep: bool = False
) -> str:
    """One word, the most urgent one first."""
    if not healthy:
        return "unhealthy" if failure is not None else "starting"
    words = (
        ("held", row.held),
        ("canary", row.canary),
        ("building", building is not None),
        ("staged", row.staged),
        ("failed", failure is not None and failure.stage != ROLLBACK),
        ("asleep", asleep),
        ("probation", row.probation_until_s),
        ("active", row.active),
    )
    return next((word for word, applies in words if applies), "empty")


def failure_reply(row: ServiceRow, versions: Mapping[int, VersionRow], *, healthy: bool) -> FailureReply | None:
    """What became of the newest version, when that is nothing good, or why the active one does not answer."""
    active = versions.get(row.active)
    if active is not None and active.reason and not healthy:
        return FailureReply(version=active.number, stage="instance", reason=active.reason, time_s=active.changed_s)
    newest = max(versions.values(), default=None, key=number_of)
    if newest is None or newest.number <= row.active or newest.state not in _BROKEN:
        return None
    stage = ROLLBACK if newest.state is VersionState.ROLLED_BACK else newest.stage or "start"
    tests = newest.metadata.get("stages", {}).get(stage, {}).get("tests")
    return FailureReply(version=newest.number, stage=stage, reason=newest.reason, time_s=newest.changed_s, tests=tests)


def evidence_of(row: ServiceRow, traffic: ServiceTraffic | None) -> str:
    """The verdict in words, while there is something to be judged."""
    judged = row.canary or row.probation_until_s
    return traffic.trial.why if judged and traffic is not None and traffic.trial is not None else ""


def asked_of(row: ServiceRow, hooks: Iterable[HookRow]) -> str:
    """Which hooks the version on its way waits for, or which refused it, in words; "" where nobody is asked."""
    now = [each for each in hooks if each.gate and each.epoch == row.epoch and each.version in (row.staged, row.canary)]
    for each in sorted(now, key=lambda hook: (-hook.round, hook.place)):
        if each.state is HookState.WAITING:
            return f"v{each.version} waits for hook {each.name} ({each.point.value})"
        if each.state is HookState.FAILED:
            again = f"`henslowe promote {row.service}` asks again"
            return f"v{each.version} was refused by hook {each.name} ({each.point.value}): {each.reason}; {again}"
    return ""


def calls_reply(traffic: ServiceTraffic | None) -> CallsReply:
    """The traffic in numbers."""
    if traffic is None:
        return CallsReply()
    versions = traffic.versions.values()
    latest = max(versions, key=lambda each: each.last_call_s, default=None)
    return CallsReply(
        total=sum(each.calls for each in versions),
        failed=sum(each.failures for each in versions),
        per_minute=traffic.calls_per_minute,
        p50_ms=latest.p50_ms if latest is not None else None,
        p95_ms=latest.p95_ms if latest is not None else None,
    )


def version_reply(version: VersionRow, row: ServiceRow) -> VersionReply:
    """One line of `henslowe versions`."""
    stages: Mapping[str, Mapping[str, Any]] = version.metadata.get("stages", {})
    contract = version.metadata.get("contract")
    return VersionReply(
        version=version.number,
        state=version.state.value,
        semver=version.semver,
        build=version.build,
        created_s=version.created_s,
        changed_s=version.changed_s,
        permanent=version.number == row.permanent,
        pinned=version.pinned,
        tools=len(version.tools),
        stages=tuple(StageReply.of(name, report) for name, report in stages.items()),
        reason=version.reason,
        contract=ContractReply.model_validate(contract) if contract else None,
        replay=replay_reply(version),
    )


def count_actors(node: TreeNode) -> int:
    """How many are in the tree below and with `node`."""
    return 1 + sum(count_actors(child) for child in node.children)


def actor_reply(node: TreeNode) -> ActorReply:
    """The tree in the shape of the admin API."""
    return ActorReply(
        id=node.id,
        name=node.name or "",
        kind=node.kind,
        state=str(node.state),
        actor_class=node.actor_class,
        pid=node.pid,
        os_pid=node.os_pid,
        restarts=node.restarts,
        mailbox_depth=node.mailbox_depth,
        children=tuple(actor_reply(child) for child in node.children),
    )
