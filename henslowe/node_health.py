"""From crews and windows to what people see of them: instances, scale, and the figures of the last minutes. Pure.

Gathering what they are given is `henslowe.node_view`'s; the shapes are `henslowe.transport.admin.models`'.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from henslowe.actors.health import HealthBoard, WindowFigures
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.instances import Crew, Duty, InstanceBoard, Member
from henslowe.actors.tasks import TaskRow
from henslowe.actors.traffic import ServiceTraffic
from henslowe.actors.versions import ServiceRow
from henslowe.transport.admin.models.figures import InstanceReply, ScaleReply, VersionHealthReply, WindowReply


def instance_replies(
    row: ServiceRow, board: InstanceBoard, health: HealthBoard, traffic: ServiceTraffic | None
) -> Iterator[InstanceReply]:
    """Every instance of every version that should run; one that is down where there should be some and are none."""
    windows = traffic.instances if traffic is not None else {}
    for number in sorted(row.wanted):
        crew = board.of(row.key_of(number))
        if crew is None or (not crew.members and crew.dormant is None):
            state = "down" if crew is None else "starting"
            yield InstanceReply(id=str(row.key_of(number)), version=number, state=state)
            continue
        for slot in sorted(crew.members):
            yield _instance(crew, crew.members[slot], health, windows)


def _instance(
    crew: Crew, member: Member, board: HealthBoard, windows: Mapping[InstanceId, WindowFigures]
) -> InstanceReply:
    endpoint = member.endpoint
    health = board.find(endpoint) if endpoint is not None else None
    return InstanceReply(
        id=str(member.instance),
        version=crew.version.number,
        state=member.duty.value,
        pid=member.pid,
        era=endpoint.facts.era.value if endpoint is not None else "",
        in_flight=endpoint.in_flight if endpoint is not None else 0,
        in_flight_limit=health.limiter.limit if health is not None else None,
        breaker=health.breaker.state.value if health is not None else "closed",
        restarts=member.starts - 1,
        rss_bytes=member.rss_bytes or None,
        window=window_reply(windows.get(member.instance)),
    )


def scale_reply(crew: Crew | None) -> ScaleReply | None:
    """How many instances a version has, and should have; None for one that does not run."""
    if crew is None:
        return None
    return ScaleReply(
        version=crew.version.number,
        serving=crew.count(Duty.SERVING),
        wanted=crew.serving,
        standby=crew.count(Duty.STANDBY),
        min=crew.scale.min,
        max=crew.scale.most,
        asleep_since_s=crew.asleep_since_s or None,
        woken_s=crew.woken_s or None,
        wake_failure=crew.wake_failure,
    )


def health_replies(row: ServiceRow, traffic: ServiceTraffic | None) -> Iterator[VersionHealthReply]:
    """The figures of each version that runs and had calls in its window."""
    for number in sorted(row.wanted):
        key: VersionKey = row.key_of(number)
        seen = traffic.versions.get(key) if traffic is not None else None
        window = window_reply(seen.window) if seen is not None else None
        if window is not None and traffic is not None:
            passed = traffic.passed.get(key)
            yield VersionHealthReply(version=number, window=window, passed=passed.why if passed is not None else "")


def window_reply(figures: WindowFigures | None) -> WindowReply | None:
    """A window with calls in it; None for one without."""
    if figures is None or not figures.calls:
        return None
    return WindowReply(
        window_s=figures.window_s,
        calls=figures.calls,
        failures=figures.failures,
        success_rate=round(figures.success_rate or 0.0, 6),
        error_rate=round(figures.error_rate or 0.0, 6),
        p50_ms=figures.p50_ms,
        p95_ms=figures.p95_ms,
        p99_ms=figures.p99_ms,
    )


def asleep(crew: Crew | None) -> str:
    """Since when a version sleeps, in words; "" while it is awake."""
    if crew is None or crew.dormant is None:
        return ""
    since_s = max(0.0, time.time() - crew.asleep_since_s)
    if since_s < 60:
        since = f"{since_s:.0f} s"
    else:
        since = f"{since_s / 60:.0f} min" if since_s < 7_200 else f"{since_s / 3_600:.0f} h"
    return f"asleep for {since}, woken by a call"


def keeps_awake(row: ServiceRow | None, tasks: Iterable[TaskRow]) -> bool:
    """Whether a service must not sleep though nobody calls it.

    A rollout under way needs its versions up, whoever decides on it and when; a task outlives the call that began it.
    """
    rollout = row is not None and bool(row.staged or row.canary or row.rollback_to)
    return rollout or any(task.open for task in tasks)
