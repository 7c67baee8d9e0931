"""What else a node is made of and does for itself: hooks that are asked and told, and modules that were found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from henslowe.actors.hooks import HookRow
from henslowe.actors.modules import ModuleBoard
from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.traffic import RowsQuery

if TYPE_CHECKING:
    from henslowe.transport.admin.edge import Call


class HookReply(Reply):
    """One hook at one moment of a version."""

    id: str
    """Its idempotency key, as it is told it."""
    service: str
    version: int
    epoch: int
    on: str
    """The moment: `promote:before` and its like."""
    hook: str
    origin: str
    """`service`: of its `service.toml`; `node`: of `henslowe.toml`; `module`: inside the node."""
    asked: bool
    """Whether the version waits for its answer."""
    state: str
    """waiting, done (it agreed, or was told) or failed (it refused, or could not be told)."""
    attempts: int
    created_s: float
    ended_s: float = 0.0
    """Unix times; the second is 0 while it waits."""
    took_ms: int = 0
    """Of the last attempt."""
    reason: str = ""
    output: str = ""
    """The last lines of what it said."""


class HooksReply(Reply):
    """Hooks that were run or wait, newest first."""

    hooks: tuple[HookReply, ...]
    total: int


class ModuleReply(Reply):
    """One extension of the node."""

    name: str
    kind: str
    """tool, transport, state-manager, protocol-handler, persistence or interceptor."""
    package: str
    package_version: str
    state: str
    """running, degraded (its last call failed), down (to be started again), starting, served (a service), refused."""
    reason: str = ""
    calls: int = 0
    failures: int = 0
    starts: int = 0


class ModulesReply(Reply):
    """The extensions that were found, by name."""

    modules: tuple[ModuleReply, ...]


def _none() -> Sequence[HookRow]:
    return ()


@dataclass(slots=True, frozen=True)
class Workings:
    """Where it is read from."""

    hooks: Callable[[], Sequence[HookRow]] = _none
    board: ModuleBoard = field(default_factory=ModuleBoard)


async def hooks(call: Call) -> Reply | web.StreamResponse:
    """The hooks of all services, or of one."""
    query = call.query
    assert isinstance(query, RowsQuery)
    rows = [row for row in call.admin.workings.hooks() if query.service in ("", row.service)]
    rows.sort(key=lambda row: (-row.created_s, row.place))
    return HooksReply(hooks=tuple(map(_hook, rows[: query.limit])), total=len(rows))


async def modules(call: Call) -> Reply | web.StreamResponse:
    """What was found, what runs, what was refused and why."""
    return ModulesReply(
        modules=tuple(
            ModuleReply(
                name=each.found.name,
                kind=each.found.kind.value,
                package=each.found.package,
                package_version=each.found.package_version,
                state=each.state.value,
                reason=each.reason,
                calls=each.calls,
                failures=each.failures,
                starts=each.starts,
            )
            for each in call.admin.workings.board.infos.values()
        )
    )


def _hook(row: HookRow) -> HookReply:
    return HookReply(
        id=row.id,
        service=row.service,
        version=row.version,
        epoch=row.epoch,
        on=row.point.value,
        hook=row.name,
        origin=row.origin.value,
        asked=row.gate,
        state=row.state.value,
        attempts=row.attempts,
        created_s=row.created_s,
        ended_s=row.ended_s,
        took_ms=row.took_ms,
        reason=row.reason,
        output=row.output,
    )
