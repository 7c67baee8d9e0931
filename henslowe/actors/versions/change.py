"""A transition while it is being made: rows are changed, said and given effects; `done` freezes it.

The pure functions beside this module (`pipeline_side`, `rollout`, `commands`) work on a `Change`; `machine` makes and
ends it. Each changed row leaves in an event of the same commit, so that `replay` finds it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.versions.rows import EffectKind, LineRow, OutboxRow, ServiceRow, VersionRow
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.freeze import Window
from henslowe.storage import EventDraft


@dataclass(slots=True, frozen=True)
class Policy:
    """The settings that transitions depend on."""

    probation_s: float = 300.0
    holdback: int = 500
    """In ten-thousandths."""
    canary_weight: int = 1_000
    """For versions that do not say; in ten-thousandths."""
    units_min: int = 20
    """Units from which strategy `auto` makes a canary."""
    keep_versions: int = 20
    windows: tuple[Window, ...] = ()
    """When nothing new is deployed, of any service."""


@dataclass(slots=True, frozen=True)
class Halts:
    """What stops all new versions at a moment."""

    line: LineRow = field(default_factory=LineRow)
    windows: tuple[Window, ...] = ()
    """Of the node."""
    now_s: float = 0.0


@dataclass(slots=True, frozen=True)
class Facts:
    """What a transition may know beside the rows."""

    now_s: float
    units: tuple[str, ...] = ()
    """Units of traffic seen in the window."""
    ready: frozenset[int] = frozenset()
    """Versions of the service whose instance is up."""
    policy: Policy = Policy()
    line: LineRow = field(default_factory=LineRow)
    captured: bool = False
    """Whether calls of the service were captured that could be replayed."""
    active_contract: Contract | None = None
    """What the active version offers, where a new contract has come to be compared with it."""


@dataclass(slots=True, frozen=True)
class State:
    """The rows of one service."""

    service: ServiceRow | None = None
    versions: Mapping[int, VersionRow] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True, frozen=True)
class Transition:
    """What one commit has to contain. Without events nothing changed and nothing is to be committed."""

    state: State
    """The rows after it."""
    service: ServiceRow | None = None
    """The changed service row."""
    versions: tuple[VersionRow, ...] = ()
    """The changed version rows."""
    removed: tuple[int, ...] = ()
    events: tuple[EventDraft, ...] = ()
    effects: tuple[OutboxRow, ...] = ()
    """In the order in which they are to be performed."""
    reply: Any = None


class Change:
    """The rows of one service, changeable, with everything that was said about it."""

    def __init__(self, name: ServiceName, state: State, facts: Facts) -> None:
        self.name = name
        self.before = state
        self.facts = facts
        self._service = state.service
        self.versions = dict(state.versions)
        self._unsaid: set[int] = set()
        self._removed: dict[int, VersionRow] = {}
        self._events: list[EventDraft] = []
        self._effects: dict[tuple[EffectKind, int], None] = {}

    # -- reading ----------------

    @property
    def service(self) -> ServiceRow:
        """The service row, which exists."""
        assert self._service is not None
        return self._service

    @property
    def exists(self) -> bool:
        """Whether there is a service row."""
        return self._service is not None

    def version(self, number: int) -> VersionRow:
        """A version that exists."""
        return self.versions[number]

    @property
    def halts(self) -> Halts:
        """What stops new versions, beside the service's own row."""
        return Halts(self.facts.line, self.facts.policy.windows, self.facts.now_s)

    def key(self, number: int) -> VersionKey:
        """The identity of a version."""
        return VersionKey(self.name, number)

    # -- changing ----------------

    def create_service(self, row: ServiceRow) -> None:
        """The service's first row."""
        self._service = row.model_copy(update={"updated_s": self.facts.now_s})

    def set_service(self, **fields: Any) -> None:
        """Changes fields of the service row."""
        changed = self.service.model_copy(update=fields)
        if changed != self._service:
            self._service = changed.model_copy(update={"updated_s": self.facts.now_s})

    def next_epoch(self) -> None:
        """Who serves has changed: routes and links follow."""
        self.set_service(epoch=self.service.epoch + 1)
        self.effect(EffectKind.ROUTES)
        self.effect(EffectKind.LINKS)

    def add_version(self, row: VersionRow) -> None:
        """A version that is new."""
        self._put(row.model_copy(update={"created_s": self.facts.now_s, "changed_s": self.facts.now_s}))

    def set_version(self, number: int, **fields: Any) -> None:
        """Changes fields of a version row; a change of state is also a change of time, and leaves the gate behind."""
        row = self.versions[number]
        if "state" in fields and fields["state"] is not row.state:
            fields = {"changed_s": self.facts.now_s, "gate": "", **fields}
        self._put(row.model_copy(update=fields))

    def remove_version(self, number: int) -> None:
        """Forgets a version and its folder."""
        row = self._removed[number] = self.versions.pop(number)
        self._unsaid.discard(number)
        self.say(EventType.VERSION_REMOVED, Status.SUCCESS, number, removed=True, semver=row.semver)
        self.effect(EffectKind.DISCARD, number)

    def _put(self, row: VersionRow) -> None:
        if self.versions.get(row.number) != row:
            self.versions[row.number] = row
            self._unsaid.add(row.number)

    # -- saying ----------------

    def say(self, event_type: EventType, status: Status, number: int = 0, **data: Any) -> None:
        """An event of this commit; carries the version's row if it changed since it was last said."""
        row, before = self.versions.get(number), self.before.versions.get(number)
        if row is not None:
            said: dict[str, Any] = {"from": _state(before), "to": row.state.value, "semver": row.semver}
            if number in self._unsaid:
                self._unsaid.discard(number)
                said["row"] = row.model_dump(mode="json")
            data = {**said, **data}
        if self._service is not None:
            data["epoch"] = self._service.epoch
        self._events.append(EventDraft(Stream.LIFECYCLE.value, event_type.value, status.value, self.name, number, data))

    def effect(self, kind: EffectKind, number: int = 0) -> None:
        """Something to do after the commit; the same twice is once."""
        self._effects.pop((kind, number), None)
        self._effects[kind, number] = None

    # -- ending ----------------

    def done(self, reply: Any = None) -> Transition:
        """The transition. All changed rows must have been said."""
        assert not self._unsaid, f"expected an event for each changed row, got none for {sorted(self._unsaid)}"
        service_changed = self._service != self.before.service
        assert self._events or not service_changed, "expected an event for the changed service row, got none"
        if service_changed and self._service is not None:
            last = self._events[-1]
            data = {**last.data, "service_row": self._service.model_dump(mode="json")}
            self._events[-1] = EventDraft(last.stream, last.type, last.status, last.service, last.version, data)
        return Transition(
            state=State(self._service, MappingProxyType(self.versions)),
            service=self._service if service_changed else None,
            versions=tuple(row for n, row in self.versions.items() if self.before.versions.get(n) != row),
            removed=tuple(self._removed),
            events=tuple(self._events),
            effects=tuple(in_order(self._effect(kind, number) for kind, number in self._effects)),
            reply=reply,
        )

    def _effect(self, kind: EffectKind, number: int) -> OutboxRow:
        removed = self._removed.get(number)
        return OutboxRow(
            service=self.name,
            epoch=self.service.epoch,
            effect=f"{kind}:{number}",
            kind=kind,
            version=number,
            folder=removed.folder if kind is EffectKind.DISCARD and removed is not None else "",
        )


_ORDER = (
    EffectKind.ENSURE,
    EffectKind.ROUTES,
    EffectKind.LINKS,
    EffectKind.RELEASE,
    EffectKind.DISCARD,
    EffectKind.REHEARSE,
)


def in_order(effects: Iterable[OutboxRow]) -> list[OutboxRow]:
    """The order to perform effects in: routes change before an instance is released, so that none is sent to it."""
    return sorted(effects, key=lambda effect: (_ORDER.index(effect.kind), effect.version))


def _state(row: VersionRow | None) -> str:
    return "" if row is None else row.state.value
