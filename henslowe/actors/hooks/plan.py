"""Which hooks a moment has, and in which order: pure functions of events, rows and configuration.

The order of those that are asked: interceptors of the node by their own order, hooks of `henslowe.toml` in the order of
the file, hooks of the version's `service.toml` in theirs. The first that refuses ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from henslowe.actors.hooks.rows import HookRow, HookState, Origin
from henslowe.actors.interceptors import Interceptors, Kind
from henslowe.actors.messages import AskHooks
from henslowe.actors.versions.gates import Standing
from henslowe.actors.versions.rows import VersionRow, VersionState
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.hooks import GATES, HookBase, HookPoint, NodeHook
from henslowe.storage import Event

_ALWAYS: Final = {
    EventType.CANARY_DEPLOY: HookPoint.CANARY_START,
    EventType.PROMOTE: HookPoint.PROMOTE_AFTER,
    EventType.ROLLBACK: HookPoint.ROLLBACK_AFTER,
    EventType.PROBATION_PASSED: HookPoint.PERMANENT,
    EventType.VERSION_FAILED: HookPoint.FAILED,
}
_WELL: Final = (Status.SUCCESS, Status.FAILED)
"""PENDING announces what has not happened yet."""


@dataclass(slots=True, frozen=True)
class Planned:
    """One hook of a moment. Without a spec it is an interceptor."""

    origin: Origin
    name: str
    point: HookPoint
    spec: HookBase | None = None


@dataclass(slots=True, frozen=True)
class Configured:
    """Everything that may have hooks, beside the version: the node's own, and the interceptors of its modules."""

    node: Mapping[str, NodeHook]
    interceptors: Interceptors

    def at(self, points: Iterable[HookPoint], version: VersionRow) -> list[Planned]:
        """The hooks of a version at a moment, in order."""
        wanted = tuple(points)
        return [
            *(Planned(Origin.MODULE, name, point) for point in wanted for name in self._intercepting(point, version)),
            *(
                Planned(Origin.NODE, name, hook.on, _plain(hook))
                for name, hook in self.node.items()
                if hook.on in wanted and any(fnmatchcase(version.service, each) for each in hook.services)
            ),
            *(Planned(Origin.SERVICE, hook.name, hook.on, _plain(hook)) for hook in version.hooks if hook.on in wanted),
        ]

    def _intercepting(self, point: HookPoint, version: VersionRow) -> Sequence[str]:
        if point is HookPoint.DEPLOY_START:
            return self.interceptors.before_names(kind_of(version))
        return self.interceptors.after_names(kind_of(version)) if point is HookPoint.PROMOTE_AFTER else ()


def kind_of(version: VersionRow) -> Kind:
    """What interceptors call it when this version takes over."""
    return Kind.DEPLOY if version.build else Kind.UPDATE


def _plain(hook: HookBase) -> HookBase:
    return HookBase.model_validate({key: getattr(hook, key) for key in HookBase.model_fields})


def points_of(event: Event) -> tuple[HookPoint, ...]:
    """The moments that an event of the lifecycle tells of."""
    if not event.service:
        return ()
    point = _point_of(event.type, event.status, event.data)
    return (HookPoint.EVENT,) if point is None else (point, HookPoint.EVENT)


def _point_of(event_type: str, status: str, data: Mapping[str, Any]) -> HookPoint | None:
    row: Mapping[str, Any] = data.get("row") or {}
    restarts = bool(row.get("restart_of"))
    if event_type not in EventType.__members__ or status == Status.PENDING:
        # VERSION_CREATED is PENDING by its nature: the version has its whole life before it.
        begins = event_type == EventType.VERSION_CREATED and row.get("state") == VersionState.DEVELOPMENT
        return HookPoint.BUILD_START if begins else None
    if restarts or status not in _WELL:
        return None
    if event_type == EventType.VERSION_STAGED:
        return HookPoint.BUILD_END if row.get("build") else None
    if event_type == EventType.DEPLOY_COMPLETE:
        # A version that takes over because another was taken back is no news of its own.
        return HookPoint.PROMOTE_AFTER if "by" in data else None
    if event_type == EventType.ROLLBACK and status != Status.SUCCESS:
        return None
    return _ALWAYS.get(EventType(event_type))


def standing_of(rows: Sequence[HookRow]) -> Standing | None:
    """How a gate stands by the rows of its last round; None when nobody asked yet."""
    if not rows:
        return None
    last = max(row.round for row in rows)
    states = [row.state for row in rows if row.round == last]
    if HookState.FAILED in states:
        return Standing.CLOSED
    return Standing.WAITING if HookState.WAITING in states else Standing.OPEN


def of_gate(rows: Iterable[HookRow], version: int, epoch: int, point: HookPoint) -> list[HookRow]:
    """The rows of one question, in the order of their turns."""
    found = [row for row in rows if row.gate and (row.version, row.epoch, row.point) == (version, epoch, point)]
    return sorted(found, key=lambda row: (row.round, row.place))


def questions(
    ask: AskHooks, planned: Sequence[Planned], facts: Mapping[str, Any], round_: int, now_s: float
) -> list[HookRow]:
    """The rows of a gate that is asked about."""
    again = f"#{round_}" if round_ > 1 else ""
    prefix = f"{ask.version.service}:{ask.version.number}:{ask.epoch}:{ask.point.value}"
    return [
        _row(f"{prefix}:{each.name}{again}", each, facts, ask.epoch, now_s, place=place, round=round_)
        for place, each in enumerate(planned)
    ]


def news(event: Event, planned: Sequence[Planned], facts: Mapping[str, Any], now_s: float) -> list[HookRow]:
    """The rows of those that are told of an event."""
    epoch = int(event.data.get("epoch", 0))
    prefix = f"{event.service}:{event.version}:{epoch}"
    return [
        _row(f"{prefix}:{each.point.value}:{each.name}:{event.seq}", each, facts, epoch, now_s, place=place)
        for place, each in enumerate(planned)
    ]


def _row(id_: str, planned: Planned, facts: Mapping[str, Any], epoch: int, now_s: float, **fields: Any) -> HookRow:
    told = {"id": id_, "hook": planned.name, "on": planned.point.value, **facts, "epoch": epoch, "time_s": now_s}
    return HookRow(
        id=id_,
        service=facts["service"],
        version=facts["version"],
        epoch=epoch,
        point=planned.point,
        name=planned.name,
        origin=planned.origin,
        gate=planned.point in GATES,
        created_s=now_s,
        spec=planned.spec,
        facts=told,
        **fields,
    )


def facts_of(row: VersionRow, active: VersionRow | None, event: Event | None = None) -> dict[str, Any]:
    """What hooks are told of a version; additive only, as all JSON that leaves the node."""
    facts: dict[str, Any] = {
        "service": row.service,
        "version": row.number,
        "semver": row.semver,
        "state": row.state.value,
        "build": row.build,
        "tools": list(row.tools),
        "reason": row.reason,
        "stage": row.stage,
        "active": {"version": active.number, "semver": active.semver} if active is not None else None,
    }
    if event is not None:
        data = {key: value for key, value in event.data.items() if key not in ("row", "service_row")}
        facts["event"] = {"seq": event.seq, "type": event.type, "status": event.status, "data": data}
    return facts


def complaints(rows: Iterable[HookRow]) -> list[HookRow]:
    """The last news of each hook that did not get through: what an operator should hear of."""
    newest: dict[tuple[str, str], HookRow] = {}
    for row in sorted(rows, key=lambda row: row.created_s):
        if not row.gate and row.state is not HookState.WAITING:
            newest[row.service, row.name] = row
    return [row for row in newest.values() if row.state is HookState.FAILED]


def superfluous(rows: Iterable[HookRow], keep: int) -> list[HookRow]:
    """The oldest rows of one service that are over, beyond `keep`."""
    over = sorted((row for row in rows if row.state is not HookState.WAITING), key=lambda row: -row.created_s)
    return over[keep:]
